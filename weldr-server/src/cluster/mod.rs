//! The desired state, replicated by a cluster of nodes: proposed, made durable on a majority, applied and watched
//! through one [`Handle`]. A single node is a cluster of one.
//!
//! An acknowledged proposal is on disk on a majority. All nodes apply proposals in the same order, and the watch shows
//! a state only after it is committed.
//!
//! In reading order, from what is used to what uses it:
//!
//! * `options` and `error`: what a node is configured with, and why something fails.
//! * `log`: what is in the log, and the state that it makes. Pure.
//! * `storage`: keeps the log on disk and applies it.
//! * `network`: connections to other nodes.
//! * `raft`: the consensus engine, proposals, reads and reports.
//! * `membership`: joining and leaving.
//! * `leadership`: the lease and the hand-over.
//! * `sealing`: the members share the keys of secrets.
//! * `service`: the calls that other nodes make to this one.
//! * `handle`: the interface for the rest of the program.
//! * `introduction`: how a node presents itself to the others.
//! * `running` and `open`: start a node, on a runtime of its own, and stop it.
//!
//! A room or file uses only those above it in this list. `tests/layering` checks that no two import each other.

mod error;
mod handle;
mod introduction;
mod leadership;
mod log;
mod membership;
mod network;
mod open;
mod options;
mod raft;
mod running;
mod sealing;
mod service;
mod storage;

pub use error::{ChangeError, Damage, OpenError, ProposeError, RecoveryError, Stopped, StoreError};
pub use handle::Handle;
pub use log::{
    backup::{Backup, NoBackup},
    fingerprint::Fingerprint,
    history::{ChangedObjects, Event, NotInHistory, What},
    invites::{Invite, InviteEnd},
    member_history::{MemberChange, MemberEvent},
    types::Member,
};
pub use membership::invites::{InviteStatus, Invited};
pub use network::death_notice::tell_of_death;
pub use open::{Log, Opened, open};
pub use options::{JoinToken, NetworkOptions, StoreOptions, TlsFiles};
pub use raft::{
    core::NodeMembership,
    numbers::Numbers,
    reporter::{DrainReport, HolderClaim, ListenerReporter, Reporter},
    sightings::OtherCluster,
    status::{ClusterStatus, NodeReport, NodeStatus},
    step_down_hook::StepDownHook,
};
pub use storage::disk::DiskState;
pub(crate) use storage::file_modes::warn_of_wide_file;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::newer;
