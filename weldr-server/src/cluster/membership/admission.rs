//! How the leader admits and removes nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use openraft::{ChangeMembers, ServerState};
use tokio::time;
use tonic::Status;
use tracing::info;
use weldr_proto::raft::v1;

use crate::cluster::{
    log::types::Member,
    raft::{
        core::{Core, Metrics, Raft, member_named},
        proposals::QUORUM_PATIENCE,
    },
};

/// The largest number of nodes in a cluster.
const MOST_NODES: usize = 7;
impl Core {
    /// Admits a node, or updates the name and address of a member. Forwards the request to the leader if this node is
    /// not the leader.
    pub(in crate::cluster) async fn admit(
        &self,
        request: v1::JoinRequest,
    ) -> Result<v1::JoinResponse, Status> {
        let (Some(raft), Some(metrics)) = (self.raft(), self.metrics()) else {
            return Err(Status::unavailable("the node is not ready"));
        };
        let v1::Member { id, name, address } = request.member.clone().unwrap_or_default();
        if metrics.state != ServerState::Leader {
            let leader = metrics
                .current_leader
                .filter(|leader| *leader != self.local_id());
            let leader = leader.and_then(|id| Some((id, metrics.membership_config.get_node(&id)?)));
            let (id, member) = leader.ok_or_else(|| Status::unavailable("there is no leader"))?;
            let mut client = self.client(id, member)?;
            return client.join(request).await.map(tonic::Response::into_inner);
        }
        let joining = Member { name, address };
        may_join(&metrics, id, &joining)?;
        let present = metrics.membership_config.get_node(&id);
        if present != Some(&joining) {
            let nodes = BTreeMap::from([(id, joining.clone())]);
            let change = match present {
                None => ChangeMembers::AddNodes(nodes),
                Some(_) => ChangeMembers::SetNodes(nodes),
            };
            change_members(&raft, change).await?;
            info!(node = %joining.name, address = %joining.address, id = format!("{id:x}"), "node joins");
        }
        let cluster = self.peers.cluster();
        Ok(v1::JoinResponse {
            cluster: cluster
                .map(|cluster| cluster.to_string())
                .unwrap_or_default(),
            proof: self.peers.secret().proof(cluster, 0, id),
        })
    }

    /// Removes the node with this name. Fails on a node that is not the leader.
    pub(in crate::cluster) async fn remove_member(&self, name: &str) -> Result<(), Status> {
        let (raft, metrics) = self.leading()?;
        let id = member_named(&metrics, name)?;
        if id == self.local_id() {
            return Err(Status::failed_precondition(format!(
                "{name} leads: hand over first, with weldrctl cluster transfer"
            )));
        }
        let ids = BTreeSet::from([id]);
        let change = if metrics
            .membership_config
            .voter_ids()
            .any(|voter| voter == id)
        {
            // A removed voter does not remain as a learner.
            ChangeMembers::RemoveVoters(ids)
        } else {
            ChangeMembers::RemoveNodes(ids)
        };
        change_members(&raft, change).await?;
        info!(node = name, id = format!("{id:x}"), "node removed");
        Ok(())
    }
}

/// Checks whether a node may join, or continue under another name or address.
fn may_join(metrics: &Metrics, id: u64, joining: &Member) -> Result<(), Status> {
    let Member { name, address } = joining;
    if id == 0 || name.is_empty() || address.parse::<SocketAddr>().is_err() {
        return Err(Status::invalid_argument(
            "a node has an id, a name and an address",
        ));
    }
    let mut others = metrics
        .membership_config
        .nodes()
        .filter(|(other, _)| **other != id);
    let taken = others.find(|(_, other)| other.name == *name || other.address == *address);
    if let Some((_, other)) = taken {
        return Err(Status::already_exists(format!(
            "node {} at {} is a member, and this one has another identity. If its data is lost, it cannot come \
             back as the same node: `weldrctl cluster remove {}` at another node, then start this one again",
            other.name, other.address, other.name
        )));
    }
    let is_new = metrics.membership_config.get_node(&id).is_none();
    if is_new && metrics.membership_config.nodes().count() >= MOST_NODES {
        return Err(Status::resource_exhausted(format!(
            "the cluster has {MOST_NODES} nodes, which is the most that it may have"
        )));
    }
    Ok(())
}

pub(in crate::cluster) async fn change_members(
    raft: &Raft,
    change: ChangeMembers<u64, Member>,
) -> Result<(), Status> {
    let change = raft.change_membership(change, false);
    match time::timeout(QUORUM_PATIENCE, change).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Status::unavailable(error.to_string())),
        Err(_) => Err(Status::unavailable(
            "no majority has agreed in time; the change may still be made",
        )),
    }
}
