//! Moves a body from one socket to the other: it is decoded from the framing of one side, framed for the other side, and
//! written without a copy. Long data that arrives fast goes through a pipe and stays in the kernel.

mod fill;
mod out;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    io,
    rc::Rc,
    task::{Context, Poll, ready},
};

use super::{
    trailers::Trailers,
    transport::{Cork, Pipe, Pipes, Transport},
};
use crate::{
    buffer::{Buffer, Buffers},
    http1::{ChunkDefect, Decoder, Step},
};

use fill::{Pace, grow, poll_fill_pipe};
use out::{CHUNK_END, Out};

pub(super) use fill::poll_fill;

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const END_AND_LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// A head and the body that follows it, from one socket to the other.
#[derive(Debug)]
pub(super) struct Flow {
    decoder: Decoder,
    /// Whether the body is written in chunks.
    chunked: bool,
    trailers: Trailers,
    /// The size limit of the body, in bytes.
    limit: u64,
    /// Whether all of the body was read and decoded; a part may still wait to be written.
    ended: bool,
    /// Whether the connection to which it is written ends after it.
    cork: Cork,
    /// Data that was read into a pipe and not decoded yet.
    filled: Option<Pipe>,
    /// Whether the side to which it is written takes a pipe.
    takes_pipes: bool,
    out: Out,
    pace: Pace,
    /// Bytes of the body that were decoded.
    taken: u64,
    /// Bytes of the body since the last call of [`Flow::take_uncounted`].
    uncounted: u64,
}

/// The result of writing without reading more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// Everything that was read is written; more of the body is to come.
    NeedsMore,
    /// The whole message is written.
    Ended,
}

/// Why a flow fails.
#[derive(Debug)]
pub(super) enum Stuck {
    /// The framing that was read is malformed.
    Malformed(ChunkDefect),
    /// The body is longer than its limit.
    TooLarge,
    /// Writing failed.
    Closed,
}

impl Flow {
    pub(super) fn new(decoder: Decoder, chunked: bool, trailers: Trailers) -> Self {
        Self {
            pace: Pace::of(&decoder),
            decoder,
            chunked,
            trailers,
            limit: u64::MAX,
            ended: false,
            cork: Cork::Off,
            filled: None,
            takes_pipes: false,
            out: Out::default(),
            taken: 0,
            uncounted: 0,
        }
    }

    /// Limits the body to `limit` bytes.
    pub(super) fn limited_to(self, limit: Option<u64>) -> Self {
        Self {
            limit: limit.unwrap_or(u64::MAX),
            ..self
        }
    }

    /// Marks the flow as the last on its connection: the write side is shut down as soon as the flow is written.
    pub(super) fn ends_its_connection(&mut self) {
        self.cork = Cork::UntilFinish;
    }

    /// How much of the head is written.
    pub(super) fn head_written(&self) -> usize {
        self.out.head_written
    }

    /// Whether nothing at all was written.
    pub(super) fn is_unsent(&self) -> bool {
        self.out.head_written == 0
    }

    /// Whether all of the body was read and decoded.
    pub(super) fn is_taken(&self) -> bool {
        self.ended || self.decoder.is_done()
    }

    /// Whether head and body are written.
    pub(super) fn is_over(&self, head: &[u8]) -> bool {
        self.ended && self.out.is_empty(head)
    }

    /// Bytes of the body that were decoded so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// A number that changes whenever something was read or written.
    pub(super) fn progress(&self) -> u64 {
        self.taken + self.out.written()
    }

    /// Bytes of the body since the last call.
    pub(super) fn take_uncounted(&mut self) -> u64 {
        std::mem::take(&mut self.uncounted)
    }

    /// Starts again from the begin of the head. Only for a flow without a body.
    pub(super) fn rewind(&mut self) {
        self.out.head_written = 0;
    }

    /// Skips the first `written` bytes of the head, which were already written.
    pub(super) fn head_is_written_up_to(&mut self, written: usize) {
        self.out.head_written = written;
    }

