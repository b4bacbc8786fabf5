//! Waits for the head of the next request.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use crate::http1::{HeadDefect, check_begin, end_of_head};

use crate::proxy::{
    client::Client, context::WorkerContext, error::ProxyError, flow::poll_fill, headers::Refusal,
};

/// How long an idle connection keeps the state for serving.
const PARK_AFTER: Duration = Duration::from_millis(250);

/// How waiting for a request ended.
pub(super) enum Awaited {
    /// A head is complete, and has this length in bytes.
    Head(usize),
    /// No byte of a request came for a while.
    Nothing,
    /// The client has closed its connection.
    End,
    /// The bytes are not a valid request.
    Failed(ProxyError),
}

/// Waits for the head of the next request. When it is complete, the client has the listener of the newest snapshot.
pub(super) async fn next_head(context: &WorkerContext, client: &mut Client) -> Awaited {
    let mut reader = HeadReader {
        searched: 0,
        has_begun: false,
        has_waited: false,
        skipped: false,
    };
    client.deadline.arm(PARK_AFTER);
    poll_fn(|cx| reader.poll(cx, context, client)).await
}

/// The search for the end of a head.
struct HeadReader {
    /// Number of bytes that were searched without finding the end.
    searched: usize,
    /// Whether a byte of the head has arrived.
    has_begun: bool,
    /// Whether more of the head was waited for after its first byte, so that the listener may have changed.
    has_waited: bool,
    /// Whether an empty line before it was skipped.
    skipped: bool,
}

impl HeadReader {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        context: &WorkerContext,
        client: &mut Client,
    ) -> Poll<Awaited> {
        loop {
            if !client.buffer.is_empty() {
                if !self.has_begun {
                    self.has_begun = true;
                    client.follow_listener();
                    let limit = client.listener.policy.timeouts.client_header;
                    client.deadline.arm(limit);
                }
                match self.look(context, client) {
                    Ok(Some(length)) => {
                        if self.has_waited {
                            client.follow_listener();
                        }
                        return Poll::Ready(Awaited::Head(length));
                    }
                    Ok(None) => {}
                    Err(defect) => {
                        return Poll::Ready(Awaited::Failed(Refusal::Head(defect).into()));
                    }
                }
            }
            if client.half_closed {
                return Poll::Ready(self.ended(client));
            }
            let buffers = &context.buffers;
            match poll_fill(cx, &mut client.transport, &mut client.buffer, buffers) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0)) => client.half_closed = true,
                Poll::Ready(Err(_)) => return Poll::Ready(Awaited::End),
                Poll::Pending => {
                    self.has_waited = self.has_begun;
                    ready!(client.deadline.poll(cx));
                    return Poll::Ready(if self.has_begun {
                        Awaited::Failed(ProxyError::HeadTimeout)
                    } else {
                        Awaited::Nothing
                    });
                }
            }
        }
    }

    /// The result when the client has ended its side of the connection.
    fn ended(&self, client: &Client) -> Awaited {
        if self.has_begun && !client.buffer.is_empty() {
            return Awaited::Failed(Refusal::Head(HeadDefect::RequestLine).into());
        }
        Awaited::End
    }

    /// The length of the head when it is complete. Otherwise makes room for more of it.
    fn look(
        &mut self,
        context: &WorkerContext,
        client: &mut Client,
    ) -> Result<Option<usize>, HeadDefect> {
        let limit = client.listener.policy.head.bytes;
        let buffer = &mut client.buffer;
        // RFC 9112, section 2.2: some clients send an empty line behind the body of a request.
        if !self.skipped && self.searched == 0 {
            match buffer.filled() {
                [b'\r', b'\n', ..] => {
                    buffer.consume(2);
                    self.skipped = true;
                    if buffer.is_empty() {
                        return Ok(None);
                    }
                }
                [b'\r'] => return Ok(None),
                _ => {}
            }
        }
        let filled = buffer.filled();
        let end = end_of_head(filled, &mut self.searched)?;
        if end.unwrap_or(filled.len()) > limit {
            let has_line = filled[..limit].contains(&b'\n');
            return Err(if has_line {
                HeadDefect::TooLarge { limit }
            } else {
                HeadDefect::TargetTooLong
            });
        }
        if end.is_none() {
            check_begin(filled)?;
            if buffer.is_full() {
                buffer.compact();
                let more = (buffer.capacity() * 2).min(limit + 1);
                context.buffers.grow(buffer, more);
            }
        }
        Ok(end)
    }
}
