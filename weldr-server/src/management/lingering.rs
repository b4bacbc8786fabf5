//! A connection that is closed so that its peer can read the last response.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{self, Instant, Sleep},
};

/// How long a peer that still sends may pause, and how long it may go on in all.
const MAX_PAUSE: Duration = Duration::from_secs(5);
const MAX_LINGERING: Duration = Duration::from_secs(30);

/// A stream whose shutdown reads and drops what the peer still sends (RFC 9112, section 9.6). Closing a socket with unread
/// bytes resets the connection, and a client that reads only when it has written everything would lose the response.
#[derive(Debug)]
pub(super) struct Lingering<S> {
    stream: S,
    end: Option<LingerTimer>,
}

#[derive(Debug)]
struct LingerTimer {
    begun: Instant,
    pause: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + Unpin> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, end: None }
    }

    /// Ready when the peer has ended its side, pauses, or has gone on for too long.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = self.end.get_or_insert_with(|| LingerTimer {
            begun: Instant::now(),
            pause: Box::pin(time::sleep(MAX_PAUSE)),
        });
        let mut dropped = [0; 4096];
        loop {
            let mut dropped = ReadBuf::new(&mut dropped);
            match pin!(&mut self.stream).poll_read(cx, &mut dropped) {
                Poll::Ready(Ok(())) if !dropped.filled().is_empty() => {
                    if end.begun.elapsed() >= MAX_LINGERING {
                        return Poll::Ready(());
                    }
                    end.pause.as_mut().reset(Instant::now() + MAX_PAUSE);
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return end.pause.as_mut().poll(cx),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.end.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        self.poll_linger(cx).map(Ok)
    }
}
