//! `cluster`, `list --all-nodes`, `history` and `rollback`: the nodes, what each sees, and what was changed.

use serde::Serialize;
use weldr_proto::v1;

use super::Health;
use crate::output::words;

/// The nodes that keep the pool together.
#[derive(Debug, Serialize)]
pub(crate) struct Cluster {
    pub(crate) cluster: String,
    pub(crate) quorum: bool,
    pub(crate) term: u64,
    pub(crate) leader: Option<String>,
    pub(crate) answered_by: String,
    pub(crate) revision: u64,
    pub(crate) nodes: Vec<Node>,
}

/// One node; `null` is what a node does not say that does not answer.
#[derive(Debug, Serialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) reachable: bool,
    pub(crate) role: Option<String>,
    pub(crate) term: Option<u64>,
    pub(crate) applied: Option<u64>,
    pub(crate) revision: Option<u64>,
    pub(crate) lag: Option<u64>,
    pub(crate) since: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) stopped: Option<String>,
    pub(crate) virtual_addresses: Vec<VirtualAddress>,
}

/// How a virtual address stands at a node.
#[derive(Debug, Serialize)]
pub(crate) struct VirtualAddress {
    pub(crate) address: String,
    pub(crate) interface: String,
    pub(crate) held: bool,
    pub(crate) standing: String,
    pub(crate) failing: bool,
    pub(crate) since: Option<String>,
}

impl From<&v1::GetClusterResponse> for Cluster {
    fn from(answer: &v1::GetClusterResponse) -> Self {
        Self {
            cluster: answer.cluster.clone(),
            quorum: answer.quorum,
            term: answer.term,
            leader: some(&answer.leader),
            answered_by: answer.answered_by.clone(),
            revision: answer.revision,
            nodes: answer.nodes.iter().map(Node::from).collect(),
        }
    }
}

impl From<&v1::Node> for Node {
    fn from(node: &v1::Node) -> Self {
        let said = node.reachable;
        Self {
            id: node.id.clone(),
            name: node.name.clone(),
            address: node.address.clone(),
            reachable: said,
            role: said.then(|| words::node_role(node.role)),
            term: said.then_some(node.term),
            applied: said.then_some(node.applied),
            revision: said.then_some(node.revision),
            lag: said.then_some(node.lag),
            since: node.since.map(|since| since.to_string()),
            version: some(&node.version),
            stopped: some(&node.stopped),
            virtual_addresses: node
                .virtual_addresses
                .iter()
                .map(|told| VirtualAddress {
                    address: told.address.clone(),
                    interface: told.interface.clone(),
                    held: told.held,
                    standing: told.standing.clone(),
                    failing: told.failing,
                    since: told.since.map(|since| since.to_string()),
                })
                .collect(),
        }
    }
}

/// What every node sees of every server.
#[derive(Debug, Serialize)]
pub(crate) struct AllNodes {
    pub(crate) revision: u64,
    pub(crate) servers: Vec<ServerOnNodes>,
}

/// One server, as the nodes see it.
#[derive(Debug, Serialize)]
pub(crate) struct ServerOnNodes {
    pub(crate) address: String,
    pub(crate) id: u64,
    pub(crate) in_flight: u64,
    pub(crate) nodes: Vec<NodeView>,
}

/// What one node sees of a server; `null`: it does not answer.
#[derive(Debug, Serialize)]
pub(crate) struct NodeView {
    pub(crate) node: String,
    pub(crate) health: Option<Health>,
    pub(crate) in_flight: u64,
}

impl From<&v1::ListHealthResponse> for AllNodes {
    fn from(answer: &v1::ListHealthResponse) -> Self {
        let servers = answer.servers.iter().map(|server| ServerOnNodes {
            address: server.address.clone(),
            id: server.id,
            in_flight: server.in_flight,
            nodes: server
                .nodes
                .iter()
                .map(|node| NodeView {
                    node: node.node.clone(),
                    health: node.health.as_ref().map(Health::from),
                    in_flight: node.in_flight,
                })
                .collect(),
        });
        Self {
            revision: answer.revision,
            servers: servers.collect(),
        }
    }
}

/// The last changes, the newest first.
#[derive(Debug, Serialize)]
pub(crate) struct History {
    pub(crate) revision: u64,
    pub(crate) events: Vec<HistoryEvent>,
}

/// One change.
#[derive(Debug, Serialize)]
pub(crate) struct HistoryEvent {
    pub(crate) revision: u64,
    pub(crate) time: Option<String>,
    pub(crate) what: String,
    pub(crate) from: String,
}

impl From<&v1::GetHistoryResponse> for History {
    fn from(answer: &v1::GetHistoryResponse) -> Self {
        let events = answer.events.iter().map(|event| HistoryEvent {
            revision: event.revision,
            time: event.at.map(|at| at.to_string()),
            what: event.what.clone(),
            from: event.from.clone(),
        });
        Self {
            revision: answer.revision,
            events: events.collect(),
        }
    }
}

/// The revision that a change has made.
#[derive(Debug, Serialize)]
pub(crate) struct Made {
    pub(crate) revision: u64,
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
