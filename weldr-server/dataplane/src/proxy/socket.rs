//! A socket, with as little around its system calls as they need.
//!
//! It is tried before it is watched. A client that sends its request with the connection, and wants no other answer on
//! it, never has to be waited for: to tell the runtime of its socket would be two more calls, and a wake-up.
//!
//! Nor is anything tried twice. A socket that waits has no memory to read into, so it is asked first whether it is
//! readable. tokio's own read would ask once more, and its system call goes through a wrapper of the C library that a
//! thread can be cancelled in.

use std::{
    io::{self, IoSlice},
    mem,
    net::{self, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    task::{Context, Poll, ready},
};

use rustix::{
    io::retry_on_intr,
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg},
};
use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};

/// A connected socket that does not block.
#[derive(Debug)]
pub(super) enum Socket {
    /// It did not have to be waited for yet.
    Unwatched(net::TcpStream),
    /// The runtime is told when it can be read from, or written to.
    Watched(TcpStream),
    /// It could not be watched.
    Lost,
}

/// What the writer does when all that it writes is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It waits, or writes on.
    GoesOn,
    /// It ends its side of the connection at once: the end need not be a packet of its own, so the bytes may wait for
    /// it. Without an end they would wait for 200 ms.
    Ends,
}

impl Then {
    fn flags(self) -> SendFlags {
        // A client that is gone is an error, not a signal that ends the process.
        let always = SendFlags::NOSIGNAL;
        match self {
            Self::GoesOn => always,
            Self::Ends => always | SendFlags::MORE,
        }
    }
}

