//! A connection that has changed its protocol: bytes are forwarded both ways without being interpreted.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll, ready},
    time::Duration,
};

use crate::proxy::{
    client::Client,
    context::WorkerContext,
    flow::{Flow, Moved},
    tally::{AttemptTally, RequestTally, TunnelTally},
    trailers::Trailers,
    transport::Transport,
    upstream::Connection,
};
use crate::{
    buffer::Buffer,
    http1::{Decoder, Strictness},
};

/// A tunnel has no head.
const NO_HEAD: &[u8] = b"";

/// Forwards bytes both ways until both sides have ended, one of them fails, nothing moves for as long as `idle`, or
/// the server is removed. Bytes that either side sent before are forwarded first. The end of one side is passed to the
/// other, which may go on sending.
pub(super) async fn run(
    context: &WorkerContext,
    (client, idle): (&mut Client, Duration),
    server: &mut Connection,
    attempt: &AttemptTally<'_>,
    request: &mut RequestTally<'_>,
) {
    let _open = TunnelTally::begin(context);
    let mut up = Direction::new();
    let mut down = Direction::new();
    let mut progress = (0, 0);
    client.deadline.arm(idle);
    let outcome = poll_fn(|cx| {
        let to_server = up.poll(
            cx,
            (&mut client.transport, &mut client.buffer),
            &mut server.transport,
            context,
        )?;
        let to_client = down.poll(
            cx,
            (&mut server.transport, &mut server.buffer),
            &mut client.transport,
            context,
        )?;
        let (sent, received) = (up.flow.take_uncounted(), down.flow.take_uncounted());
        attempt.passed(sent, received);
        request.passed(sent, received);
        let before = std::mem::replace(&mut progress, (up.flow.progress(), down.flow.progress()));
        if before != progress {
            client.deadline.arm(idle);
        }
        if to_server.is_ready() && to_client.is_ready() {
            return Poll::Ready(Ok(()));
        }
        client
            .deadline
            .poll(cx)
            .map(|_| Err(io::ErrorKind::TimedOut.into()))
    })
    .await;
    let error = outcome.err().map(|error: io::Error| error.kind());
    tracing::debug!(client = %client.peer.address, error = ?error, "tunnel ended");
    context.buffers.take_back(&mut server.buffer);
}

/// One of the two directions.
#[derive(Debug)]
struct Direction {
    flow: Flow,
    /// Whether the end of the stream was passed to the other side.
    closed: bool,
}

impl Direction {
    fn new() -> Self {
        let no_trailers = Trailers::OfResponse {
            wanted: false,
            strictness: Strictness::Strict,
        };
        Self {
            flow: Flow::new(Decoder::UntilClose, false, no_trailers),
            closed: false,
        }
    }

    /// Ready when this direction is closed.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (from, buffer): (&mut Transport, &mut Buffer),
        to: &mut Transport,
        context: &WorkerContext,
    ) -> io::Result<Poll<()>> {
        while !self.closed {
            match self.step(cx, (from, buffer), to, context) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(stepped) => stepped?,
            }
        }
        Ok(Poll::Ready(()))
    }

    fn step(
        &mut self,
        cx: &mut Context<'_>,
        (from, buffer): (&mut Transport, &mut Buffer),
        to: &mut Transport,
        context: &WorkerContext,
    ) -> Poll<io::Result<()>> {
        let (buffers, pipes) = (&context.buffers, &context.pipes);
        match ready!(self.flow.advance(cx, to, NO_HEAD, buffer)) {
            Err(_) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Ok(Moved::Ended) => {
                to.finish()?;
                self.closed = true;
            }
            Ok(Moved::NeedsMore) => {
                if ready!(self.flow.poll_fill(cx, from, buffer, buffers, pipes))? == 0 {
                    self.flow.ends_with_connection();
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
