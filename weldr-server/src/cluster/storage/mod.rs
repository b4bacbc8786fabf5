//! Keeps the log and the snapshots, in memory and on disk, and applies the log.
//!
//! In reading order:
//!
//! * `persistent_state`: what a node keeps across restarts, and each change of it.
//! * `log_store`: the log as the consensus engine reads and writes it; reads are served from memory.
//! * `disk`: the thread that writes. Changes that arrive together share a transaction.
//! * `store`: the database, opened, verified and repaired.
//! * `rows`: the layout of its tables.
//! * `commit_index_hint`: the commit index, in an unsynced file beside the database.
//! * `recovery`: makes a cluster of one node from what it has. Pure.
//! * `data_dir`: the data directory and its lock.
//! * `file_identity`: tells a file from another one at the same path.
//! * `node_files`: the key of the node, and other small files beside the database.
//! * `state_machine`: applies committed entries, publishes each new state, and makes snapshots.

pub(super) mod commit_index_hint;
pub(super) mod data_dir;
pub(super) mod disk;
mod file_identity;
pub(super) mod file_modes;
pub(super) mod log_store;
pub(super) mod node_files;
pub(super) mod persistent_state;
pub(super) mod recovery;
pub(super) mod rows;
pub(super) mod state_machine;
pub(super) mod store;
