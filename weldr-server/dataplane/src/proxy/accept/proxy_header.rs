//! The header of the PROXY protocol, with which a connection begins where a listener requires it.
//!
//! What comes is looked at before it is read, so that nothing behind the header is consumed: the TLS handshake or the first
//! request finds it in the socket.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    task::{Context, Poll, ready},
};

use crate::{
    proxy::{deadline::Deadline, served_listener::ServedListener, transport::Transport},
    proxy_protocol::{Ends, Parsed, parse},
};

use super::error::ProxyHeaderError;

/// Bytes that are looked at together: most headers have less than a quarter of it.
const LOOK: usize = 256;

/// The client that a proxy has named.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct NamedClient {
    /// Its address; that of the proxy if it speaks for itself.
    pub(in crate::proxy) address: SocketAddr,
    /// The address that the client connected to, if it is known.
    pub(in crate::proxy) destination: Option<SocketAddr>,
}

/// Reads the header on a connection of `proxy` from which nothing was read. `None`: there is none that is accepted, which is
/// counted and logged.
pub(in crate::proxy) async fn named_client(
    transport: &mut Transport,
    proxy: SocketAddr,
    listener: &ServedListener,
    deadline: &Deadline,
) -> Option<NamedClient> {
    let context = &listener.context;
    // One deadline for all of it, however slowly it comes.
    deadline.arm(listener.current().policy.timeouts.client_header);
    let mut header = Vec::new();
    let received = poll_fn(|cx| {
        if listener.is_reset(transport) {
            return Poll::Ready(Err(ProxyHeaderError::Reset));
        }
        match poll_header(cx, transport, &mut header) {
            Poll::Pending if listener.closes_idle() => Poll::Ready(Err(ProxyHeaderError::Closed)),
            Poll::Pending => {
                let expired = deadline.poll(cx);
                expired.map(|_| Err(ProxyHeaderError::Timeout))
            }
            received @ Poll::Ready(_) => received,
        }
    })
    .await;
    match received {
        Ok(ends) => Some(NamedClient {
            address: ends.map_or(proxy, |ends| ends.source),
            destination: ends.map(|ends| ends.destination),
        }),
        Err(error) => {
            let reason = error.reason();
            context.counters().proxy_protocol.refused(reason);
            let log = &context.accept_log;
            log.proxy_header_refused(reason, proxy.ip(), &error);
            if let (ProxyHeaderError::Reset, Err(error)) = (error, transport.reset_on_close()) {
                tracing::debug!(%error, "a connection cannot be reset");
            }
            None
        }
    }
}

/// Takes from the socket what belongs to the header; `header` holds what was taken so far.
fn poll_header(
    cx: &mut Context<'_>,
    transport: &mut Transport,
    header: &mut Vec<u8>,
) -> Poll<Result<Option<Ends>, ProxyHeaderError>> {
    loop {
        ready!(transport.poll_readable(cx)).map_err(ProxyHeaderError::Io)?;
        let mut space = [0; LOOK];
        match transport.peek(&mut space) {
            Ok(0) => return Poll::Ready(Err(ProxyHeaderError::Closed)),
            Ok(came) => {
                let taken = header.len();
                header.extend_from_slice(&space[..came]);
                let parsed = parse(header)?;
                let length = match parsed {
                    Parsed::NeedsMore => header.len(),
                    Parsed::Header { consumed, .. } => consumed,
                };
                take(transport, &mut space[..length - taken]).map_err(ProxyHeaderError::Io)?;
                if let Parsed::Header { ends, .. } = parsed {
                    return Poll::Ready(Ok(ends));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                transport.watch().map_err(ProxyHeaderError::Io)?;
            }
            Err(error) => return Poll::Ready(Err(ProxyHeaderError::Io(error))),
        }
    }
}

/// Reads bytes that were seen already.
fn take(transport: &mut Transport, space: &mut [u8]) -> io::Result<()> {
    if transport.read(space)? == space.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
