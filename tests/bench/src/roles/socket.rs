//! Sockets that do not block.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

use socket2::{Domain, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// What a read or a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// So many bytes.
    Moved(usize),
    /// Not now.
    Blocked,
    /// The other side is gone.
    Closed,
}

/// A listening socket that does not block.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The next connection that waits in a listening socket.
pub(super) fn accept(listener: &TcpListener) -> Option<TcpStream> {
    let (stream, _) = listener.accept().ok()?;
    prepare(&stream).ok()?;
    Some(stream)
}

/// Connects; on the loopback interface that takes no time worth another event.
pub(super) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    prepare(&stream)?;
    Ok(stream)
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)
}

/// Reads once.
pub(super) fn read(mut stream: &TcpStream, buffer: &mut [u8]) -> Progress {
    match stream.read(buffer) {
        Ok(0) => Progress::Closed,
        moved => progress(moved),
    }
}

/// Writes once.
pub(super) fn write(mut stream: &TcpStream, bytes: &[u8]) -> Progress {
    progress(stream.write(bytes))
}

fn progress(moved: io::Result<usize>) -> Progress {
    match moved {
        Ok(bytes) => Progress::Moved(bytes),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Progress::Blocked
        }
        Err(_) => Progress::Closed,
    }
}
