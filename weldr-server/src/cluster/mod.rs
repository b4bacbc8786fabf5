//! The desired state, kept by a cluster of nodes: proposed to, made durable on a majority, applied and watched
//! behind one [`Handle`]. A node that is alone is a cluster of one.
//!
//! A proposal that is answered is on disk on a majority, proposals are applied in one order, and the watch shows
//! each state only after it is decided.
//!
//! In reading order:
//!
//! * `options` (what a node is told), `open` (starts it all, on a runtime of its own), `running` (a node at work, from its
//!   start to its end), `engine` (the consensus engine: started, and started again after its disk failed), `tuning` (its
//!   settings).
//! * `handle` (what callers see), `core` (what a node consists of), `orders` (how an order finds the leader), `reporter`
//!   and `reports` (what a node has to tell the others of its servers, and what they tell each other).
//! * `types` (what is in the log), `replica` (what the log makes, pure), `state_machine` (applies and publishes).
//! * `history` and `backup` (what can be brought back, pure).
//! * `log_store` (the log in memory), `disk` (the thread that writes), `store` (the database), `kept` and `rows`
//!   (what is in it), `hint` (how far it is decided), `data_dir` (its directory, and how it is created whole or not at all).
//! * `network` and `service` (the two ends of a call between nodes), `peers` (connections), `security` (who may
//!   call), `wire` (the proto, pure).
//! * `membership` (joining, leaving), `hand_over` (of the leadership), `successor` (to whom, pure), `lease` (until
//!   when this node surely leads), `tenant` (who holds something by that), `status`.

mod backup;
mod core;
mod data_dir;
mod disk;
mod engine;
mod error;
mod hand_over;
mod handle;
mod hint;
mod history;
mod kept;
mod lease;
mod log_store;
mod membership;
mod network;
mod open;
mod options;
mod orders;
mod peers;
mod replica;
mod reporter;
mod reports;
mod rows;
mod running;
mod security;
mod service;
mod state_machine;
mod status;
mod store;
mod successor;
mod tenant;
mod tuning;
mod types;
mod wire;

pub use backup::{Backup, NoBackup};
pub use error::{Damage, OpenError, StoreError};
pub use handle::{ChangeError, Handle, ProposeError};
pub use history::{Event, What};
pub use open::{Log, Opened, open};
pub use options::{NetworkOptions, StoreOptions};
pub use reporter::{Reporter, Verdicts};
pub use security::TlsFiles;
pub use state_machine::Stopped;
pub use status::{NodeReport, NodeStatus, Status};
pub use tenant::Tenant;
pub use types::Member;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::newer;
