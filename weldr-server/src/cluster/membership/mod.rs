//! Which nodes belong to the cluster.
//!
//! In reading order:
//!
//! * `admission`: how a node joins, gets its vote, and is removed.

pub(super) mod admission;