    /// Writes `head`, and then the part of the body that `source` holds.
    pub(super) fn advance(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Transport,
        head: &[u8],
        source: &mut Buffer,
    ) -> Poll<Result<Moved, Stuck>> {
        self.takes_pipes = to.can_splice();
        loop {
            let waits = self.out.is_free() && !self.ended;
            let starved = waits && !self.take(source)?;
            let cork = if self.ended { self.cork } else { Cork::Off };
            let flushed = self.out.poll_flush(cx, to, head, source, cork);
            ready!(flushed).map_err(|_| Stuck::Closed)?;
            if self.ended {
                return Poll::Ready(Ok(Moved::Ended));
            }
            if starved {
                return Poll::Ready(Ok(Moved::NeedsMore));
            }
        }
    }

    /// Reads more, once everything that was read is written: into a pipe where that is cheaper, else into `source`.
    /// Returns the number of bytes; 0 at the end of the stream.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Transport,
        source: &mut Buffer,
        buffers: &Buffers,
        pipes: &Rc<Pipes>,
    ) -> Poll<io::Result<usize>> {
        let run = self.decoder.run();
        let can_splice = self.takes_pipes && from.can_splice();
        if can_splice && self.pace.suits_pipe(run) && source.is_empty() {
            buffers.take_back(source);
            if let Some((pipe, moved)) = ready!(poll_fill_pipe(cx, from, run, pipes))? {
                self.pace.filled_pipe(moved);
                if moved > 0 {
                    self.filled = Some(pipe);
                }
                return Poll::Ready(Ok(moved));
            }
        }
        if self.pace == Pace::Fast {
            grow(buffers, source);
        }
        let read = ready!(poll_fill(cx, from, source, buffers))?;
        self.pace.filled_buffer(source, read);
        Poll::Ready(Ok(read))
    }

    /// Handles the end of the connection from which it is read. Returns whether the body ends there.
    pub(super) fn ends_with_connection(&mut self) -> bool {
        if !self.decoder.ends_with_connection() {
            return false;
        }
        // Without trailers there is nothing that could be malformed.
        self.ended = self.end().is_ok();
        self.ended
    }

    /// Decodes the next part, from the pipe or from `source`, and queues it for writing. Returns `false` when there is
    /// nothing to decode.
    fn take(&mut self, source: &mut Buffer) -> Result<bool, Stuck> {
        if let Some(pipe) = self.filled.take() {
            let length = pipe.held();
            self.decoder.skip(length as u64);
            self.out.put_pipe(pipe);
            self.took(length)?;
            return Ok(true);
        }
        match self.decoder.step(source).map_err(Stuck::Malformed)? {
            Step::Data(data) => {
                let length = data.len();
                self.out.put_data(data);
                self.took(length)?;
            }
            Step::NeedsMore => return Ok(false),
            Step::End => self.end().map_err(Stuck::Malformed)?,
        }
        Ok(true)
    }

    /// Counts `length` bytes of data that were queued.
    fn took(&mut self, length: usize) -> Result<(), Stuck> {
        self.taken += length as u64;
        self.uncounted += length as u64;
        if self.chunked {
            self.out.put_frame(length);
            self.out.put_suffix(Cow::Borrowed(CHUNK_END));
        }
        if self.decoder.is_done() {
            let whole = self.last(END_AND_LAST_CHUNK).map_err(Stuck::Malformed)?;
            self.out.put_suffix(whole);
            self.ended = true;
        }
        if self.taken > self.limit {
            return Err(Stuck::TooLarge);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), ChunkDefect> {
        let last = self.last(LAST_CHUNK)?;
        self.out.put_suffix(last);
        self.ended = true;
        Ok(())
    }

    /// The end of a chunked body: `plain`, or with the trailers in it.
    fn last(&self, plain: &'static [u8]) -> Result<Cow<'static, [u8]>, ChunkDefect> {
        let trailers = self.decoder.trailers();
        let kept = if trailers.len() > CHUNK_END.len() {
            self.trailers.kept(trailers)?
        } else {
            Vec::new()
        };
        if !self.chunked {
            return Ok(Cow::Borrowed(b""));
        }
        if kept.is_empty() {
            return Ok(Cow::Borrowed(plain));
        }
        let before = &plain[..plain.len() - CHUNK_END.len()];
        Ok(Cow::Owned([before, &kept, CHUNK_END].concat()))
    }
}
