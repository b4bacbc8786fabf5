//! The seam between the planes: the immutable view of desired state and health that the data path reads.
//!
//! A snapshot is built whole and published once; a request reads it without a lock. What a server
//! accumulates while it lives hangs on a [`LiveServer`] that successive snapshots share, and what a pool keeps on a
//! [`LivePool`], so a change resets nothing.

mod candidates;
mod listener_view;
mod live_listener;
mod live_pool;
mod live_rule;
mod live_server;
mod pool_view;
mod pools;
mod publisher;
pub mod routes;
mod server_sums;
#[cfg(test)]
pub(crate) mod test_views;

pub use candidates::{Candidate, Candidates};
pub use listener_view::{ListenerView, ListenerViews};
pub use live_listener::{BindState, Binding, LiveListener};
pub use live_pool::{EjectedServer, LivePool, PoolShard, PoolTotals, QueuePlace};
pub use live_rule::LiveRule;
pub use live_server::{ConnectionSlot, LiveServer, RequestFailure, RequestSlot};
pub use pool_view::{PoolSecurity, PoolView, ServerView, Servers, Unavailable};
pub use pools::Pools;
pub use publisher::{Publisher, Snapshots, WorkerReader};

use std::sync::Arc;

use crate::{model::Revision, stickiness::SessionKeys};

/// What the data path acts on, and what operators are told.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the publications: a flip of health makes a new snapshot of the same revision.
    pub version: u64,
    /// The revision of the desired state in it.
    pub revision: Revision,
    /// How many servers have left their pools so far: a worker looks for those that are gone only when this grew.
    pub removals: u64,
    /// The pools, each with its servers.
    pub pools: Pools,
    /// The listeners, each with its rules.
    pub listeners: ListenerViews,
    /// The keys of the cookies of sessions that stick to a server.
    pub session_keys: Arc<SessionKeys>,
}
