//! The hook that releases what depends on the leadership before the leadership moves.

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;
use weldr_proto::raft::v1;

/// Implemented by what a node holds only while it is the leader, such as virtual addresses.
///
/// A hand-over calls [`prepare`](Self::prepare) while the lease is still valid, ends the lease, and waits for
/// [`released`](Self::released) before it asks another node to lead.
pub trait StepDownHook: fmt::Debug + Send + Sync {
    /// Called before the lease ends. Returns when the lease may end, within a bounded time.
    fn prepare(&self) -> BoxFuture<'_, ()>;

    /// Returns when everything is released, within a bounded time.
    ///
    /// # Errors
    /// Why something is still held, as a sentence. The hand-over is cancelled.
    fn released(&self) -> BoxFuture<'_, Result<(), String>>;

    /// The maximum time that `prepare` and `released` take together.
    fn max_duration(&self) -> Duration;

    /// The virtual addresses of this node, for the status of the cluster.
    fn addresses(&self) -> Vec<v1::VirtualAddress>;

    /// Called when everything is released, or the hand-over ended without a new leader. May be called more than once,
    /// and at any time after `prepare` was called.
    fn resume(&self);
}
