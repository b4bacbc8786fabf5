//! How a client connection is closed.

use std::{future::poll_fn, task::Poll, time::Duration};

use crate::proxy::{client::Client, context::WorkerContext, flow::poll_fill};

use super::after::After;

/// How long what a client still sends is read and dropped after its last response. Closing a socket with unread bytes
/// resets the connection, and the client might lose the response.
const LINGER: Duration = Duration::from_secs(1);
/// How many bytes are dropped so.
const MAX_LINGERING_BYTES: usize = 1024 * 1024;

/// Prepares the connection for being closed in the way that `after` says.
pub(super) async fn close(context: &WorkerContext, client: &mut Client, after: After) {
    match after {
        After::Close | After::CloseAtClientsWish => {
            // The last bytes of the response wait for this.
            let ended = client.transport.finish();
            // Whatever the client still sends would reset the connection, and the response would be lost.
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

/// Reads and drops what the client still sends.
async fn linger(context: &WorkerContext, client: &mut Client) {
    client.deadline.arm(LINGER);
    let mut left = MAX_LINGERING_BYTES;
    poll_fn(|cx| {
        while left > 0 {
            client.buffer.clear();
            match poll_fill(
                cx,
                &mut client.transport,
                &mut client.buffer,
                &context.buffers,
            ) {
                Poll::Ready(Ok(more)) if more > 0 => left = left.saturating_sub(more),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return client.deadline.poll(cx).map(drop),
            }
        }
        Poll::Ready(())
    })
    .await;
}
