//! How long this node is certainly the leader, and how it gives the leadership to another node.
//!
//! In reading order:
//!
//! * `lease`: publishes until when this node is certainly the leader.
//! * `candidacy`: when this node stands for election.
//! * `hand_over`: transfers the leadership, on request or because this node stops.
//! * `successor`: which node should lead next. Pure.

pub(super) mod candidacy;
pub(super) mod hand_over;
pub(super) mod lease;
pub(super) mod successor;
