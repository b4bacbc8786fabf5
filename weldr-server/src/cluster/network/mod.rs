//! Connections to the other nodes.
//!
//! In reading order:
//!
//! * `peers`: gRPC clients of the other nodes, and the metadata that identifies this node in each call.
//! * `certificate`: when a certificate expires.
//! * `security`: the proof of the shared secret, and TLS.
//! * `death_notice`: how a node's guard tells the others that the node's process has died.
//! * `lease_exchange`: what nodes tell each other beside the heartbeats.
//! * `connections`: which incoming connections are open, and which give way.
//! * `incoming`: accepts connections.
//! * `authentication`: which incoming calls are let in.
//! * `founding`: listens for calls of a cluster before this node founds one.
//! * `calls`: the consensus engine's calls to other nodes.
//!
//! `service`, beside this room, answers the calls.

pub(super) mod authentication;
pub(super) mod calls;
pub(super) mod certificate;
pub(super) mod connections;
pub(super) mod death_notice;
pub(super) mod founding;
pub(super) mod incoming;
pub(super) mod lease_exchange;
pub(super) mod peers;
pub(super) mod security;
