//! Which nodes belong to the cluster.
//!
//! In reading order:
//!
//! * `token`: the token of an invite. Pure.
//! * `join`: how this node asks to join.
//! * `removal`: whether a node may be removed. Pure.
//! * `invites`: how nodes are invited.
//! * `admission`: how the leader admits and removes nodes.
//! * `contacts`: which members respond. Pure.
//! * `observation`: observes the other members, and nodes that were removed.
//! * `rotation`: how this node replaces its key.
//! * `background`: gives learners that have caught up a vote, and keeps this node's name and address up to date.

pub(super) mod admission;
pub(super) mod background;
pub(super) mod contacts;
pub(super) mod invites;
pub(super) mod join;
pub(super) mod observation;
pub(super) mod removal;
pub(super) mod rotation;
pub(super) mod token;
