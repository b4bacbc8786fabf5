//! Connections to the other nodes.
//!
//! In reading order:
//!
//! * `peers`: gRPC clients of the other nodes, and the metadata that identifies this node in each call.
//! * `security`: the proof of the shared secret, and TLS.
//! * `calls`: the consensus engine's calls to other nodes.
//!
//! The other end of these calls is the room's neighbour `service`.

pub(super) mod calls;
pub(super) mod peers;
pub(super) mod security;
