//! A TLS handshake over a socket: what a client's and a server's have in common, and that with a server. `accept` has that with a
//! client.

mod to_server;
mod turns;
mod wire;

pub(super) use to_server::secure_to_server;
pub(super) use turns::HandshakeTurns;
pub(super) use wire::Wire;
