//! What every node says of itself, side by side.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use weldr_proto::raft::v1::{ReportResponse, VirtualAddress};

use crate::cluster::log::types::Member;

use super::core::Core;

/// The cluster as the nodes see it that answer.
#[derive(Debug, Clone)]
pub struct ClusterStatus {
    /// Its id.
    pub cluster: String,
    /// Whether there is a leader that a majority follows.
    pub quorum: bool,
    /// The newest term that any node knows.
    pub term: u64,
    /// The name of the leader.
    pub leader: Option<String>,
    /// The node that was asked.
    pub answered_by: String,
    /// All members, ordered by name.
    pub nodes: Vec<NodeStatus>,
}

/// One member.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// Its id.
    pub id: u64,
    /// What operators call it.
    pub name: String,
    /// Where the other nodes reach it; empty when it has none.
    pub address: String,
    /// Whether it has a vote.
    pub votes: bool,
    /// What it says of itself; `None` when it does not answer.
    pub report: Option<NodeReport>,
}

/// What a member says of itself.
#[derive(Debug, Clone)]
pub struct NodeReport {
    /// `leader`, `follower`, `candidate` or `learner`.
    pub role: String,
    /// Since when.
    pub since: SystemTime,
    /// Its term.
    pub term: u64,
    /// The last entry that it has applied.
    pub applied: u64,
    /// The revision of its state.
    pub revision: u64,
    /// How many entries of the leader's log it has not applied.
    pub lag: u64,
    /// The version of its program.
    pub program: String,
    /// Why it applies nothing any more.
    pub stopped: Option<String>,
    /// The virtual addresses that it looks after.
    pub virtual_addresses: Vec<VirtualAddress>,
}

/// Asks all members.
pub(in crate::cluster) async fn gather(core: &Core, servers: bool) -> ClusterStatus {
    let members: Vec<(u64, Member, bool)> = core.metrics().map_or_else(Vec::new, |metrics| {
        let config = &metrics.membership_config;
        let votes = |id: u64| config.voter_ids().any(|voter| voter == id);
        let nodes = config.nodes();
        nodes
            .map(|(id, member)| (*id, member.clone(), votes(*id)))
            .collect()
    });
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
        since: now.checked_sub(held).unwrap_or(now),
        term: report.term,
        applied: report.applied,
        revision: report.revision,
        lag: last.unwrap_or(report.last).saturating_sub(report.applied),
        program: report.program,
        stopped: Some(report.stopped).filter(|stopped| !stopped.is_empty()),
        virtual_addresses: report.virtual_addresses,
    }
}
