//! Reads the next bytes of a stream: into memory that is lent for it, or into a pipe.

use std::{
    io,
    rc::Rc,
    task::{Context, Poll, ready},
};

use super::super::transport::{Pipe, Pipes, Transport, would_block};
use crate::{
    buffer::{Buffer, Buffers, LARGE, SMALL},
    http1::Decoder,
};

/// The least number of consecutive bytes for which a pipe is cheaper than copying.
const LEAST_IN_PIPE: u64 = 32 * 1024;

/// How fast data is expected to arrive, judged by the last read. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// The last read returned enough data for a pipe, or a long body is about to begin.
    Fast,
    /// The last read returned less: the stream consists of short parts, or that is not known yet.
    Slow,
}

impl Pace {
    /// The pace to assume for a body that has not begun.
    pub(super) fn of(decoder: &Decoder) -> Self {
        match decoder {
            Decoder::Length(left) if *left >= LEAST_IN_PIPE => Self::Fast,
            Decoder::Length(_) | Decoder::Chunked(_) | Decoder::UntilClose => Self::Slow,
        }
    }

    /// Whether the next part of a body is read into a pipe, when `run` bytes of data are next.
    pub(super) fn suits_pipe(self, run: u64) -> bool {
        self == Self::Fast && run >= LEAST_IN_PIPE
    }

    /// Learns from a read of `moved` bytes into a pipe.
    pub(super) fn filled_pipe(&mut self, moved: usize) {
        *self = if moved >= SMALL {
            Self::Fast
        } else {
            Self::Slow
        };
    }

    /// Learns from a read of `read` bytes into `buffer`.
    pub(super) fn filled_buffer(&mut self, buffer: &Buffer, read: usize) {
        let is_fast = buffer.is_full() || read >= SMALL;
        *self = if is_fast { Self::Fast } else { Self::Slow };
    }
}

/// Reads into `buffer`, which has memory only while it holds bytes, so a waiting connection costs none. The buffer must not
/// be full: 0 bytes read mean the end of the stream.
pub(in crate::proxy) fn poll_fill(
    cx: &mut Context<'_>,
    from: &mut Transport,
    buffer: &mut Buffer,
    buffers: &Buffers,
) -> Poll<io::Result<usize>> {
    loop {
        if from.poll_readable(cx)?.is_pending() {
            if buffer.is_empty() {
                buffers.take_back(buffer);
            }
            return Poll::Pending;
        }
        if buffer.is_empty() {
            buffer.clear();
            buffers.lend(buffer);
        }
        let read = from.read(buffer.space());
        if !would_block(&read) {
            buffer.filled_more(*read.as_ref().unwrap_or(&0));
            return Poll::Ready(read);
        }
        from.watch()?;
    }
}

/// Fills a pipe with at most `most` bytes. `None` when no pipe can be lent; then nothing was read.
pub(super) fn poll_fill_pipe(
    cx: &mut Context<'_>,
    from: &mut Transport,
    most: u64,
    pipes: &Rc<Pipes>,
) -> Poll<io::Result<Option<(Pipe, usize)>>> {
    loop {
        ready!(from.poll_readable(cx))?;
        let Some(mut pipe) = pipes.lend() else {
            return Poll::Ready(Ok(None));
        };
        match from.splice_into(&mut pipe, most) {
            Ok(moved) => return Poll::Ready(Ok(Some((pipe, moved)))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => from.watch()?,
            Err(error) if cannot_splice(&error) => {
                pipes.refuse();
                return Poll::Ready(Ok(None));
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// Whether the system does not support splice(2) for the socket, or forbids it.
fn cannot_splice(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied
    )
}

/// Gives more memory to a buffer that a read has filled.
pub(super) fn grow(buffers: &Buffers, buffer: &mut Buffer) {
    if buffer.is_empty() && buffer.capacity() < LARGE {
        buffer.clear();
        buffers.grow(buffer, LARGE);
    }
}
