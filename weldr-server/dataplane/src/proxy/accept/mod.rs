//! What comes between accepting a connection and its first request: the header of the PROXY protocol, and the TLS handshake.
//!
//! A connection whose client has sent less than a whole record costs its socket and what was sent. The handshake has one
//! deadline, from its begin to its end.

mod error;
mod first_bytes;
mod proxy_header;

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use rustls::ProtocolVersion;

use crate::tls::{
    Established, Handshake, HandshakeError, Progress, ServerTls, is_whole, server_name,
};

use super::{
    deadline::Deadline,
    handshake::Wire,
    served_listener::ServedListener,
    transport::{Cork, Transport, would_block},
};
use error::AcceptError;
use first_bytes::{FirstBytes, MOST};

pub(super) use proxy_header::{NamedClient, named_client};

/// The response to a request in plain HTTP: it was sent to the wrong port, or with the wrong scheme.
const PLAIN_HTTP: &str = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nContent-Length: 78\r\n\r\n\
    400 Bad Request: this port speaks HTTPS: use https:// instead of http:// here\n";

/// Performs the handshake with a client from which nothing was read. Returns the connection inside TLS; `None`: it failed, which
/// is counted and logged.
pub(super) async fn secure(
    transport: Transport,
    listener: &ServedListener,
    tls: &ServerTls,
    deadline: &Deadline,
) -> Option<Transport> {
    let context = &listener.context;
    let mut opening = Opening {
        wire: Wire::new(transport),
        listener,
        deadline,
    };
    deadline.arm(listener.current().policy.timeouts.client_header);
    // One that makes no progress gives way to a new connection like one that is idle.
    let idle = context.admission.idle();
    let _entry = idle.enter(deadline.expiry_key(), Instant::now());
    let handshakes = &context.counters().handshakes;
    match opening.run(tls).await {
        Ok(Accepted::Client(established, name)) => {
            let counter = if established.facts.is_resumed {
                &handshakes.resumed
            } else {
                &handshakes.full
            };
            counter.add(1);
            Some(opening.wire.secured(*established, name.map(Into::into)))
        }
        Ok(Accepted::Challenge) => {
            tracing::debug!("a challenge of an acme authority was answered by a handshake");
            None
        }
        Err(error) => {
            let reason = error.reason();
            handshakes.failed(reason);
            context.accept_log.handshake_failed(reason, &error);
            opening.refuse(&error).await;
            None
        }
    }
}

/// Whose handshake is complete.
enum Accepted {
    /// A client's, with the name that it asked for.
    Client(Box<Established>, Option<String>),
    /// An ACME authority's, which says nothing inside. No request is read: nobody has shown a client certificate.
    Challenge,
}

/// A connection before its first request.
struct Opening<'l> {
    wire: Wire,
    listener: &'l ServedListener,
    deadline: &'l Deadline,
}

impl Opening<'_> {
    async fn run(&mut self, tls: &ServerTls) -> Result<Accepted, AcceptError> {
        self.first_record().await?;
        if tls.has_challenges() {
            self.whole_record().await?;
        }
        let challenged = tls.challenged_by(&self.wire.incoming);
        let is_challenge = challenged.is_some();
        let config = challenged.unwrap_or_else(|| Arc::clone(&tls.config));
        let name = server_name(&self.wire.incoming);
        let turns = &self.listener.context.handshakes;
        let _running = self.within(turns.begin()).await?;
        let mut handshake = Handshake::server(config)?;
        loop {
            let progress = {
                let _turn = self.within(turns.next()).await?;
                handshake.advance(&mut self.wire.incoming, &mut self.wire.outgoing)?
            };
            match progress {
                Progress::Complete(established) => {
                    // Tickets may travel with the first response. A client that has sent no request may wait for them, and
                    // one of TLS 1.2 waits for the end of the handshake.
                    let has_request = !established.received.is_empty() && !is_challenge;
                    if !has_request || established.facts.version == ProtocolVersion::TLSv1_2 {
                        self.flush().await?;
                    }
                    return Ok(if is_challenge {
                        Accepted::Challenge
                    } else {
                        Accepted::Client(established, name)
                    });
                }
                Progress::NeedsMore(next) => {
                    handshake = next;
                    self.flush().await?;
                    self.read().await?;
                    if self.wire.incoming.len() > 4 * MOST {
                        return Err(HandshakeError::TooLong.into());
                    }
                }
            }
        }
    }

    /// Waits for all of the first record. Of a longer one than clients send, what has come must be enough.
    async fn whole_record(&mut self) -> Result<(), AcceptError> {
        while !is_whole(&self.wire.incoming) && self.wire.incoming.len() < MOST {
            self.read().await?;
        }
        Ok(())
    }

    /// Waits for the first record, and makes sure that it is one.
    async fn first_record(&mut self) -> Result<(), AcceptError> {
        loop {
            match FirstBytes::of(&self.wire.incoming) {
                FirstBytes::NeedsMore => self.read().await?,
                FirstBytes::Tls => return Ok(()),
                FirstBytes::PlainHttp => return Err(AcceptError::PlainHttp),
                FirstBytes::Other => return Err(AcceptError::NotTls),
            }
        }
    }

    async fn within<T>(&self, future: impl Future<Output = T>) -> Result<T, AcceptError> {
        let waited = self.deadline.within(Box::pin(future)).await;
        waited.map_err(|_| AcceptError::Timeout)
    }

    /// Reads what has come, once something has.
    async fn read(&mut self) -> Result<(), AcceptError> {
        poll_fn(|cx| {
            if self.listener.is_reset(&self.wire.transport) {
                return Poll::Ready(Err(AcceptError::Reset));
            }
            match self.wire.poll_read(cx) {
                Poll::Ready(read) => Poll::Ready(read.map_err(AcceptError::of_io)),
                Poll::Pending => self.poll_deadline(cx),
            }
        })
        .await
    }

    /// Sends what must be sent.
    async fn flush(&mut self) -> Result<(), AcceptError> {
        poll_fn(|cx| match self.wire.poll_flush(cx) {
            Poll::Ready(sent) => Poll::Ready(sent.map_err(AcceptError::of_io)),
            Poll::Pending => self.poll_deadline(cx),
        })
        .await
    }

    fn poll_deadline(&self, cx: &Context<'_>) -> Poll<Result<(), AcceptError>> {
        let expired = self.deadline.poll(cx);
        expired.map(|_| Err(AcceptError::Timeout))
    }

    /// Tells the client why the connection ends: with the alert that rustls has written, or in the words of plain HTTP. What the
    /// socket does not take at once is dropped.
    async fn refuse(&mut self, error: &AcceptError) {
        match error {
            AcceptError::PlainHttp => self.wire.outgoing = PLAIN_HTTP.as_bytes().to_vec(),
            AcceptError::Reset => {
                if let Err(error) = self.wire.transport.reset_on_close() {
                    tracing::debug!(%error, "a connection cannot be reset");
                }
                return;
            }
            _ => {}
        }
        if self.wire.outgoing.is_empty()
            || would_block(
                &self
                    .wire
                    .transport
                    .write(&self.wire.outgoing, Cork::UntilFinish),
            )
        {
            return;
        }
        if self.wire.transport.finish().is_ok() {
            // Unread bytes would reset the connection, and what was written would be lost.
            self.wire.incoming.clear();
            while self.wire.incoming.len() < MOST && self.read().await.is_ok() {}
        }
    }
}
