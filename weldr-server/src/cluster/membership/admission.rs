//! Who is a member: joining and leaving.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use openraft::{ChangeMembers, ServerState};
use tokio::time::{self, Instant};
use tonic::{Code, Status};
use tracing::{info, warn};
use uuid::Uuid;
use weldr_proto::raft::v1;

use crate::cluster::{
    error::OpenError,
    log::{
        convert,
        types::{Member, RECORD_VERSION, Raft},
    },
    network::peers::{NoWay, Peers},
    raft::{
        core::{Core, Metrics},
        proposals::QUORUM_PATIENCE,
    },
};

/// How many nodes a cluster may have.
const MOST_NODES: usize = 7;
/// How many entries a learner may lack when it becomes a voter.
const CAUGHT_UP: u64 = 16;
/// How often the leader looks for learners that have caught up.
const LOOK: Duration = Duration::from_millis(100);
/// How long a node that wants to join asks for somebody who lets it.
const JOIN_PATIENCE: Duration = Duration::from_mins(1);
/// How long one node may take to let another join.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two rounds of asking.
const JOIN_PAUSE: Duration = Duration::from_millis(250);

/// Asks the nodes at `addresses`, again and again, to let this one join; gives the cluster.
pub(in crate::cluster) async fn join(
    peers: &Peers,
    me: &Member,
    addresses: &[SocketAddr],
) -> Result<Uuid, OpenError> {
    let deadline = Instant::now() + JOIN_PATIENCE;
    let mut told = false;
    loop {
        let mut last = Status::unavailable("nobody was asked");
        for address in addresses {
            match ask(peers, me, *address).await {
                Ok(cluster) => return Ok(cluster),
                Err(status) if is_final(&status) => {
                    return Err(OpenError::JoinRefused(status.message().to_owned()));
                }
                Err(status) => last = status,
            }
        }
        if Instant::now() >= deadline {
            return Err(OpenError::JoinUnanswered {
                addresses: addresses.to_vec(),
                source: Box::new(last),
            });
        }
        if !std::mem::replace(&mut told, true) {
            warn!(error = %last, "no node lets this one join yet; asking again");
        }
        time::sleep(JOIN_PAUSE).await;
    }
}

fn is_final(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::PermissionDenied | Code::AlreadyExists | Code::ResourceExhausted
    )
}

async fn ask(peers: &Peers, me: &Member, address: SocketAddr) -> Result<Uuid, Status> {
    let no_way = |error: NoWay| Status::unavailable(error.to_string());
    let mut client = peers.client(0, &address.to_string()).map_err(no_way)?;
    let request = v1::JoinRequest {
        member: Some(convert::member(peers.me(), me)),
        record_version: RECORD_VERSION,
    };
    let answer = time::timeout(JOIN_TIMEOUT, client.join(request)).await;
    let answer = answer.map_err(|_| Status::unavailable("no answer in time"))??;
    let v1::JoinResponse { cluster, proof } = answer.into_inner();
    let cluster =
        Uuid::parse_str(&cluster).map_err(|_| Status::internal("the answer names no cluster"))?;
    // From no node to this one: what only an answer to a join proves.
    if peers
        .secret()
        .is_proven_by(&proof, Some(cluster), 0, peers.me())
    {
        return Ok(cluster);
    }
    Err(Status::permission_denied(format!(
        "the node at {address} does not prove that it has the secret"
    )))
}

