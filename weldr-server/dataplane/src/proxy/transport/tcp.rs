//! A TCP connection, with as few system calls as possible.
//!
//! A socket is registered with the runtime only when something has to be waited for. A client that sends its request
//! together with the connection, and no second request, never has to be waited for: registering its socket would cost
//! two more system calls and a wake-up.
//!
//! Nothing is tried twice either. A connection that waits has no memory to read into, so readiness is asked for before
//! memory is lent. tokio's own read would ask again, and its system call goes through a wrapper of the C library that is
//! a cancellation point.

use std::{
    io::{self, IoSlice},
    mem::{self, MaybeUninit},
    net::{self, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::{
    io::retry_on_intr,
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg},
};
use socket2::SockRef;
use tokio::{
    io::{Interest, ReadBuf},
    net::TcpStream,
};

use super::{cork::Cork, errors::would_block, peer_side::PeerSide, pipe::Pipe};

/// Parts with up to this many bytes together are copied into one: a vectored write costs the kernel more than the copy.
const SHORT: usize = 2048;

/// A connected socket that does not block.
#[derive(Debug)]
pub(in crate::proxy) enum TcpTransport {
    /// Not registered with the runtime: nothing had to be waited for yet.
    Unwatched(net::TcpStream),
    /// Registered with the runtime for reading and writing.
    Watched(TcpStream),
    /// Registering failed.
    Lost,
}

impl TcpTransport {
    /// Opens a connection to `address`.
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        if address.ip().is_loopback() && stream.local_addr()? == address {
            // TCP connects a port to itself when nothing listens there and it is chosen as the local one.
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        Ok(Self::Watched(stream))
    }

    /// Ready when something may be readable.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Watched(stream) => stream.poll_read_ready(cx),
            Self::Unwatched(_) | Self::Lost => Poll::Ready(Ok(())),
        }
    }

    /// Reads into `space`, which must not be empty. 0: the peer has ended its side. `WouldBlock`: nothing is readable as
    /// far as this thread has been told; to wait for more, call [`watch`](Self::watch).
    pub(super) fn read(&self, space: &mut [u8]) -> io::Result<usize> {
        let wanted = space.len();
        self.moved(Interest::READABLE, wanted, |socket| {
            let (_, read) = retry_on_intr(|| recv(socket, &mut *space, RecvFlags::empty()))?;
            Ok(read)
        })
    }

    /// Copies what has come into `space`, and leaves it to be read. Returns like [`read`](Self::read).
    pub(super) fn peek(&self, space: &mut [u8]) -> io::Result<usize> {
        // What is left in the socket is not reported again, so that fewer bytes came must not count as a drained socket.
        const SAYS_NOTHING: usize = 0;
        self.moved(Interest::READABLE, SAYS_NOTHING, |socket| {
            let (_, seen) = retry_on_intr(|| recv(socket, &mut *space, RecvFlags::PEEK))?;
            Ok(seen)
        })
    }

    /// The same as [`read`](Self::read) by what the kernel knows, which may be more than the runtime has told.
    pub(super) fn read_from_kernel(&self, space: &mut [u8]) -> io::Result<usize> {
        let socket = self.socket()?;
        let (_, read) = retry_on_intr(|| recv(&*socket, &mut *space, RecvFlags::empty()))?;
        Ok(read)
    }

    /// Writes as much of `bytes` as the kernel takes at once.
    pub(super) fn write(&self, bytes: &[u8], cork: Cork) -> io::Result<usize> {
        self.moved(Interest::WRITABLE, bytes.len(), |socket| {
            Ok(retry_on_intr(|| send(socket, bytes, cork_flags(cork)))?)
        })
    }

    /// The same, of `parts` in a row.
    fn write_parts(&self, parts: &[IoSlice<'_>], cork: Cork) -> io::Result<usize> {
        let wanted = parts.iter().map(|part| part.len()).sum();
        self.moved(Interest::WRITABLE, wanted, |socket| {
            let mut nothing_beside = SendAncillaryBuffer::default();
            let flags = cork_flags(cork);
            Ok(retry_on_intr(|| {
                sendmsg(socket, parts, &mut nothing_beside, flags)
            })?)
        })
    }

    /// Writes as much of `bytes` as the kernel takes; pending while it takes nothing.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        cork: Cork,
    ) -> Poll<io::Result<usize>> {
        self.poll_until_taken(cx, |socket| socket.write(bytes, cork))
    }

    /// The same, of `parts` in a row.
    pub(super) fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[&[u8]; 4],
        cork: Cork,
    ) -> Poll<io::Result<usize>> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if let Some(only) = parts.iter().find(|part| part.len() == length) {
            return self.poll_write(cx, only, cork);
        }
        if length > SHORT {
            let parts = parts.map(IoSlice::new);
            return self.poll_until_taken(cx, |socket| socket.write_parts(&parts, cork));
        }
        let mut one = [MaybeUninit::uninit(); SHORT];
        let mut one = ReadBuf::uninit(&mut one);
        for part in parts {
            one.put_slice(part);
        }
        self.poll_write(cx, one.filled(), cork)
    }

    /// Moves at most `most` bytes that came into `pipe`, which must be empty. Returns like [`read`](Self::read).
    pub(super) fn splice_into(&self, pipe: &mut Pipe, most: u64) -> io::Result<usize> {
        // A pipe has room for so many parts, however short they are: that fewer bytes came says nothing of the socket.
        const SAYS_NOTHING: usize = 0;
        self.moved(Interest::READABLE, SAYS_NOTHING, |socket| {
            pipe.fill(socket, most)
        })
    }

    /// Writes as much of what `pipe` holds as the kernel takes; pending while it takes nothing.
    pub(super) fn poll_splice_from(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
        cork: Cork,
    ) -> Poll<io::Result<usize>> {
        self.poll_until_taken(cx, |tcp| {
            let wanted = pipe.held();
            tcp.moved(Interest::WRITABLE, wanted, |socket| {
                pipe.drain(socket, cork)
            })
        })
    }

    /// Ready when something may be written.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Watched(stream) => stream.poll_write_ready(cx),
            Self::Unwatched(_) | Self::Lost => Poll::Ready(Ok(())),
        }
    }

    fn poll_until_taken(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&Self) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_writable(cx))?;
            let written = write(self);
            if !would_block(&written) {
                return Poll::Ready(written);
            }
            self.watch()?;
        }
    }

    /// Registers the socket with the runtime, which then also reports what is ready already.
    #[cold]
    pub(super) fn watch(&mut self) -> io::Result<()> {
        match mem::replace(self, Self::Lost) {
            Self::Unwatched(stream) => *self = Self::Watched(TcpStream::from_std(stream)?),
            watched @ Self::Watched(_) => *self = watched,
            Self::Lost => return Err(lost()),
        }
        Ok(())
    }

    fn socket(&self) -> io::Result<SockRef<'_>> {
        match self {
            Self::Unwatched(stream) => Ok(stream.into()),
            Self::Watched(stream) => Ok(stream.into()),
            Self::Lost => Err(lost()),
        }
    }

    /// Ends this side of the connection.
    pub(super) fn finish(&self) -> io::Result<()> {
        self.socket()?.shutdown(net::Shutdown::Write)
    }

    /// Has the connection reset, not ended, when it is dropped.
    pub(super) fn reset_on_close(&self) -> io::Result<()> {
        self.socket()?.set_linger(Some(Duration::ZERO))
    }

    /// The error that the connection has met, if any.
    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket()?.take_error()
    }

    /// Whether the kernel has nothing to be read, not even an end.
    pub(super) fn is_idle_in_kernel(&self) -> bool {
        let socket = self.socket();
        would_block(&socket.and_then(|socket| socket.peek(&mut [MaybeUninit::uninit()])))
    }

    /// What has become of the peer's side, as far as the kernel knows.
    pub(super) fn peer_side(&self) -> PeerSide {
        match self {
            Self::Unwatched(stream) => PeerSide::of(stream.as_fd()),
            Self::Watched(stream) => PeerSide::of(stream.as_fd()),
            Self::Lost => PeerSide::Broken,
        }
    }

    #[cfg(test)]
    pub(super) fn set_send_buffer(&self, bytes: usize) {
        self.socket().unwrap().set_send_buffer_size(bytes).unwrap();
    }

    /// The address of this side.
    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        self.socket().ok()?.local_addr().ok()?.as_socket()
    }

    /// Moves bytes by `call`. When it moves fewer than `wanted`, the socket is drained or full, and the runtime reports
    /// when that changes: this saves the call that would only find it out.
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

