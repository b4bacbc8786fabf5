//! The desired state, kept by a cluster of nodes: proposed to, made durable on a majority, applied and watched
//! behind one [`Handle`]. A node that is alone is a cluster of one.
//!
//! A proposal that is answered is on disk on a majority, proposals are applied in one order, and the watch shows
//! each state only after it is decided.
//!
//! In reading order:
//!
//! * `options`: what a node is configured with. `error`: why opening or a proposal fails.
//! * `open`: starts a node on a runtime of its own. `running`: a node from its start to its stop.
//! * `handle`: what callers use.
//! * `log`: what is in the log, and the state that it makes. Pure.
//! * `storage`: keeps the log and the state.
//! * `network`: connections to other nodes.
//! * `raft`: the consensus engine, proposals, reads and reports.
//! * `leadership`: the lease and the hand-over.
//! * `membership`: joining and leaving.
//! * `service`: the calls that other nodes make to this one.
//!
//! Each room uses only rooms above it in this list, and `error` and `options`.

mod error;
mod handle;
mod leadership;
mod log;
mod membership;
mod network;
mod open;
mod options;
mod raft;
mod running;
mod service;
mod storage;

pub use error::{ChangeError, Damage, OpenError, ProposeError, Stopped, StoreError};
pub use handle::Handle;
pub use log::{
    backup::{Backup, NoBackup},
    history::{Event, What},
    types::Member,
};
pub use open::{Log, Opened, open};
pub use options::{NetworkOptions, StoreOptions, TlsFiles};
pub use raft::{
    reporter::{DrainReport, Reporter},
    status::{ClusterStatus, NodeReport, NodeStatus},
    step_down_hook::StepDownHook,
};

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::newer;
