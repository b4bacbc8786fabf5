//! The nodes of a cluster, what each of them sees, and what was changed.

use serde::Serialize;

use super::{Health, Seconds, set, time};
use crate::{v1, words};

/// The cluster.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
#[allow(
    clippy::struct_field_names,
    reason = "the names of the fields are those of the JSON"
)]
pub struct Cluster {
    pub cluster: String,
    pub quorum: bool,
    pub term: u64,
    pub leader: Option<String>,
    pub answered_by: String,
    pub nodes: Vec<Node>,
    pub revision: u64,
    pub voters: Option<Voters>,
}

impl From<&v1::GetClusterResponse> for Cluster {
    fn from(response: &v1::GetClusterResponse) -> Self {
        Self {
            cluster: response.cluster.clone(),
            quorum: response.quorum,
            term: response.term,
            leader: set(&response.leader),
            answered_by: response.answered_by.clone(),
            nodes: response.nodes.iter().map(Node::from).collect(),
            revision: response.revision,
            voters: response.voters.as_ref().map(Voters::from),
        }
    }
}

/// An invite: it lets one node join.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct Invite {
    pub id: String,
    pub state: String,
    pub lifetime_seconds: Option<Seconds>,
    pub left_seconds: Option<Seconds>,
    pub from: String,
    pub used_by: Option<String>,
}

impl From<&v1::Invite> for Invite {
    fn from(invite: &v1::Invite) -> Self {
        Self {
            id: invite.id.clone(),
            state: words::invite_state(invite.state),
            lifetime_seconds: invite.lifetime.map(Seconds),
            left_seconds: invite.left.map(Seconds),
            from: invite.from.clone(),
            used_by: set(&invite.used_by),
        }
    }
}

/// Which of the voters respond.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct Voters {
    pub total: u32,
    pub responding: u32,
    pub majority: u32,
    pub silent: Vec<String>,
}

impl From<&v1::Voters> for Voters {
    fn from(voters: &v1::Voters) -> Self {
        Self {
            total: voters.total,
            responding: voters.responding,
            majority: voters.majority,
            silent: voters.silent.clone(),
        }
    }
}

/// A node. What only the node itself knows is `null` if it does not respond.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct Node {
    pub id: String,
    pub name: String,
    pub address: String,
    pub reachable: bool,
    pub role: Option<String>,
    pub term: Option<u64>,
    pub applied: Option<u64>,
    pub revision: Option<u64>,
    pub lag: Option<u64>,
    pub since: Option<String>,
    pub version: Option<String>,
    pub stopped: Option<String>,
    pub virtual_addresses: Vec<VirtualAddress>,
    pub readiness: Option<Readiness>,
    pub other_cluster: Option<String>,
    pub votes: bool,
    pub last_contact_seconds: Option<Seconds>,
    pub disk: Option<Disk>,
    pub clock_offset_seconds: Option<Seconds>,
    pub failover: Option<String>,
    pub backups: Option<Backups>,
    pub certificate_expires: Option<String>,
    pub data_dir_mode: Option<String>,
}

impl From<&v1::Node> for Node {
    fn from(node: &v1::Node) -> Self {
        let responds = node.reachable;
        let virtual_addresses = node.virtual_addresses.iter();
        Self {
            id: node.id.clone(),
            name: node.name.clone(),
            address: node.address.clone(),
            reachable: responds,
            role: responds.then(|| words::node_role(node.role)),
            term: responds.then_some(node.term),
            applied: responds.then_some(node.applied),
            revision: responds.then_some(node.revision),
            lag: responds.then_some(node.lag),
            since: time(node.since),
            version: set(&node.version),
            stopped: set(&node.stopped),
            virtual_addresses: virtual_addresses.map(VirtualAddress::from).collect(),
            readiness: node.readiness.as_ref().map(Readiness::from),
            other_cluster: set(&node.other_cluster),
            votes: node.votes,
            last_contact_seconds: node.last_contact.map(Seconds),
            disk: node.disk.as_ref().map(Disk::from),
            clock_offset_seconds: node.clock_offset.map(Seconds),
            failover: set(&node.failover),
            backups: node.backups.as_ref().map(Backups::from),
            certificate_expires: time(node.certificate_expires),
            data_dir_mode: (node.data_dir_mode > 0).then(|| format!("{:04o}", node.data_dir_mode)),
        }
    }
}

/// The data directory of a node.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct Disk {
    pub state: String,
    pub cause: Option<String>,
}

