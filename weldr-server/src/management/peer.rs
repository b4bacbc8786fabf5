//! Who asks.

use std::net::SocketAddr;

/// The other end of the connection that a request came over; an extension of each request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);
