//! How a client connection is closed.

use std::{
    future::poll_fn,
    task::Poll,
    time::{Duration, Instant},
};

use crate::proxy::{client::Client, context::WorkerContext, flow::poll_fill};

use super::after::After;

/// How long a client that still sends may pause while its bytes are read and dropped.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Prepares the connection for being closed as `after` requires.
pub(super) async fn close(context: &WorkerContext, client: &mut Client, after: After) {
    match after {
        After::Close | After::CloseAtClientsWish => {
            // The last bytes of the response wait for this.
            let ended = client.transport.finish();
            // Unread bytes from the client would reset the connection, and the response would be lost.
            let may_send = after == After::Close || client.has_sent_more();
            if ended.is_ok() && may_send && !client.half_closed {
                linger(context, client).await;
            }
        }
        After::Reset => {
            if let Err(error) = client.transport.reset_on_close() {
                tracing::debug!(%error, "a connection cannot be reset");
            }
        }
        After::Keep | After::Cut => {}
    }
}

/// Reads and drops what the client still sends (RFC 9112, section 9.6). Closing a socket with unread bytes resets the
/// connection, and a client that reads only when it has written everything would lose the response.
///
/// Ends when the client ends its side, pauses, or goes on for longer than the lingering timeout, whatever the number of
/// its bytes.
async fn linger(context: &WorkerContext, client: &mut Client) {
    let begun = Instant::now();
    let lingering = client.listener.policy.timeouts.lingering;
    client.deadline.arm(lingering.min(MAX_PAUSE));
    poll_fn(|cx| {
        loop {
            client.buffer.clear();
            let (from, buffer) = (&mut client.transport, &mut client.buffer);
            match poll_fill(cx, from, buffer, &context.buffers) {
                Poll::Ready(Ok(1..)) => {
                    let left = lingering.saturating_sub(begun.elapsed());
                    if left.is_zero() {
                        return Poll::Ready(());
                    }
                    client.deadline.arm(left.min(MAX_PAUSE));
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return client.deadline.poll(cx).map(drop),
            }
        }
    })
    .await;
}
