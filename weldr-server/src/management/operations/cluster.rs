//! The calls about the cluster.

use std::{
    cmp::Reverse,
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use weldr_proto::{
    raft::{self, v1::ServerReport},
    v1::{self, NodeRole},
};

use crate::{
    cluster::{Backup, Event, MemberChange, MemberEvent, NoBackup, NodeReport, NodeStatus},
    management::{convert::Violations, error::Error},
    model::{Revision, Timestamp},
    snapshot::ServerView,
};

use super::{ApiCaller, Operations, change_words};

impl Operations {
    pub(in crate::management) async fn get_cluster(&self) -> Result<v1::GetClusterResponse, Error> {
        let status = self.context.cluster.status().await?;
        Ok(v1::GetClusterResponse {
            revision: self.snapshot().revision.0,
            cluster: status.cluster,
            quorum: status.quorum,
            term: status.term,
            leader: status.leader.unwrap_or_default(),
            answered_by: status.answered_by,
            voters: Some(voters(&status.nodes)),
            nodes: status.nodes.into_iter().map(node).collect(),
        })
    }

    pub(in crate::management) async fn remove_node(
        &self,
        caller: ApiCaller,
        request: v1::RemoveNodeRequest,
    ) -> Result<v1::RemoveNodeResponse, Error> {
        let node = request.name.clone();
        let removed = self
            .context
            .cluster
            .remove_node(request.name, request.force);
        removed.await?;
        tracing::info!(caller = %caller.caller, node, force = request.force, "node removed from the cluster");
        Ok(v1::RemoveNodeResponse {
            revision: self.snapshot().revision.0,
        })
    }

    pub(in crate::management) async fn transfer_leadership(
        &self,
        caller: ApiCaller,
        request: v1::TransferLeadershipRequest,
    ) -> Result<v1::TransferLeadershipResponse, Error> {
        let node = request.name.clone();
        self.context.cluster.transfer(request.name).await?;
        tracing::info!(caller = %caller.caller, node, "leadership transferred");
        Ok(v1::TransferLeadershipResponse {
            revision: self.snapshot().revision.0,
        })
    }
}

impl Operations {
    pub(in crate::management) async fn list_health(
        &self,
        request: v1::ListHealthRequest,
    ) -> Result<v1::ListHealthResponse, Error> {
        let (snapshot, pool) = self.snapshot_with(&request.pool)?;
        let reports = self.context.cluster.server_reports().await;
        let reports: Vec<_> = reports
            .into_iter()
            .map(|(node, servers)| (node, by_id(servers.unwrap_or_default())))
            .collect();
        let servers = pool.servers.iter().map(|view| side_by_side(view, &reports));
        Ok(v1::ListHealthResponse {
            revision: snapshot.revision.0,
            servers: servers.collect(),
        })
    }

    pub(in crate::management) async fn get_history(
        &self,
        request: v1::GetHistoryRequest,
    ) -> Result<v1::GetHistoryResponse, Error> {
        let snapshot = self.read(request.stale).await?;
        let limit = match request.limit {
            0 => DEFAULT_HISTORY,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        let cluster = &self.context.cluster;
        let changes = cluster.history(limit).into_iter().map(event);
        let members = cluster.member_history(limit).into_iter().map(member_event);
        Ok(v1::GetHistoryResponse {
            revision: snapshot.revision.0,
            events: newest_first(members, changes, limit),
        })
    }

    pub(in crate::management) async fn rollback(
        &self,
        caller: ApiCaller,
        request: v1::RollbackRequest,
    ) -> Result<v1::RollbackResponse, Error> {
        let cluster = self.context.cluster.clone();
        let to = Revision(request.to_revision);
        let from = caller.caller.to_string();
        let change = async move { cluster.roll_back(to, &from).await };
        let revision = self.propose_change(caller, "rollback", change).await?;
        Ok(v1::RollbackResponse { revision })
    }

    pub(in crate::management) async fn backup(
        &self,
        request: v1::BackupRequest,
    ) -> Result<v1::BackupResponse, Error> {
        self.read(request.stale).await?;
        let state = self.context.cluster.current();
        let file = Backup::of(&state).to_file();
        let file = file.map_err(|error| Error::ClusterUnavailable(error.to_string()))?;
        Ok(v1::BackupResponse {
            revision: state.revision.0,
            file,
        })
    }

    pub(in crate::management) async fn restore(
        &self,
        caller: ApiCaller,
        request: v1::RestoreRequest,
    ) -> Result<v1::RestoreResponse, Error> {
        let backup = Backup::parse(&request.file).map_err(|no_backup| match no_backup {
            NoBackup::Invalid(invalid) => invalid.within("file").into(),
            no_backup => Error::ClusterRefused(no_backup.to_string()),
        })?;
        let mut violations = Violations::default();
        for address in backup.servers() {
            let checked = self.context.accepts(address);
            violations.take(checked.map_err(|invalid| invalid.within("file.servers")));
        }
        violations.settle(Some(()))?;
        let cluster = self.context.cluster.clone();
        let from = caller.caller.to_string();
        let change = async move { cluster.restore(backup, &from).await };
        let revision = self.propose_change(caller, "restore", change).await?;
        Ok(v1::RestoreResponse { revision })
    }
}

/// The default of `limit`.
const DEFAULT_HISTORY: usize = 50;

fn by_id(reports: Vec<ServerReport>) -> HashMap<u64, ServerReport> {
    let reports = reports.into_iter();
    reports.map(|report| (report.id, report)).collect()
}

fn side_by_side(
    view: &ServerView,
    reports: &[(String, HashMap<u64, ServerReport>)],
) -> v1::ServerHealth {
    let id = view.desired.id.0;
    let nodes: Vec<v1::NodeHealth> = reports
        .iter()
        .map(|(node, servers)| {
            let report = servers.get(&id);
            v1::NodeHealth {
                node: node.clone(),
                health: report.map(health),
                in_flight: report.map_or(0, |report| report.in_flight),
            }
        })
        .collect();
    v1::ServerHealth {
        address: view.desired.address.to_string(),
        id,
        in_flight: nodes.iter().map(|node| node.in_flight).sum(),
        nodes,
    }
}

fn health(report: &ServerReport) -> v1::Health {
    let name = |prefix: &str, word: &str| format!("{prefix}{}", word.to_ascii_uppercase());
    let state = v1::HealthState::from_str_name(&name("HEALTH_STATE_", &report.state));
    let reason = v1::HealthReason::from_str_name(&name("HEALTH_REASON_", &report.reason));
    v1::Health {
        state: state.unwrap_or_default().into(),
        reason: reason.unwrap_or_default().into(),
        description: report.description.clone(),
        since: Some(SystemTime::from(Timestamp(report.since)).into()),
    }
}

fn event(event: Event) -> v1::HistoryEvent {
    v1::HistoryEvent {
        revision: event.revision.0,
        at: Some(SystemTime::from(event.at).into()),
        from: event.from,
        what: change_words::what(&event.what),
    }
}

/// A change of the membership. The log has no date of it.
fn member_event(event: MemberEvent) -> v1::HistoryEvent {
    let MemberEvent { name, address, .. } = event;
    let what = match event.change {
        MemberChange::Joined => format!("node {name} ({address}) joins"),
        MemberChange::Votes => format!("node {name} votes"),
        MemberChange::Removed => format!("node {name} ({address}) removed"),
    };
    v1::HistoryEvent {
        revision: event.revision.0,
        what,
        ..v1::HistoryEvent::default()
    }
}

/// Both in one list, the newest first. A change of the membership came after the change that made its revision.
fn newest_first(
    members: impl Iterator<Item = v1::HistoryEvent>,
    changes: impl Iterator<Item = v1::HistoryEvent>,
    limit: usize,
) -> Vec<v1::HistoryEvent> {
    let mut events: Vec<_> = members.chain(changes).collect();
    // Stable: what comes first stays first.
    events.sort_by_key(|event| Reverse(event.revision));
    events.truncate(limit);
    events
}

fn node(status: NodeStatus) -> v1::Node {
    let node = v1::Node {
        id: format!("{:x}", status.id),
        name: status.name,
        address: status.address,
        votes: status.votes,
        last_contact: status.last_contact.and_then(|last| last.try_into().ok()),
        ..v1::Node::default()
    };
    let Some(report) = status.report else {
        return node;
    };
    let role = role(&report, status.votes);
    v1::Node {
        role: role.into(),
        reachable: true,
        term: report.term,
        applied: report.applied,
        revision: report.revision,
        lag: report.lag,
        since: Some(report.since.into()),
        version: report.program,
        stopped: report.stopped.unwrap_or_default(),
        virtual_addresses: report
            .virtual_addresses
            .into_iter()
            .map(virtual_address)
            .collect(),
        readiness: report.readiness.map(readiness),
        other_cluster: report
            .other_cluster
            .map(|other| other_cluster(&other))
            .unwrap_or_default(),
        disk: report.disk.map(disk),
        clock_offset: report.clock_offset_millis.map(millis),
        failover: report.failover,
        backups: report.backups.map(backups),
        certificate_expires: report
            .certificate_expires
            .map(|seconds| date(seconds * 1000)),
        data_dir_mode: report.data_dir_mode.unwrap_or_default(),
        ..node
    }
}

/// Which of the voters respond.
fn voters(nodes: &[NodeStatus]) -> v1::Voters {
    let voters = nodes.iter().filter(|node| node.votes);
    let silent = voters.clone().filter(|node| node.report.is_none());
    let silent: Vec<_> = silent.map(|node| node.name.clone()).collect();
    let total = voters.count();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    v1::Voters {
        total: count(total),
        responding: count(total - silent.len()),
        majority: count(total / 2 + 1),
        silent,
    }
}

fn disk(disk: raft::v1::Disk) -> v1::Disk {
    let state = format!("DISK_STATE_{}", disk.state.to_ascii_uppercase());
    v1::Disk {
        state: v1::DiskState::from_str_name(&state)
            .unwrap_or_default()
            .into(),
        cause: disk.cause,
    }
}

fn backups(backups: raft::v1::Backups) -> v1::Backups {
    v1::Backups {
        revision: backups.revision,
        at: (backups.at > 0).then(|| date(backups.at)),
        failure: backups.failure,
    }
}

/// A signed duration.
fn millis(millis: i64) -> prost_types::Duration {
    let nanos = i32::try_from(millis % 1000 * 1_000_000).unwrap_or_default();
    prost_types::Duration {
        seconds: millis / 1000,
        nanos,
    }
}

/// The date that is this many milliseconds after 1970.
fn date(millis: u64) -> prost_types::Timestamp {
    SystemTime::from(Timestamp(millis)).into()
}

fn readiness(readiness: raft::v1::Readiness) -> v1::Readiness {
    let name = |prefix: &str, word: &str| format!("{prefix}{}", word.to_ascii_uppercase());
    let status = name("READINESS_STATUS_", &readiness.status);
    let reason = |reason: raft::v1::UnreadyReason| {
        let code = v1::UnreadyCode::from_str_name(&name("UNREADY_CODE_", &reason.code));
        let since = UNIX_EPOCH + Duration::from_millis(reason.since);
        v1::UnreadyReason {
            code: code.unwrap_or_default().into(),
            description: reason.description,
            since: Some(since.into()),
        }
    };
    v1::Readiness {
        status: v1::ReadinessStatus::from_str_name(&status)
            .unwrap_or_default()
            .into(),
        reasons: readiness.reasons.into_iter().map(reason).collect(),
    }
}

fn other_cluster(other: &raft::v1::ClusterFacts) -> String {
    format!(
        "another cluster with the same secret, {}, has the node {} at {}: one of the two was founded by mistake",
        other.cluster, other.node, other.address
    )
}

fn named(prefix: &str, word: &str) -> String {
    format!("{prefix}{}", word.to_ascii_uppercase())
}

fn virtual_address(address: raft::v1::VirtualAddress) -> v1::VirtualAddress {
    let since = UNIX_EPOCH + Duration::from_millis(address.since);
    v1::VirtualAddress {
        address: address.address,
        interface: address.interface,
        held: address.held,
        standing: address.standing,
        since: Some(since.into()),
        failing: address.failing,
        guard: v1::GuardState::from_str_name(&named("GUARD_STATE_", &address.guard))
            .unwrap_or_default()
            .into(),
        guard_restarts: address.guard_restarts,
        link: v1::LinkState::from_str_name(&named("LINK_STATE_", &address.link))
            .unwrap_or_default()
            .into(),
        conflict: address.conflict,
    }
}

fn role(report: &NodeReport, votes: bool) -> NodeRole {
    match report.role.as_str() {
        "leader" => NodeRole::Leader,
        "candidate" => NodeRole::Candidate,
        "follower" if votes && report.witness => NodeRole::Witness,
        "follower" if votes => NodeRole::Follower,
        "follower" | "learner" => NodeRole::Learner,
        "stopped" => NodeRole::Stopped,
        _ => NodeRole::Unspecified,
    }
}
