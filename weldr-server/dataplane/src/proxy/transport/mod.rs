//! Connections, independent of the protocol that carries their bytes. No other room sets a socket option.
//!
//! A transport is asked for the bytes that it already holds before the readiness of its socket is awaited. What
//! [`poll_write`](Transport::poll_write) returns is on its way: there is nothing left to flush. While it is pending, the
//! bytes may be on their way already, so the next write must begin with the same ones.

mod cork;
mod errors;
mod listening;
mod peer_side;
mod pipe;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    future::poll_fn,
    io,
    net::{SocketAddr, TcpStream},
    task::{Context, Poll},
};

use tcp::TcpTransport;
use tls::TlsTransport;

use crate::tls::Established;

pub(super) use cork::Cork;
pub(super) use errors::{is_out_of_descriptors, would_block};
pub(super) use listening::{accept_new_connections, refuse_new_connections, take_connection};
pub(super) use listening::{bind, reserve};
pub(super) use peer_side::PeerSide;
pub(super) use pipe::{Pipe, Pipes, most_pipes};
pub(super) use tls::SecuredFacts;

/// A connection to a client or to a server.
#[derive(Debug)]
pub(super) enum Transport {
    /// Plain TCP.
    Tcp(TcpTransport),
    /// TLS, behind its handshake.
    Tls(Box<TlsTransport>),
}

impl Transport {
    /// A connection that a listener has accepted.
    pub(super) fn accepted(stream: TcpStream) -> Self {
        Self::Tcp(TcpTransport::Unwatched(stream))
    }

    /// Opens a connection to `address`.
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        TcpTransport::connect(address).await.map(Self::Tcp)
    }

    /// This connection inside TLS, once the handshake on it is complete. `incoming`: what came behind the handshake;
    /// `outgoing`: what is not sent of it. A connection that is inside TLS already stays as it is.
    pub(super) fn secured(
        self,
        established: Established,
        facts: SecuredFacts,
        incoming: &[u8],
        outgoing: Vec<u8>,
    ) -> Self {
        match self {
            Self::Tcp(tcp) => {
                let tls = TlsTransport::new(tcp, established, facts, incoming, outgoing);
                Self::Tls(Box::new(tls))
            }
            secured @ Self::Tls(_) => secured,
        }
    }

    /// What the handshake agreed on; `None`: the connection is not inside TLS.
    pub(super) fn secured_facts(&self) -> Option<&SecuredFacts> {
        match self {
            Self::Tcp(_) => None,
            Self::Tls(tls) => Some(tls.facts()),
        }
    }

    /// Whether bytes can pass it without being copied: [`splice_into`](Self::splice_into) and
    /// [`poll_splice_from`](Self::poll_splice_from) work.
    pub(super) fn can_splice(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Ready when something may be readable.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_readable(cx),
            Self::Tls(tls) => tls.poll_readable(cx),
        }
    }

    /// Reads into `space`, which must not be empty. 0: the peer has ended its side. `WouldBlock`: nothing is readable as
    /// far as this thread has been told; to wait for more, call [`watch`](Self::watch).
    pub(super) fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(space),
            Self::Tls(tls) => tls.read(space),
        }
    }

    /// Copies what has come into `space`, and leaves it to be read. Returns like [`read`](Self::read). Inside TLS there is no
    /// such view.
    pub(super) fn peek(&self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.peek(space),
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Writes as much of `bytes` as is taken at once.
    pub(super) fn write(&mut self, bytes: &[u8], cork: Cork) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.write(bytes, cork),
            Self::Tls(tls) => tls.write(bytes, cork),
        }
    }

    /// Writes as much of `bytes` as is taken; pending while nothing is.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        cork: Cork,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_write(cx, bytes, cork),
            Self::Tls(tls) => tls.poll_write_parts(cx, &[bytes], cork),
        }
    }

    /// The same, of `parts` in a row.
    pub(super) fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[&[u8]; 4],
        cork: Cork,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_write_parts(cx, parts, cork),
            Self::Tls(tls) => tls.poll_write_parts(cx, parts, cork),
        }
    }

    /// Writes all of `bytes`. Must be given a deadline by the caller.
    pub(super) async fn write_all(&mut self, mut bytes: &[u8], cork: Cork) -> io::Result<()> {
        while !bytes.is_empty() {
            match poll_fn(|cx| self.poll_write(cx, bytes, cork)).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => bytes = &bytes[written..],
            }
        }
        Ok(())
    }

    /// Moves at most `most` bytes that came into `pipe`, which must be empty. Returns like [`read`](Self::read).
    pub(super) fn splice_into(&self, pipe: &mut Pipe, most: u64) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.splice_into(pipe, most),
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Writes as much of what `pipe` holds as is taken; pending while nothing is.
    pub(super) fn poll_splice_from(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
        cork: Cork,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_splice_from(cx, pipe, cork),
            Self::Tls(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Has the runtime report when the connection is readable or writable, also when it is already.
    pub(super) fn watch(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.watch(),
            Self::Tls(tls) => tls.watch(),
        }
    }

    /// Whether nothing has come, neither bytes nor an end, as far as this thread has been told. Consumes a byte that has
    /// come, so a connection that is not idle must be given up.
    pub(super) fn is_idle(&mut self) -> bool {
        would_block(&self.read(&mut [0]))
    }

    /// Whether nothing has come, neither bytes nor an end, as far as the kernel knows. Like [`is_idle`](Self::is_idle) it may
    /// consume a byte.
    pub(super) fn is_idle_in_kernel(&mut self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.is_idle_in_kernel(),
            Self::Tls(tls) => tls.is_idle_in_kernel(),
        }
    }

    /// What has become of the peer's side, as far as the kernel knows. Nothing is read.
    pub(super) fn peer_side(&self) -> PeerSide {
        self.tcp().peer_side()
    }

    /// Ends this side of the connection. The peer may go on sending.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.finish(),
            Self::Tls(tls) => tls.finish(),
        }
    }

    /// Has the connection reset, not ended, when it is dropped.
    pub(super) fn reset_on_close(&self) -> io::Result<()> {
        self.tcp().reset_on_close()
    }

    /// The error that the connection has met since the last call, if any.
    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.tcp().take_error()
    }

    #[cfg(test)]
    pub(super) fn set_send_buffer(&self, bytes: usize) {
        self.tcp().set_send_buffer(bytes);
    }

    /// The address of this side.
    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        self.tcp().local_address()
    }

    fn tcp(&self) -> &TcpTransport {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.tcp(),
        }
    }
}
