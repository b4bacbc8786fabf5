//! Reading from a socket and writing to it, with as little around the system call as it needs.
//!
//! A socket that waits has no memory to read into, so it is asked first whether it is readable. tokio's own read would
//! ask once more, and its system call goes through a wrapper of the C library that a thread can be cancelled in.

use std::{
    io,
    task::{Context, Poll, ready},
};

use rustix::{
    io::retry_on_intr,
    net::{RecvFlags, SendFlags, recv, send},
};
use tokio::{io::Interest, net::TcpStream};

/// Reads what is there into `space`, which must not be empty. 0: the other side has ended. `WouldBlock`: it turned out
/// that nothing is there.
pub(super) fn read(stream: &TcpStream, space: &mut [u8]) -> io::Result<usize> {
    let wanted = space.len();
    moved(stream, Interest::READABLE, wanted, || {
        let (_, read) = retry_on_intr(|| recv(stream, &mut *space, RecvFlags::empty()))?;
        Ok(read)
    })
}

/// Writes as much of `bytes` as is taken.
pub(super) fn poll_write(
    cx: &mut Context<'_>,
    stream: &TcpStream,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        let written = moved(stream, Interest::WRITABLE, bytes.len(), || {
            // Without it, a client that is gone would end the process with a signal.
            Ok(retry_on_intr(|| send(stream, bytes, SendFlags::NOSIGNAL))?)
        });
        match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            written => return Poll::Ready(written),
        }
    }
}

/// Moves bytes by `call`. When it moves fewer than `wanted`, the socket is drained, or full, and epoll will tell when
/// that changes: the call that would only find it out is saved.
fn moved(
    stream: &TcpStream,
    direction: Interest,
    wanted: usize,
    call: impl FnOnce() -> io::Result<usize>,
) -> io::Result<usize> {
    let mut moved = None;
    let outcome = stream.try_io(direction, || {
        let bytes = call()?;
        moved = Some(bytes);
        if (1..wanted).contains(&bytes) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    });
    match moved {
        Some(bytes) => Ok(bytes),
        None => outcome.map(|()| 0),
    }
}
