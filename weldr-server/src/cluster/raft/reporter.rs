//! What the rest of the program reports about servers.

use std::{collections::BTreeSet, fmt, sync::Arc};

use weldr_proto::raft::v1;

/// Gives this node's view of the servers.
#[derive(Clone)]
pub struct Reporter(pub Arc<dyn Fn() -> Vec<v1::ServerReport> + Send + Sync>);

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

/// How much a node is preferred as the holder of the virtual addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HolderClaim {
    /// The highest is preferred.
    pub priority: u32,
    /// Whether the node has been ready for as long as it has to be before it takes the addresses by its priority.
    pub settled: bool,
}

/// A node's report about servers that are being removed or should be, by server id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Servers that are being removed and have no request left on this node.
    pub finished: BTreeSet<u64>,
    /// Servers that this node has seen unhealthy for longer than `deregister_after`.
    pub overdue: BTreeSet<u64>,
    /// Whether this node is a witness: it sends no requests to servers, so `overdue` does not count.
    pub abstains: bool,
}

/// Returns this node's listeners, for its report to other nodes.
pub struct ListenerReporter(pub Box<dyn Fn() -> Vec<v1::ListenerReport> + Send>);

impl fmt::Debug for ListenerReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ListenerReporter")
    }
}
