//! The reports of nodes about themselves and about servers.

use std::{
    fmt::Write as _,
    sync::PoisonError,
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::join_all;
use openraft::ServerState;
use tokio::time;
use tonic::Status;
use tracing::error;
use weldr_proto::raft::v1;

use crate::{
    cluster::{
        log::{convert, types::Member},
        storage::disk::Disk,
    },
    model::{Revision, Timestamp},
};

use super::{
    core::Core,
    reporter::DrainReport,
    sightings::{self, OtherCluster, Sightings},
};

/// The time limit of a report.
const REPORT_TIMEOUT: Duration = Duration::from_millis(700);

/// The time between two looks at what a member has applied.
const CONFIRMATION_LOOK: Duration = Duration::from_millis(5);

impl Core {
    /// The members that do not answer, as `name (address)`.
    pub(in crate::cluster) async fn missing(&self) -> Vec<String> {
        let Some(metrics) = self.metrics() else {
            return Vec::new();
        };
        let others = self.others(&metrics);
        let asked = others.iter().map(async |(id, member)| {
            let report = self.report_of(*id, member, false).await;
            let Member { name, address, .. } = member;
            report.is_err().then(|| format!("{name} ({address})"))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// The report of another node.
    pub(in crate::cluster) async fn report_of(
        &self,
        id: u64,
        member: &Member,
        servers: bool,
    ) -> Result<v1::ReportResponse, Status> {
        let mut client = self.client(id, member)?;
        let report = client.report(v1::ReportRequest { servers });
        let report = match time::timeout(REPORT_TIMEOUT, report).await {
            Ok(report) => report?.into_inner(),
            Err(_) => return Err(Status::deadline_exceeded("no answer in time")),
        };
        self.last_contacts.note(id, Instant::now());
        Ok(report)
    }

    /// The drain reports of the other members; `None` for each member that does not answer.
    pub(in crate::cluster) async fn drain_reports_of_others(&self) -> Vec<Option<DrainReport>> {
        let Some(metrics) = self.metrics() else {
            return Vec::new();
        };
        let others = self.others(&metrics);
        let asked = others.iter().map(async |(id, member)| {
            let report = self.report_of(*id, member, false).await.ok()?;
            Some(DrainReport {
                finished: report.finished.into_iter().collect(),
                overdue: report.overdue.into_iter().collect(),
                abstains: report.witness,
            })
        });
        join_all(asked).await
    }

    /// The view of the servers of each member, ordered by name.
    pub(in crate::cluster) async fn server_reports(
        &self,
    ) -> Vec<(String, Option<Vec<v1::ServerReport>>)> {
        let own = (self.member.name.clone(), Some(self.report(true).servers));
        let Some(metrics) = self.metrics() else {
            return vec![own];
        };
        let others = self.others(&metrics);
        let asked = others.iter().map(async |(id, member)| {
            let report = self.report_of(*id, member, true).await.ok();
            (member.name.clone(), report.map(|report| report.servers))
        });
        let mut reports = vec![own];
        reports.extend(join_all(asked).await);
        reports.sort_by(|a, b| a.0.cmp(&b.0));
        reports
    }

    /// The other members that have not applied `revision` within `limit`, as `name (address)`. A member that does not
    /// answer is waited for only as long as an answer may take.
    pub(in crate::cluster) async fn without(
        &self,
        revision: Revision,
        limit: Duration,
    ) -> Vec<String> {
        let Some(metrics) = self.metrics() else {
            // The engine is being started again: nobody can be asked.
            let membership = self.membership();
            let others = membership.nodes().filter(|(id, _)| **id != self.local_id());
            return others
                .map(|(_, Member { name, address, .. })| format!("{name} ({address})"))
                .collect();
        };
        let others = self.others(&metrics);
        let begun = Instant::now();
        let asked = others.iter().map(async |(id, member)| {
            loop {
                let asked = Instant::now();
                let patience = match self.report_of(*id, member, false).await {
                    Ok(report) if report.revision >= revision.0 => return None,
                    Ok(_) => limit,
                    Err(_) => limit.min(REPORT_TIMEOUT),
                };
                if begun.elapsed() + asked.elapsed() >= patience {
                    let Member { name, address, .. } = member;
                    return Some(format!("{name} ({address})"));
                }
                time::sleep(CONFIRMATION_LOOK).await;
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// The report of this node; with its view of the servers if `servers` is set.
    pub(in crate::cluster) fn report(&self, servers: bool) -> v1::ReportResponse {
        let (applied, _) = self.machine.replica();
        let stopped = self.machine.stopped().borrow().clone();
        let mut report = v1::ReportResponse {
            applied: applied.unwrap_or_default(),
            // What callers see, which is published a moment after it was applied.
            revision: self.machine.states().borrow().revision.0,
            leaving: self.is_leaving(),
            witness: self.witness,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            stopped: stopped
                .map(|stopped| stopped.to_string())
                .unwrap_or_default(),
            ..v1::ReportResponse::default()
        };
        {
            let drain_report = self
                .drain_report
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            report.finished = drain_report.finished.iter().copied().collect();
            report.overdue = drain_report.overdue.iter().copied().collect();
        }
        {
            let readiness = self.readiness.lock();
            let readiness = readiness.unwrap_or_else(PoisonError::into_inner);
            report.readiness = Some(readiness.clone()).filter(|told| !told.status.is_empty());
        }
        {
            let claim = self.holder_claim.lock();
            let claim = claim.unwrap_or_else(PoisonError::into_inner);
            report.vip_priority = claim.priority;
            report.vip_settled = claim.settled;
        }
        self.report_operation(&mut report);
        report.sealing_keys = self.secrets.ids().iter().map(ToString::to_string).collect();
        report.membership = Some(convert::stored_membership(&self.machine.membership()));
        report.other_cluster = self.sightings.current(Instant::now());
        report.term = self.stored_term();
        if self.metrics().is_none() {
            role_name(ServerState::Shutdown).clone_into(&mut report.role);
        }
        if let Some(metrics) = self.metrics() {
            let role = self.note_role(metrics.state);
            report.term = metrics.current_term;
            role_name(role.state).clone_into(&mut report.role);
            report.role_for_millis =
                u64::try_from(role.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            report.last = metrics.last_log_index.unwrap_or_default();
            report.leader = metrics.current_leader.unwrap_or_default();
            report.quorum = self.leads(&metrics);
        }
        if let Some(step_down_hook) = self.step_down_hook() {
            report.virtual_addresses = step_down_hook.addresses();
        }
        let reporter = self.reporter.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reporter) = reporter.as_ref().filter(|_| servers) {
            report.servers = (reporter.0)();
        }
        report
    }

    /// Adds what is only for operators, and decides nothing.
    fn report_operation(&self, report: &mut v1::ReportResponse) {
        report.disk = Some(self.disk_report(report.readiness.as_ref()));
        report.at = Timestamp::from(SystemTime::now()).0;
        self.facts
            .failover
            .as_str()
            .clone_into(&mut report.failover);
        let expires = self.facts.certificate_expires;
        report.certificate_expires = expires.map_or(0, |expires| expires.as_secs());
        report.data_dir_mode = self.facts.data_dir_mode.unwrap_or_default();
        let backups = self.backups.lock();
        report
            .backups
            .clone_from(&backups.unwrap_or_else(PoisonError::into_inner));
        let listeners = self.listeners.lock();
        if let Some(reporter) = &*listeners.unwrap_or_else(PoisonError::into_inner) {
            report.listeners = (reporter.0)();
        }
    }

    /// The state of the disk. That a write does not end is known to the readiness, which looks at the disk more than once.
    fn disk_report(&self, readiness: Option<&v1::Readiness>) -> v1::Disk {
        let disk = |state: &str, cause: String| v1::Disk {
            state: state.to_owned(),
            cause,
        };
        let Some(state) = self.log.disk().map(Disk::state) else {
            return disk("memory", String::new());
        };
        if let Some(failure) = state.failure {
            return disk("failed", sentence(failure.as_ref()));
        }
        let reasons = readiness.iter().flat_map(|readiness| &readiness.reasons);
        let reason = |code: &str| reasons.clone().find(|reason| reason.code == code);
        if let Some(stalled) = reason("disk_stalled") {
            return disk("stalled", stalled.description.clone());
        }
        match reason("disk_failed") {
            // It failed a moment ago, and the next write has not ended yet.
            Some(failed) => disk("failed", failed.description.clone()),
            None => disk("ok", String::new()),
        }
    }

    /// The term that is stored.
    fn stored_term(&self) -> u64 {
        let vote = self.log.persistent().vote;
        vote.map_or(0, |vote| vote.leader_id.term)
    }

    /// This cluster, for another one.
    pub(in crate::cluster) fn cluster_facts(&self) -> v1::ClusterFacts {
        let cluster = self.peers.cluster();
        let led = self.metrics().is_some_and(|metrics| {
            let follows = metrics
                .current_leader
                .is_some_and(|id| id != self.local_id());
            follows || self.leads(&metrics)
        });
        v1::ClusterFacts {
            cluster: cluster.map(|id| id.to_string()).unwrap_or_default(),
            node: self.member.name.clone(),
            address: self.member.address.clone(),
            voters: u32::try_from(self.membership().voter_ids().count()).unwrap_or(u32::MAX),
            quorum: led && !self.is_removed(),
        }
    }

    /// Notes what a node says about its cluster, and logs it if it is another one.
    pub(in crate::cluster) fn note_cluster(&self, facts: v1::ClusterFacts) {
        self.note_in(&self.sightings, facts);
    }

    /// Notes a cluster that another member sees. This node does not report it in turn.
    pub(in crate::cluster) fn hear_of_cluster(&self, facts: v1::ClusterFacts) {
        self.note_in(&self.sightings_of_members, facts);
    }

    fn note_in(&self, sightings: &Sightings, facts: v1::ClusterFacts) {
        let own = self.cluster_facts();
        if facts.cluster.is_empty() || facts.cluster == own.cluster {
            return;
        }
        let OtherCluster { description, .. } = sightings::compare(&own, &facts);
        if sightings.note(facts, Instant::now()) {
            error!("{description}");
        }
    }

    /// Another cluster with the same secret, if this node or another member sees one.
    pub(in crate::cluster) fn other_cluster(&self) -> Option<OtherCluster> {
        let now = Instant::now();
        let other = self.sightings.current(now);
        let other = other.or_else(|| self.sightings_of_members.current(now))?;
        Some(sightings::compare(&self.cluster_facts(), &other))
    }
}

/// An error and its causes.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string cannot fail.
        _ = write!(sentence, ": {cause}");
        source = cause.source();
    }
    sentence
}

fn role_name(state: ServerState) -> &'static str {
    match state {
        ServerState::Leader => "leader",
        ServerState::Follower => "follower",
        ServerState::Candidate => "candidate",
        ServerState::Learner => "learner",
        ServerState::Shutdown => "stopped",
    }
}
