//! The status of the cluster: the reports of all members side by side.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use weldr_proto::raft::v1::{ClusterFacts, Readiness, ReportResponse, VirtualAddress};

use crate::cluster::log::types::Member;

use super::core::Core;

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
            return Some(core.report(servers));
        }
        core.report_of(*id, member, servers).await.ok()
    });
    let reports = join_all(asked).await;
    let leading = members.iter().zip(&reports);
    let leading = leading.filter(|(_, report)| report.as_ref().is_some_and(|report| report.quorum));
    let leader = leading.max_by_key(|(_, report)| report.as_ref().map(|report| report.term));
    let last = leader.and_then(|(_, report)| Some(report.as_ref()?.last));
    let term = reports.iter().flatten().map(|report| report.term).max();
    let name = leader.map(|((_, member, _), _)| member.name.clone());
    let mut nodes: Vec<NodeStatus> = members
        .into_iter()
        .zip(reports)
        .map(|((id, member, votes), report)| NodeStatus {
            id,
            name: member.name,
            address: member.address,
            votes,
            report: report.map(|report| node_report(report, last)),
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

fn node_report(report: ReportResponse, last: Option<u64>) -> NodeReport {
    let held = Duration::from_millis(report.role_for_millis);
    let now = SystemTime::now();
    NodeReport {
        role: report.role,
        witness: report.witness,
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
    }
}
