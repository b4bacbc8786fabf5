//! The status of the cluster: the reports of all members side by side.

use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use weldr_proto::raft::v1::{
    Backups, ClusterFacts, Disk, ListenerReport, Readiness, ReportResponse, VirtualAddress,
};

use crate::{cluster::log::types::Member, model::Timestamp};

use super::{core::Core, reporter::HolderClaim};

/// The status of the cluster, from the members that answered.
#[derive(Debug, Clone)]
pub struct ClusterStatus {
    /// The id of the cluster.
    pub cluster: String,
    /// Whether a leader has a majority.
    pub quorum: bool,
    /// The highest term that any node knows.
    pub term: u64,
    /// The name of the leader.
    pub leader: Option<String>,
    /// The node that gathered this status.
    pub answered_by: String,
    /// All members, ordered by name.
    pub nodes: Vec<NodeStatus>,
}

/// A member of the cluster.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// The id of the node.
    pub id: u64,
    /// The name of the node.
    pub name: String,
    /// The address at which other nodes reach it; empty for a node without a cluster address.
    pub address: String,
    /// Whether it is a voter.
    pub votes: bool,
    /// How long ago this node last had a response from it; `None` for this node, and if it has not responded since this
    /// node started.
    pub last_contact: Option<Duration>,
    /// Its report; `None` if it does not answer.
    pub report: Option<NodeReport>,
}

/// The report of a member about itself.
#[derive(Debug, Clone)]
pub struct NodeReport {
    /// `leader`, `follower`, `candidate`, `learner`, or `stopped` if its consensus engine does not run.
    pub role: String,
    /// Whether it is a witness, which votes and serves nothing.
    pub witness: bool,
    /// How much it is preferred as the holder of the virtual addresses.
    pub holder_claim: HolderClaim,
    /// Since when it has this role.
    pub since: SystemTime,
    /// The term that it is in.
    pub term: u64,
    /// The index of the last entry that it has applied.
    pub applied: u64,
    /// The revision of its state.
    pub revision: u64,
    /// The number of entries in the leader's log that it has not applied.
    pub lag: u64,
    /// The version of Weldr that it runs.
    pub program: String,
    /// Why it stopped applying the log; `None` if it did not.
    pub stopped: Option<String>,
    /// The virtual addresses that it is configured with.
    pub virtual_addresses: Vec<VirtualAddress>,
    /// Whether it is ready for traffic; `None` when it does not say.
    pub readiness: Option<Readiness>,
    /// Another cluster with the same secret that it sees.
    pub other_cluster: Option<ClusterFacts>,
    /// The state of its data directory; `None` when it does not say.
    pub disk: Option<Disk>,
    /// How far its clock is ahead of this node's, in milliseconds; `None` when it does not say.
    pub clock_offset_millis: Option<i64>,
    /// The name of its fail-over profile.
    pub failover: String,
    /// Its scheduled backups; `None` if it makes none.
    pub backups: Option<Backups>,
    /// The end of the validity of its certificate, in seconds since 1970.
    pub certificate_expires: Option<u64>,
    /// The permissions of its data directory when it started.
    pub data_dir_mode: Option<u32>,
    /// Its listeners.
    pub listeners: Vec<ListenerReport>,
}

/// A report, and when it was made by this node's clock: in the middle of the time that it took.
struct Received {
    report: ReportResponse,
    at: SystemTime,
}

/// Asks all members for a report.
pub(in crate::cluster) async fn gather(core: &Core, servers: bool) -> ClusterStatus {
    let config = core.membership();
    let votes = |id: u64| config.voter_ids().any(|voter| voter == id);
    let nodes = config.nodes();
    let members: Vec<(u64, Member, bool)> = nodes
        .map(|(id, member)| (*id, member.clone(), votes(*id)))
        .collect();
    let asked = members.iter().map(async |(id, member, _)| {
        if *id == core.local_id() {
            let report = core.report(servers);
            let at = SystemTime::now();
            return Some(Received { report, at });
        }
        let begun = Instant::now();
        let report = core.report_of(*id, member, servers).await.ok()?;
        let now = SystemTime::now();
        let at = now.checked_sub(begun.elapsed() / 2).unwrap_or(now);
        Some(Received { report, at })
    });
    let received = join_all(asked).await;
    let reports: Vec<_> = received
        .iter()
        .map(|received| Some(&received.as_ref()?.report))
        .collect();
    let leading = members.iter().zip(&reports);
    let leading = leading.filter(|(_, report)| report.as_ref().is_some_and(|report| report.quorum));
    let leader = leading.max_by_key(|(_, report)| report.as_ref().map(|report| report.term));
    let last = leader.and_then(|(_, report)| Some(report.as_ref()?.last));
    let term = reports.iter().flatten().map(|report| report.term).max();
    let name = leader.map(|((_, member, _), _)| member.name.clone());
    let mut nodes: Vec<NodeStatus> = members
        .into_iter()
        .zip(received)
        .map(|((id, member, votes), received)| NodeStatus {
            id,
            name: member.name,
            address: member.address,
            votes,
            last_contact: core.last_contacts.elapsed(id, Instant::now()),
            report: received.map(|received| node_report(received, last)),
        })
        .collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let cluster = core.peers.cluster();
    ClusterStatus {
        cluster: cluster
            .map(|cluster| cluster.to_string())
            .unwrap_or_default(),
        quorum: name.is_some(),
        term: term.unwrap_or_default(),
        leader: name,
        answered_by: core.member.name.clone(),
        nodes,
    }
}

fn node_report(Received { report, at }: Received, last: Option<u64>) -> NodeReport {
    let offset = (report.at > 0).then(|| difference(report.at, Timestamp::from(at).0));
    let held = Duration::from_millis(report.role_for_millis);
    let now = SystemTime::now();
    NodeReport {
        role: report.role,
        witness: report.witness,
        holder_claim: HolderClaim {
            priority: report.vip_priority,
            settled: report.vip_settled,
        },
        since: now.checked_sub(held).unwrap_or(now),
        term: report.term,
        applied: report.applied,
        revision: report.revision,
        lag: last.unwrap_or(report.last).saturating_sub(report.applied),
        program: report.program,
        stopped: Some(report.stopped).filter(|stopped| !stopped.is_empty()),
        virtual_addresses: report.virtual_addresses,
        readiness: report.readiness,
        other_cluster: report.other_cluster,
        disk: report.disk,
        clock_offset_millis: offset,
        failover: report.failover,
        backups: report.backups,
        certificate_expires: Some(report.certificate_expires).filter(|&expires| expires > 0),
        data_dir_mode: Some(report.data_dir_mode).filter(|&mode| mode > 0),
        listeners: report.listeners,
    }
}

fn difference(a: u64, b: u64) -> i64 {
    let signed = |millis| i64::try_from(millis).unwrap_or(i64::MAX);
    signed(a).saturating_sub(signed(b))
}
