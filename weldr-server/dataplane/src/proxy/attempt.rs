//! What the protocols of both sides have in common for a request that is sent to one server after another.

use std::{
    net::SocketAddr,
    task::{Context, Poll},
};

use crate::{http1::ClientAddress, proxy_protocol::Ends};

use super::{
    deadline::Deadline,
    error::ProxyError,
    retry::Replay,
    tally::{AttemptTally, RequestTally},
    upstream::Connection,
};

/// A request that can be sent to one server after another, with what the client sees of the response.
pub(super) trait Attempt {
    /// The deadline of the client's connection or stream.
    fn deadline(&self) -> &Deadline;

    /// Whether the request can be repeated when a server may already have it.
    fn replay(&self) -> Replay;

    /// Whether the client has seen a part of a response, so that it cannot get another.
    fn has_responded(&self) -> bool;

    /// The server of the session that the request belongs to.
    fn session(&self) -> Option<SocketAddr>;

    /// The connection of the client, for a server that is told whose request it is. `claimed`: the client that a trusted proxy names.
    fn ends(&self, claimed: Option<ClientAddress>) -> Ends;

    /// Prepares the request for being sent again from its beginning.
    fn begin_again(&mut self);

    /// Ready when the client is gone. For a request that waits for a server; nothing of the client's is read.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<ProxyError>;

    /// Sends the request on `connection` and passes the response on to the client.
    async fn exchange(
        &mut self,
        connection: Connection,
        attempt: &mut AttemptTally<'_>,
        request: &mut RequestTally<'_>,
    ) -> Result<(), ProxyError>;
}
