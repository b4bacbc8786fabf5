//! The address of the client.

use std::net::SocketAddr;

/// The client's address of the connection, an extension of each request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);
