//! Listening sockets, and what the kernel does with them.

use std::{
    io,
    net::{self, SocketAddr},
};

#[cfg(target_os = "linux")]
use rustix::{
    io::retry_on_intr,
    net::{SocketFlags, acceptfrom_with},
};
#[cfg(target_os = "linux")]
use socket2::SockFilter;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Finds out whether `address` is free, and which port it gets. Shared sockets would be bound beside those of another
/// process without an error.
pub(in crate::proxy) fn reserve(address: SocketAddr) -> io::Result<SocketAddr> {
    bind(address, false)?.local_addr()
}

/// Binds a listening socket. `shared`: others of this process may listen on the same address.
pub(in crate::proxy) fn bind(address: SocketAddr, shared: bool) -> io::Result<net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        // `[::]` beside `0.0.0.0` are two addresses, not one that excludes the other.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // What is accepted inherits it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Takes a connection from the queue of `listener`, with the address of its peer.
#[cfg(target_os = "linux")]
pub(in crate::proxy) fn take_connection(
    listener: &net::TcpListener,
) -> io::Result<(net::TcpStream, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (stream, client) = retry_on_intr(|| acceptfrom_with(listener, flags))?;
    let client = client.and_then(|client| SocketAddr::try_from(client).ok());
    // Such a connection has ended before it was taken.
    let client = client.ok_or(io::ErrorKind::ConnectionAborted)?;
    Ok((stream.into(), client))
}

/// Takes a connection from the queue of `listener`, with the address of its peer.
#[cfg(not(target_os = "linux"))]
pub(in crate::proxy) fn take_connection(
    listener: &net::TcpListener,
) -> io::Result<(net::TcpStream, SocketAddr)> {
    let (stream, client) = listener.accept()?;
    stream.set_nonblocking(true)?;
    Ok((stream, client))
}

/// Has the kernel drop each SYN that comes from now on; its sender repeats it. A handshake that has begun is completed,
/// and an accepted connection, which inherits the filter, gets no SYN.
#[cfg(target_os = "linux")]
pub(in crate::proxy) fn refuse_new_connections(listener: &net::TcpListener) -> io::Result<()> {
    // Classic BPF over the TCP header, as `linux/bpf_common.h` encodes it. Byte 13 holds the flags.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

/// Undoes [`refuse_new_connections`].
#[cfg(target_os = "linux")]
pub(in crate::proxy) fn accept_new_connections(listener: &net::TcpListener) -> io::Result<()> {
    SockRef::from(listener).detach_filter()
}

/// Undoes [`refuse_new_connections`].
#[cfg(not(target_os = "linux"))]
pub(in crate::proxy) fn accept_new_connections(listener: &net::TcpListener) -> io::Result<()> {
    SockRef::from(listener).listen(BACKLOG)
}

/// Leaves the queue without a free place, which has nearly the same effect.
#[cfg(not(target_os = "linux"))]
pub(in crate::proxy) fn refuse_new_connections(listener: &net::TcpListener) -> io::Result<()> {
    SockRef::from(listener).listen(0)
}
