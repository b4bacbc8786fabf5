//! A node's consensus engine and what is built directly on it: proposals, linearizable reads and reports.
//!
//! In reading order:
//!
//! * `voting_rights`: whether this node may vote and stand for election, after a start.
//! * `invite_ages`: how long ago each invite was made. Pure.
//! * `key_copies`: which other nodes have which sealing keys.
//! * `contacts`, `facts`: what is reported of members and of how this node was started.
//! * `core`: the state that all tasks of a node share.
//! * `sightings`: other clusters with the same secret.
//! * `settings`: the engine's timeouts and limits.
//! * `engine`: starts the engine, and starts it again after its disk failed.
//! * `numbers`: the numbers of the engine, for metrics.
//! * `patience`: how long a call waits for a leader.
//! * `proposals`: how a proposal or a linearizable read reaches the leader.
//! * `reporter`, `step_down_hook`: what the rest of the program plugs in.
//! * `reports`: what nodes tell each other about themselves and about their servers.
//! * `status`: the reports of all members side by side.

pub(super) mod contacts;
pub(super) mod core;

pub(super) mod engine;
pub(super) mod facts;
pub(super) mod invite_ages;
pub(super) mod key_copies;
pub(super) mod numbers;
pub(super) mod patience;
pub(super) mod proposals;
pub(super) mod reporter;
pub(super) mod reports;
pub(super) mod settings;
pub(super) mod sightings;
pub(super) mod status;
pub(super) mod step_down_hook;
pub(super) mod voting_rights;