impl Socket {
    /// Ready when something may be there to be read.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Watched(stream) => stream.poll_read_ready(cx),
            Self::Unwatched(_) | Self::Lost => Poll::Ready(Ok(())),
        }
    }

    /// Reads what is there into `space`, which must not be empty. 0: the other side has ended. `WouldBlock`: nothing is
    /// there, as far as this thread has been told; who wants to wait for it has to [`watch`](Self::watch) it.
    pub(super) fn read(&self, space: &mut [u8]) -> io::Result<usize> {
        let wanted = space.len();
        self.moved(Interest::READABLE, wanted, |socket| {
            let (_, read) = retry_on_intr(|| recv(socket, &mut *space, RecvFlags::empty()))?;
            Ok(read)
        })
    }

    /// Writes as much of `bytes` as is taken at once.
    pub(super) fn write(&self, bytes: &[u8], then: Then) -> io::Result<usize> {
        self.moved(Interest::WRITABLE, bytes.len(), |socket| {
            Ok(retry_on_intr(|| send(socket, bytes, then.flags()))?)
        })
    }

    /// The same, of `parts` in a row.
    fn write_parts(&self, parts: &[IoSlice<'_>], then: Then) -> io::Result<usize> {
        let wanted = parts.iter().map(|part| part.len()).sum();
        self.moved(Interest::WRITABLE, wanted, |socket| {
            let mut nothing_beside = SendAncillaryBuffer::default();
            let flags = then.flags();
            Ok(retry_on_intr(|| {
                sendmsg(socket, parts, &mut nothing_beside, flags)
            })?)
        })
    }

    /// Writes as much of `bytes` as is taken.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        then: Then,
    ) -> Poll<io::Result<usize>> {
        self.poll_until_taken(cx, |socket| socket.write(bytes, then))
    }

    /// The same, of `parts` in a row.
    pub(super) fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
        then: Then,
    ) -> Poll<io::Result<usize>> {
        self.poll_until_taken(cx, |socket| socket.write_parts(parts, then))
    }

    fn poll_until_taken(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&Self) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Self::Watched(stream) = self {
                ready!(stream.poll_write_ready(cx))?;
            }
            let written = write(self);
            if !would_block(&written) {
                return Poll::Ready(written);
            }
            self.watch()?;
        }
    }

    /// Has the runtime told when it can be read from, or written to: also when it can be already.
    #[cold]
    pub(super) fn watch(&mut self) -> io::Result<()> {
        match mem::replace(self, Self::Lost) {
            Self::Unwatched(stream) => *self = Self::Watched(TcpStream::from_std(stream)?),
            watched @ Self::Watched(_) => *self = watched,
            Self::Lost => return Err(lost()),
        }
        Ok(())
    }

    /// What is there to be told of it, and asked.
    pub(super) fn options(&self) -> io::Result<SockRef<'_>> {
        match self {
            Self::Unwatched(stream) => Ok(stream.into()),
            Self::Watched(stream) => Ok(stream.into()),
            Self::Lost => Err(lost()),
        }
    }

    /// Where this side of it is.
    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        self.options().ok()?.local_addr().ok()?.as_socket()
    }

    /// Moves bytes by `call`. When it moves fewer than `wanted`, the socket is drained, or full, and the runtime will be
    /// told when that changes: the call that would only find it out is saved.
    fn moved(
        &self,
        direction: Interest,
        wanted: usize,
        call: impl FnOnce(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let stream = match self {
            Self::Watched(stream) => stream,
            Self::Unwatched(stream) => return call(stream.as_fd()),
            Self::Lost => return Err(lost()),
        };
        let mut moved = None;
        let outcome = stream.try_io(direction, || {
            let bytes = call(stream.as_fd())?;
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
}

/// Whether a call found nothing to do, and has to be made again when there is.
pub(super) fn would_block<T>(outcome: &io::Result<T>) -> bool {
    matches!(outcome, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// The error of a socket after the one that made it so.
#[cold]
fn lost() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        io::{Read as _, Write as _},
        time::Duration,
    };

    use tokio::{task::yield_now, time::timeout};

    use super::*;

    const BOUND: Duration = Duration::from_secs(10);

    /// A socket that is not watched, and the other end of it.
    fn pair() -> (Socket, net::TcpStream) {
        let listener = net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let other = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        (Socket::Unwatched(stream), other)
    }

    fn is_watched(socket: &Socket) -> bool {
        matches!(socket, Socket::Watched(_))
    }

    async fn wait_for_more(socket: &mut Socket, space: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| {
            loop {
                ready!(socket.poll_readable(cx))?;
                let read = socket.read(space);
                if !would_block(&read) {
                    return Poll::Ready(read);
                }
                socket.watch()?;
            }
        })
        .await
    }

    #[tokio::test]
    async fn what_need_not_be_waited_for_is_not_watched() {
        let (mut socket, mut other) = pair();
        other.write_all(b"ask").unwrap();
        let mut space = [0; 8];
        assert_eq!(wait_for_more(&mut socket, &mut space).await.unwrap(), 3);
        let written = poll_fn(|cx| socket.poll_write(cx, b"tell", Then::GoesOn)).await;
        assert_eq!(written.unwrap(), 4);
        other.read_exact(&mut space[..4]).unwrap();
        assert_eq!(&space[..4], b"tell");
        assert!(!is_watched(&socket));
        let nothing = socket.read(&mut space).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        assert!(!is_watched(&socket), "reading does not begin a watch");
    }

    #[tokio::test]
    async fn bytes_that_waited_for_the_end_come_with_it() {
        let (mut socket, mut other) = pair();
        let parts = [IoSlice::new(b"the "), IoSlice::new(b"last")];
        let written = poll_fn(|cx| socket.poll_write_parts(cx, &parts, Then::Ends)).await;
        assert_eq!(written.unwrap(), 8);
        socket
            .options()
            .unwrap()
            .shutdown(net::Shutdown::Write)
            .unwrap();
        let mut all = Vec::new();
        other.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"the last");
    }

    #[tokio::test]
    async fn who_waits_for_bytes_is_woken_by_them() {
        let (mut socket, mut other) = pair();
        let waiting = tokio::spawn(async move {
            let mut space = [0; 8];
            let read = wait_for_more(&mut socket, &mut space).await;
            (read.unwrap(), is_watched(&socket))
        });
        yield_now().await;
        assert!(!waiting.is_finished());
        other.write_all(b"later").unwrap();
        let (read, watched) = timeout(BOUND, waiting).await.unwrap().unwrap();
        assert_eq!((read, watched), (5, true));
    }

    #[tokio::test]
    async fn who_waits_for_room_is_woken_by_it() {
        const BYTES: usize = 16 * 1024 * 1024;
        let (mut socket, mut other) = pair();
        let writing = tokio::spawn(async move {
            let bytes = vec![0; BYTES];
            let mut written = 0;
            while written < BYTES {
                written += poll_fn(|cx| socket.poll_write(cx, &bytes[written..], Then::GoesOn))
                    .await
                    .unwrap();
            }
            is_watched(&socket)
        });
        yield_now().await;
        assert!(!writing.is_finished(), "more than the kernel takes ahead");
        let drained = tokio::task::spawn_blocking(move || other.read_exact(&mut vec![0; BYTES]));
        assert!(timeout(BOUND, writing).await.unwrap().unwrap());
        timeout(BOUND, drained).await.unwrap().unwrap().unwrap();
    }
}
