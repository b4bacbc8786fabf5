//! Connections to the other nodes.
//!
//! In reading order:
//!
//! * `certificate`: when a certificate expires.
//! * `credentials`: what this node shows of itself.
//! * `channel`: TLS 1.3, and who is on the other side of a channel.
//! * `secret`: the shared secret, and its proof on a channel.
//! * `previous`: the protocol of version 0.1.0.
//! * `death_notice`: how a node's guard tells the others that the node's process has died.
//! * `lease_exchange`: what nodes tell each other beside the heartbeats.
//! * `roster`: the members and their keys.
//! * `refusals`: what is logged of callers that are refused.
//! * `bounds`: what no honest member says. Pure.
//! * `dial`: opens a channel to another node.
//! * `peers`: gRPC clients of the other nodes, and the metadata of each call.
//! * `admission`: which incoming connections give way when there are too many. Pure.
//! * `connections`: the incoming connections that are open.
//! * `incoming`: accepts connections.
//! * `authentication`: which incoming calls are let in.
//! * `sizes`: how large a message may be.
//! * `founding`: listens for calls of a cluster before this node founds one.
//! * `calls`: the consensus engine's calls to other nodes.
//!
//! `service`, beside this room, answers the calls.

mod admission;
pub(super) mod authentication;
pub(super) mod bounds;
pub(super) mod calls;
pub(super) mod certificate;
pub(super) mod channel;
pub(super) mod connections;
pub(super) mod credentials;
pub(super) mod death_notice;
pub(super) mod dial;
pub(super) mod founding;
pub(super) mod incoming;
pub(super) mod lease_exchange;
pub(super) mod peers;
pub(super) mod previous;
pub(super) mod refusals;
pub(super) mod roster;
pub(super) mod secret;
pub(super) mod sizes;