impl Core {
    /// Lets a node join, or takes note of its new name and address. Asks the leader when this is not it.
    pub(in crate::cluster) async fn admit(
        &self,
        request: v1::JoinRequest,
    ) -> Result<v1::JoinResponse, Status> {
        let (Some(raft), Some(metrics)) = (self.raft(), self.metrics()) else {
            return Err(Status::unavailable("the node is not ready"));
        };
        let v1::Member { id, name, address } = request.member.clone().unwrap_or_default();
        if metrics.state != ServerState::Leader {
            let leader = metrics.current_leader.filter(|leader| *leader != self.me());
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

    /// Removes the node of that name. Only the leader does.
    pub(in crate::cluster) async fn remove_member(&self, name: &str) -> Result<(), Status> {
        let (raft, metrics) = self.leading()?;
        let id = member_named(&metrics, name)?;
        if id == self.me() {
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
            // What does not vote any more is no learner either: it is gone.
            ChangeMembers::RemoveVoters(ids)
        } else {
            ChangeMembers::RemoveNodes(ids)
        };
        change_members(&raft, change).await?;
        info!(node = name, id = format!("{id:x}"), "node removed");
        Ok(())
    }

    pub(in crate::cluster) fn leading(&self) -> Result<(Raft, Metrics), Status> {
        let both = self.raft().zip(self.metrics());
        both.filter(|(_, metrics)| metrics.state == ServerState::Leader)
            .ok_or_else(|| Status::failed_precondition("this node does not lead"))
    }
}

/// Whether a node may join, or go on under another name or address.
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

pub(in crate::cluster) fn member_named(metrics: &Metrics, name: &str) -> Result<u64, Status> {
    let mut members = metrics.membership_config.nodes();
    let found = members.find(|(_, member)| member.name == name);
    found
        .map(|(id, _)| *id)
        .ok_or_else(|| Status::not_found(format!("there is no node {name} in the cluster")))
}

async fn change_members(raft: &Raft, change: ChangeMembers<u64, Member>) -> Result<(), Status> {
    let change = raft.change_membership(change, false);
    match time::timeout(QUORUM_PATIENCE, change).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Status::unavailable(error.to_string())),
        Err(_) => Err(Status::unavailable(
            "no majority has agreed in time; the change may still be made",
        )),
    }
}

/// Makes voters of learners that have caught up, while this node leads; until it stops.
pub(in crate::cluster) async fn promote(core: Arc<Core>) {
    while core
        .stop
        .run_until_cancelled(time::sleep(LOOK))
        .await
        .is_some()
    {
        let Ok((raft, metrics)) = core.leading() else {
            continue;
        };
        let Some((id, member)) = caught_up(&metrics) else {
            continue;
        };
        let change = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
        match change_members(&raft, change).await {
            Ok(()) => info!(node = %member.name, id = format!("{id:x}"), "node votes"),
            Err(error) => warn!(node = %member.name, %error, "node cannot vote yet"),
        }
    }
}

fn caught_up(metrics: &Metrics) -> Option<(u64, Member)> {
    let members = metrics.membership_config.membership();
    if metrics.membership_config != metrics.committed_membership_config {
        return None;
    }
    let last = metrics.last_log_index.unwrap_or_default();
    let replication = metrics.replication.as_ref()?;
    let mut learners = members.learner_ids();
    let id = learners.find(|id| {
        let matching = replication.get(id).copied().flatten();
        matching.is_some_and(|matching| matching.index + CAUGHT_UP >= last)
    })?;
    let member = metrics.membership_config.get_node(&id)?;
    Some((id, member.clone()))
}

/// Tells the leader when the members know this node by another name or address; until they do.
pub(in crate::cluster) async fn announce(core: Arc<Core>) {
    while core
        .stop
        .run_until_cancelled(time::sleep(LOOK * 5))
        .await
        .is_some()
    {
        let Some(metrics) = core.metrics() else {
            continue;
        };
        match metrics.membership_config.get_node(&core.me()) {
            Some(known) if *known == core.member => return,
            Some(_) => {
                let request = v1::JoinRequest {
                    member: Some(convert::member(core.me(), &core.member)),
                    record_version: RECORD_VERSION,
                };
                if let Err(error) = core.admit(request).await {
                    tracing::debug!(%error, "the members do not know the new address yet");
                }
            }
            None => {}
        }
    }
}