fn cork_flags(cork: Cork) -> SendFlags {
    // A peer that is gone is an error, not a signal that ends the process.
    match cork {
        Cork::Off => SendFlags::NOSIGNAL,
        Cork::UntilMore | Cork::UntilFinish => SendFlags::NOSIGNAL | SendFlags::MORE,
    }
}

/// The error of a socket whose registration has failed.
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
    fn pair() -> (TcpTransport, net::TcpStream) {
        let listener = net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let other = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        (TcpTransport::Unwatched(stream), other)
    }

    fn is_watched(socket: &TcpTransport) -> bool {
        matches!(socket, TcpTransport::Watched(_))
    }

    async fn wait_for_more(socket: &mut TcpTransport, space: &mut [u8]) -> io::Result<usize> {
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
        let written = poll_fn(|cx| socket.poll_write(cx, b"tell", Cork::Off)).await;
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
        let parts: [&[u8]; 4] = [b"the ", b"", b"last", b""];
        let written = poll_fn(|cx| socket.poll_write_parts(cx, &parts, Cork::UntilFinish)).await;
        assert_eq!(written.unwrap(), 8);
        socket.finish().unwrap();
        let mut all = Vec::new();
        other.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"the last");
    }

    #[tokio::test]
    async fn a_task_that_waits_for_bytes_is_woken() {
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
    async fn a_task_that_waits_for_room_is_woken() {
        const BYTES: usize = 16 * 1024 * 1024;
        let (mut socket, mut other) = pair();
        let writing = tokio::spawn(async move {
            let bytes = vec![0; BYTES];
            let mut written = 0;
            while written < BYTES {
                written += poll_fn(|cx| socket.poll_write(cx, &bytes[written..], Cork::Off))
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
