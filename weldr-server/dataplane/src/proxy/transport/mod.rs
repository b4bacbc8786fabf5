//! Connections, independent of the protocol that carries their bytes. No other room sets a socket option.
//!
//! A transport is asked for the bytes that it already holds before the readiness of its socket is awaited. What
//! [`poll_write`](Transport::poll_write) returns is on its way: there is nothing left to flush.

mod cork;
mod errors;
mod listening;
mod pipe;
mod tcp;

use std::{
    io::{self, IoSlice},
    net::{SocketAddr, TcpStream},
    task::{Context, Poll},
};

use tcp::TcpTransport;

pub(super) use cork::Cork;
pub(super) use errors::{is_out_of_descriptors, would_block};
pub(super) use listening::{accept_new_connections, refuse_new_connections, take_connection};
pub(super) use listening::{bind, reserve};
pub(super) use pipe::{Pipe, Pipes, most_pipes};

/// A connection to a client or to a server.
#[derive(Debug)]
pub(super) enum Transport {
    /// Plain TCP.
    Tcp(TcpTransport),
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

    /// Ready when something may be readable.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self::Tcp(tcp) = self;
        tcp.poll_readable(cx)
    }

    /// Reads into `space`, which must not be empty. 0: the peer has ended its side. `WouldBlock`: nothing is readable as
    /// far as this thread has been told; to wait for more, call [`watch`](Self::watch).
    pub(super) fn read(&self, space: &mut [u8]) -> io::Result<usize> {
        let Self::Tcp(tcp) = self;
        tcp.read(space)
    }

    /// Writes as much of `bytes` as is taken at once.
    pub(super) fn write(&self, bytes: &[u8], cork: Cork) -> io::Result<usize> {
        let Self::Tcp(tcp) = self;
        tcp.write(bytes, cork)
    }

    /// Writes as much of `bytes` as is taken; pending while nothing is.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        cork: Cork,
    ) -> Poll<io::Result<usize>> {
        let Self::Tcp(tcp) = self;
        tcp.poll_write(cx, bytes, cork)
    }

    /// The same, of `parts` in a row.
    pub(super) fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
        cork: Cork,
    ) -> Poll<io::Result<usize>> {
        let Self::Tcp(tcp) = self;
        tcp.poll_write_parts(cx, parts, cork)
    }

    /// Moves at most `most` bytes that came into `pipe`, which must be empty. Returns like [`read`](Self::read).
    pub(super) fn splice_into(&self, pipe: &mut Pipe, most: u64) -> io::Result<usize> {
        let Self::Tcp(tcp) = self;
        tcp.splice_into(pipe, most)
    }

    /// Writes as much of what `pipe` holds as is taken; pending while nothing is.
    pub(super) fn poll_splice_from(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
        cork: Cork,
    ) -> Poll<io::Result<usize>> {
        let Self::Tcp(tcp) = self;
        tcp.poll_splice_from(cx, pipe, cork)
    }

    /// Has the runtime report when the connection is readable or writable, also when it is already.
    pub(super) fn watch(&mut self) -> io::Result<()> {
        let Self::Tcp(tcp) = self;
        tcp.watch()
    }

    /// Whether nothing has come, neither bytes nor an end, as far as this thread has been told. Consumes a byte that has
    /// come, so a connection that is not idle must be given up.
    pub(super) fn is_idle(&self) -> bool {
        would_block(&self.read(&mut [0]))
    }

    /// Whether nothing has come, neither bytes nor an end, as far as the kernel knows.
    pub(super) fn is_idle_in_kernel(&self) -> bool {
        let Self::Tcp(tcp) = self;
        tcp.is_idle_in_kernel()
    }

    /// Ends this side of the connection. The peer may go on sending.
    pub(super) fn finish(&self) -> io::Result<()> {
        let Self::Tcp(tcp) = self;
        tcp.finish()
    }

    /// Has the connection reset, not ended, when it is dropped.
    pub(super) fn reset_on_close(&self) -> io::Result<()> {
        let Self::Tcp(tcp) = self;
        tcp.reset_on_close()
    }

    /// The error that the connection has met since the last call, if any.
    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        let Self::Tcp(tcp) = self;
        tcp.take_error()
    }

    #[cfg(test)]
    pub(super) fn set_send_buffer(&self, bytes: usize) {
        let Self::Tcp(tcp) = self;
        tcp.set_send_buffer(bytes);
    }

    /// The address of this side.
    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        let Self::Tcp(tcp) = self;
        tcp.local_address()
    }
}
