//! What is held by the leadership, and has to be let go of before that is handed over.

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;
use weldr_proto::raft::v1;

/// Holds something while this node surely leads, and lets go of it when the lease ends.
///
/// A hand-over calls [`prepare`](Self::prepare) while the lease still holds, ends the lease, and waits for
/// [`released`](Self::released) before it asks another node to lead.
pub trait StepDownHook: fmt::Debug + Send + Sync {
    /// The lease ends soon: returns when it may. Bounded.
    fn prepare(&self) -> BoxFuture<'_, ()>;

    /// Returns when nothing is held any more. Bounded.
    ///
    /// # Errors
    /// Why it is still held, as a sentence: the leadership stays.
    fn released(&self) -> BoxFuture<'_, Result<(), String>>;

    /// How long `prepare` and `released` may take together.
    fn max_duration(&self) -> Duration;

    /// What it may hold, for those who look at the cluster.
    fn addresses(&self) -> Vec<v1::VirtualAddress>;

    /// All is released, or the hand-over has ended without. May come more than once, and at any time after `prepare` was
    /// called.
    fn resume(&self);
}
