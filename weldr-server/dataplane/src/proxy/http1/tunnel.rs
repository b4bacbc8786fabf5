//! A connection that has changed its protocol: bytes pass both ways, and mean nothing here.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll, ready},
};

use crate::buffer::{Buffer, Buffers};
use crate::proxy::{
    client::Client,
    context::WorkerContext,
    flow::poll_fill,
    tally::{AttemptTally, RequestTally, TunnelTally},
    transport::{Cork, Transport},
    upstream::Connection,
};

/// Passes bytes both ways until both sides have ended, one of them fails, nothing moves for too long, or the server is
/// taken away. What either side sent ahead goes first. The end of one side is told to the other, which may go on.
pub(super) async fn run(
    context: &WorkerContext,
    client: &mut Client,
    server: &mut Connection,
    attempt: &AttemptTally<'_>,
    request: &mut RequestTally<'_>,
) {
    let _open = TunnelTally::begin(context);
    let mut up = Direction::default();
    let mut down = Direction::default();
    client.deadline.arm(context.timeouts.tunnel_idle);
    let outcome = poll_fn(|cx| {
        let to_server = up.poll(
            cx,
            (&mut client.transport, &mut client.buffer),
            &mut server.transport,
            &context.buffers,
        )?;
        let to_client = down.poll(
            cx,
            (&mut server.transport, &mut server.buffer),
            &mut client.transport,
            &context.buffers,
        )?;
        let (sent, received) = (up.take_moved(), down.take_moved());
        if sent + received > 0 {
            attempt.passed(sent, received);
            request.passed(sent, received);
            client.deadline.arm(context.timeouts.tunnel_idle);
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

/// One of the two ways.
#[derive(Debug, Default)]
struct Direction {
    ended: bool,
    closed: bool,
    moved: u64,
}

impl Direction {
    fn take_moved(&mut self) -> u64 {
        std::mem::take(&mut self.moved)
    }

    /// Ready when this way is closed.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (from, buffer): (&mut Transport, &mut Buffer),
        to: &mut Transport,
        buffers: &Buffers,
    ) -> io::Result<Poll<()>> {
        while !self.closed {
            match self.step(cx, (from, buffer), to, buffers) {
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
        buffers: &Buffers,
    ) -> Poll<io::Result<()>> {
        if !buffer.is_empty() {
            let written = ready!(to.poll_write(cx, buffer.filled(), Cork::Off))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            buffer.consume(written);
            self.moved += written as u64;
        } else if self.ended {
            to.finish()?;
            self.closed = true;
        } else {
            self.ended = ready!(poll_fill(cx, from, buffer, buffers))? == 0;
        }
        Poll::Ready(Ok(()))
    }
}
