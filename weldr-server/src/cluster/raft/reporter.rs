//! What this node has to tell the others of its servers.

use std::{collections::BTreeSet, fmt, sync::Arc};

use weldr_proto::raft::v1;

/// Gives what this node sees of the servers.
#[derive(Clone)]
pub struct Reporter(pub Arc<dyn Fn() -> Vec<v1::ServerReport> + Send + Sync>);

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

/// What a node has to say of servers that are on their way out, by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Being removed, and nothing runs on it any more through this node.
    pub finished: BTreeSet<u64>,
    /// Unhealthy, as this node sees it, for longer than it may be.
    pub overdue: BTreeSet<u64>,
}
