//! The outcome of a request, independent of the client's protocol.

use super::error::ProxyError;

/// How the service of a request ended. HTTP/1.1 derives from it whether the connection is kept, closed or reset.
#[derive(Debug)]
pub(super) enum RequestOutcome {
    /// The whole response has passed.
    Complete,
    /// The connection changed its protocol, and has ended.
    Tunnelled,
    /// The request failed, and the client has seen nothing of a response: it gets a local reply.
    Failed(ProxyError),
    /// The request failed after a part of the response was sent, so the response cannot be completed.
    BrokenOff(ProxyError),
}
