//! The calls about the cluster.

use weldr_proto::v1::{self, NodeRole};

use crate::{
    cluster::{NodeReport, NodeStatus},
    management::error::Error,
};

use super::{Caller, Operations};

impl Operations {
    pub(in crate::management) async fn get_cluster(&self) -> Result<v1::GetClusterResponse, Error> {
        let status = self.parts.cluster.status().await?;
        Ok(v1::GetClusterResponse {
            revision: self.snapshot().revision.0,
            cluster: status.cluster,
            quorum: status.quorum,
            term: status.term,
            leader: status.leader.unwrap_or_default(),
            answered_by: status.answered_by,
            nodes: status.nodes.into_iter().map(node).collect(),
        })
    }

    pub(in crate::management) async fn remove_node(
        &self,
        caller: Caller,
        request: v1::RemoveNodeRequest,
    ) -> Result<v1::RemoveNodeResponse, Error> {
        let node = request.name.clone();
        self.parts.cluster.remove_node(request.name).await?;
        tracing::info!(peer = %caller.peer, node, "node removed from the cluster");
        Ok(v1::RemoveNodeResponse {
            revision: self.snapshot().revision.0,
        })
    }

    pub(in crate::management) async fn transfer_leadership(
        &self,
        caller: Caller,
        request: v1::TransferLeadershipRequest,
    ) -> Result<v1::TransferLeadershipResponse, Error> {
        let node = request.name.clone();
        self.parts.cluster.transfer(request.name).await?;
        tracing::info!(peer = %caller.peer, node, "leadership transferred");
        Ok(v1::TransferLeadershipResponse {
            revision: self.snapshot().revision.0,
        })
    }
}

fn node(status: NodeStatus) -> v1::Node {
    let node = v1::Node {
        id: format!("{:x}", status.id),
        name: status.name,
        address: status.address,
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
        ..node
    }
}

fn role(report: &NodeReport, votes: bool) -> NodeRole {
    match report.role.as_str() {
        "leader" => NodeRole::Leader,
        "candidate" => NodeRole::Candidate,
        "follower" if votes => NodeRole::Follower,
        "follower" | "learner" => NodeRole::Learner,
        _ => NodeRole::Unspecified,
    }
}
