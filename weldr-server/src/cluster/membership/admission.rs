//! How the leader admits and removes nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::future::join_all;
use openraft::{
    ChangeMembers, Instant as _, ServerState,
    errors::{ChangeMembershipError, ClientWriteError, RaftError},
};
use tokio::time::{self, Instant};
use tonic::Status;
use tracing::{debug, info, warn};
use weldr_proto::raft::v1;

use crate::{
    cluster::{
        log::{
            convert,
            types::{Member, Types},
        },
        network::authentication::Caller,
        raft::{
            core::{Core, Metrics, Raft, member_named},
            proposals::QUORUM_PATIENCE,
        },
    },
    model::{node_name, parse_server_address},
};

use super::removal::{self, Voter};

/// The largest number of nodes in a cluster.
const MOST_NODES: usize = 7;
/// The largest number of nodes that join at the same time. So nodes that join and do nothing leave room for others.
const MOST_LEARNERS: usize = 3;
/// The pause before a change of the membership is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// Why a node is believed to be the one that it says.
#[derive(Debug, Clone, Copy)]
pub(in crate::cluster) enum Voucher<'a> {
    /// The member with this id says so: of itself, or of a node whose request it forwards.
    Member(u64),
    /// The node itself, which has proven the secret.
    Secret(&'a Caller),
    /// The node itself, which brings an invite.
    Invite(&'a Caller),
}

impl Core {
    /// Admits a node, or updates the name, the address and the keys of a member. Forwards the request to the leader if this
    /// node is not the leader.
    pub(in crate::cluster) async fn admit(
        &self,
        request: v1::JoinRequest,
        voucher: Voucher<'_>,
    ) -> Result<v1::JoinResponse, Status> {
        let (Some(raft), Some(metrics)) = (self.raft(), self.metrics()) else {
            return Err(Status::unavailable("the node is not ready"));
        };
        let member = request.member.clone().unwrap_or_default();
        let member = convert::from_member(member);
        let (id, joining) = member.map_err(|error| Status::invalid_argument(error.to_string()))?;
        is_acceptable(id, &joining.name, &joining.address)?;
        if let Voucher::Secret(caller) | Voucher::Invite(caller) = voucher {
            self.is_itself(id, &joining, caller)?;
        }
        if metrics.state != ServerState::Leader {
            let leader = metrics
                .current_leader
                .filter(|leader| *leader != self.local_id());
            let leader = leader.and_then(|id| Some((id, metrics.membership_config.get_node(&id)?)));
            let (id, member) = leader.ok_or_else(|| Status::unavailable("there is no leader"))?;
            let mut client = self.client(id, member)?;
            return client.join(request).await.map(tonic::Response::into_inner);
        }
        may_join(&metrics, id, &joining)?;
        let present = metrics.membership_config.get_node(&id);
        match present {
            None => {
                self.may_be_new(id, &metrics)?;
                if !request.invite.is_empty() {
                    self.redeem(&request.invite, id, &joining.name).await?;
                }
            }
            Some(present) => may_change(present, &joining, voucher, id)?,
        }
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
            membership: Some(convert::stored_membership(&self.membership())),
        })
    }

    /// Checks that the node which calls is the one that its request is about.
    fn is_itself(&self, id: u64, joining: &Member, caller: &Caller) -> Result<(), Status> {
        let is_by_name = self.peers.credentials().authority.is_some();
        if is_by_name != joining.keys.is_empty() {
            return Err(Status::permission_denied(if is_by_name {
                "the nodes of this cluster have certificates of an authority: start it with --cluster-cert, --cluster-key and \
                 --cluster-ca"
            } else {
                "the nodes of this cluster have keys of their own: start it without --cluster-cert, --cluster-key and \
                 --cluster-ca"
            }));
        }
        let peer = caller.connection.peer();
        let is_on_channel = peer.is_some_and(|peer| peer.is(joining));
        if id != caller.claim.sender || !is_on_channel {
            return Err(Status::permission_denied(
                "a node joins only as itself: its certificate has another key, or another name and address, than its request",
            ));
        }
        Ok(())
    }

    /// Whether a node with this id can be a new one.
    fn may_be_new(&self, id: u64, metrics: &Metrics) -> Result<(), Status> {
        let learners = metrics.membership_config.membership().learner_ids();
        if learners.count() >= MOST_LEARNERS {
            return Err(Status::unavailable(format!(
                "{MOST_LEARNERS} nodes are joining already: one that does not respond is removed after some time, or with \
                 `weldrctl cluster remove`"
            )));
        }
        if self.machine.member_history().is_removed(id) {
            return Err(Status::permission_denied(
                "it was removed from this cluster: remove its data directory to let it join as a new node",
            ));
        }
        Ok(())
    }

    /// Removes the node with this name. Fails on a node that is not the leader, and if the voters that remain would have no
    /// quorum, unless `force` is set.
    pub(in crate::cluster) async fn remove_member(
        &self,
        name: &str,
        force: bool,
    ) -> Result<(), Status> {
        let (raft, metrics) = self.leading()?;
        let id = member_named(&metrics, name)?;
        if id == self.local_id() {
            return Err(Status::failed_precondition(format!(
                "{name} leads: hand over first, with weldrctl cluster transfer"
            )));
        }
        if let Err(risk) = removal::check(&self.voters(&metrics).await, id) {
            if !force {
                return Err(Status::failed_precondition(risk.to_string()));
            }
            warn!(node = name, risk = %risk, "removing a node by force");
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

impl Core {
    /// The voters, and which of them respond: those that acknowledged the leader's last messages and answer now.
    async fn voters(&self, metrics: &Metrics) -> Vec<Voter> {
        let acknowledges = |id: u64| {
            let heard = metrics.heartbeat.as_ref().and_then(|all| *all.get(&id)?);
            heard.is_some_and(|heard| heard.elapsed() < self.timing.lease * 2)
        };
        let voters = metrics.membership_config.voter_ids().map(async |id| {
            let member = metrics.membership_config.get_node(&id);
            let member = member.cloned().unwrap_or_default();
            let responds = id == self.local_id()
                || acknowledges(id) && self.report_of(id, &member, false).await.is_ok();
            Voter {
                id,
                name: member.name,
                responds,
            }
        });
        join_all(voters).await
    }
}

/// Checks what a node says about itself: it is stored by all nodes, shown to operators and logged.
fn is_acceptable(id: u64, name: &str, address: &str) -> Result<(), Status> {
    if id == 0 {
        return Err(Status::invalid_argument(
            "id: a node has an id that is not 0",
        ));
    }
    let valid = node_name(name).and_then(|()| parse_server_address(address).map(drop));
    valid.map_err(|invalid| Status::invalid_argument(invalid.to_string()))
}

/// Checks whether a member may be changed. Only itself changes its keys; others may add a key where there is none.
fn may_change(
    present: &Member,
    joining: &Member,
    voucher: Voucher<'_>,
    id: u64,
) -> Result<(), Status> {
    let is_itself = matches!(voucher, Voucher::Member(sender) if sender == id);
    if is_itself || present.keys.is_empty() || present.keys == joining.keys {
        return Ok(());
    }
    Err(Status::permission_denied(
        "a member has its id and another key: if the key of this node is lost, remove the node, and its data directory, and let \
         it join again",
    ))
}

/// Checks whether a node may join, or continue under another name or address.
fn may_join(metrics: &Metrics, id: u64, joining: &Member) -> Result<(), Status> {
    let Member { name, address, .. } = joining;
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

/// Changes the membership, and returns when a majority of the old and of the new voters has agreed. Waits for another change
/// that is under way, and for a new leader's first entry.
pub(in crate::cluster) async fn change_members(
    raft: &Raft,
    change: ChangeMembers<u64, Member>,
) -> Result<(), Status> {
    let deadline = Instant::now() + QUORUM_PATIENCE;
    loop {
        let changed = raft.change_membership(change.clone(), false);
        let error = match time::timeout_at(deadline, changed).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => {
                return Err(Status::unavailable(
                    "no majority has agreed in time; the change may still be made",
                ));
            }
        };
        debug!(%error, "the membership is not changed");
        if !is_busy(&error) || Instant::now() + BUSY_PAUSE >= deadline {
            return Err(refusal(&error));
        }
        time::sleep(BUSY_PAUSE).await;
    }
}

/// Whether the engine takes no change of the membership at the moment.
fn is_busy(error: &RaftError<Types, ClientWriteError<Types>>) -> bool {
    matches!(
        error,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_)
        ))
    )
}