impl From<&v1::Disk> for Disk {
    fn from(disk: &v1::Disk) -> Self {
        Self {
            state: words::disk_state(disk.state),
            cause: set(&disk.cause),
        }
    }
}

/// The scheduled backups of a node. `revision` is `null` if there was none since it started.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct Backups {
    pub revision: Option<u64>,
    pub at: Option<String>,
    pub failure: Option<String>,
}

impl From<&v1::Backups> for Backups {
    fn from(backups: &v1::Backups) -> Self {
        Self {
            revision: backups.at.map(|_| backups.revision),
            at: time(backups.at),
            failure: set(&backups.failure),
        }
    }
}

/// Whether a node is ready for traffic.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct Readiness {
    pub status: String,
    pub reasons: Vec<UnreadyReason>,
}

impl From<&v1::Readiness> for Readiness {
    fn from(readiness: &v1::Readiness) -> Self {
        Self {
            status: words::readiness_status(readiness.status),
            reasons: readiness.reasons.iter().map(UnreadyReason::from).collect(),
        }
    }
}

/// One reason why a node is not ready.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct UnreadyReason {
    pub code: String,
    pub description: String,
    pub since: Option<String>,
}

impl From<&v1::UnreadyReason> for UnreadyReason {
    fn from(reason: &v1::UnreadyReason) -> Self {
        Self {
            code: words::unready_code(reason.code),
            description: reason.description.clone(),
            since: time(reason.since),
        }
    }
}

/// The state of a virtual address at a node.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct VirtualAddress {
    pub address: String,
    pub interface: String,
    pub held: bool,
    pub standing: String,
    pub failing: bool,
    pub since: Option<String>,
    pub guard: Option<String>,
    pub guard_restarts: u64,
    pub link: Option<String>,
    pub conflict: Option<String>,
}

impl From<&v1::VirtualAddress> for VirtualAddress {
    fn from(address: &v1::VirtualAddress) -> Self {
        Self {
            address: address.address.clone(),
            interface: address.interface.clone(),
            held: address.held,
            standing: address.standing.clone(),
            failing: address.failing,
            since: time(address.since),
            guard: (address.guard != 0).then(|| words::guard_state(address.guard)),
            guard_restarts: address.guard_restarts,
            link: (address.link != 0).then(|| words::link_state(address.link)),
            conflict: set(&address.conflict),
        }
    }
}

/// What every node sees of every server.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct HealthOnNodes {
    pub revision: u64,
    pub servers: Vec<ServerHealth>,
}

impl From<&v1::ListHealthResponse> for HealthOnNodes {
    fn from(response: &v1::ListHealthResponse) -> Self {
        Self {
            revision: response.revision,
            servers: response.servers.iter().map(ServerHealth::from).collect(),
        }
    }
}

/// What every node sees of one server.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct ServerHealth {
    pub address: String,
    pub id: u64,
    pub in_flight: u64,
    pub nodes: Vec<NodeHealth>,
}

impl From<&v1::ServerHealth> for ServerHealth {
    fn from(server: &v1::ServerHealth) -> Self {
        Self {
            address: server.address.clone(),
            id: server.id,
            in_flight: server.in_flight,
            nodes: server.nodes.iter().map(NodeHealth::from).collect(),
        }
    }
}

/// What one node sees of one server. `health` is `null` if the node does not respond.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct NodeHealth {
    pub node: String,
    pub health: Option<Health>,
    pub in_flight: u64,
}

impl From<&v1::NodeHealth> for NodeHealth {
    fn from(node: &v1::NodeHealth) -> Self {
        Self {
            node: node.node.clone(),
            health: node.health.as_ref().map(Health::from),
            in_flight: node.in_flight,
        }
    }
}

/// The last changes, the newest first.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct History {
    pub revision: u64,
    pub events: Vec<HistoryEvent>,
}

impl From<&v1::GetHistoryResponse> for History {
    fn from(response: &v1::GetHistoryResponse) -> Self {
        Self {
            revision: response.revision,
            events: response.events.iter().map(HistoryEvent::from).collect(),
        }
    }
}

/// A change.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct HistoryEvent {
    pub revision: u64,
    pub time: Option<String>,
    pub what: String,
    pub from: String,
}

impl From<&v1::HistoryEvent> for HistoryEvent {
    fn from(event: &v1::HistoryEvent) -> Self {
        Self {
            revision: event.revision,
            time: time(event.at),
            what: event.what.clone(),
            from: event.from.clone(),
        }
    }
}