/// The engine's error in the words of an operator.
fn refusal(error: &RaftError<Types, ClientWriteError<Types>>) -> Status {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => {
            Status::unavailable("the leader has changed; nothing changed")
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
            ChangeMembershipError::InProgress(_)
            | ChangeMembershipError::UncommittedLeaderLog(_) => Status::failed_precondition(
                "another change of the membership is under way: try again in a moment",
            ),
            ChangeMembershipError::EmptyMembership(_) => {
                Status::failed_precondition("the only voter cannot be removed")
            }
            ChangeMembershipError::LearnerNotFound(_) => {
                Status::failed_precondition("the node is not a member any more")
            }
            ChangeMembershipError::UnsupportedMembershipTransition(_)
            | ChangeMembershipError::NodeMetadataChanged(_) => {
                Status::failed_precondition("the membership cannot be changed in this way")
            }
        },
        RaftError::APIError(_) => {
            Status::unavailable("the leader has changed; the change may still be made")
        }
        RaftError::Fatal(_) => {
            Status::unavailable("the leader cannot write its log; the change may still be made")
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn what_a_joining_node_says_is_bounded_and_plain() {
        let refused = |id, name: &str, address: &str| {
            let refused = is_acceptable(id, name, address).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            let text = refused.message().to_owned();
            // An escaped character takes six bytes.
            assert!(text.len() < 2_000, "{} bytes", text.len());
            assert!(!text.contains(char::is_control), "{text:?}");
            text
        };
        is_acceptable(1, "node-1.example_a", "10.0.0.1:8688").unwrap();
        is_acceptable(1, &"n".repeat(64), "[2001:db8::1]:8688").unwrap();
        for name in [
            "",
            "a\n2026-01-01 ERROR forged",
            "\u{1b}[2J",
            "\u{9b}2J",
            "a b",
            "ä",
            &"\u{1b}".repeat(1 << 20),
            &"n".repeat(65),
        ] {
            assert!(refused(1, name, "10.0.0.1:8688").starts_with("node_name: "));
        }
        for address in [
            "",
            "host:1",
            "0.0.0.0:1",
            "10.0.0.1:0",
            "224.0.0.1:1",
            &"1".repeat(1 << 20),
        ] {
            assert!(refused(1, "a", address).starts_with("address: "));
        }
        refused(0, "a", "10.0.0.1:8688");
    }
}
