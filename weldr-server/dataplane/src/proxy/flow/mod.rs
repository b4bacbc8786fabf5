//! A body on its way from one socket to the other: taken out of the framing of the one side, put into that of the
//! other, and written without being copied. What is long and comes fast passes through a pipe, and never leaves the kernel.

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

/// A head, and the body behind it.
#[derive(Debug)]
pub(super) struct Flow {
    decoder: Decoder,
    /// Whether the body is written in chunks.
    chunked: bool,
    trailers: Trailers,
    /// Bytes that the body may have.
    limit: u64,
    /// Whether all of the body is taken, and at most waits to be written.
    ended: bool,
    /// What whoever writes it does behind it.
    cork: Cork,
    /// What was read into a pipe and not taken yet.
    filled: Option<Pipe>,
    out: Out,
    pace: Pace,
    /// Bytes of the body that were taken.
    taken: u64,
    /// Bytes of the body that nobody has counted yet.
    uncounted: u64,
}

/// How far a flow came without reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// All that was read is written.
    NeedsMore,
    /// Everything is written.
    Ended,
}

/// Why a flow does not go on.
#[derive(Debug)]
pub(super) enum Stuck {
    /// What comes in is malformed.
    Malformed(ChunkDefect),
    /// More comes in than may.
    TooLarge,
    /// What goes out is not taken.
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
            out: Out::default(),
            taken: 0,
            uncounted: 0,
        }
    }

    /// The same, of a body that may have so many bytes.
    pub(super) fn limited_to(self, limit: Option<u64>) -> Self {
        Self {
            limit: limit.unwrap_or(u64::MAX),
            ..self
        }
    }

    /// Nothing comes behind it on its connection: whoever writes it ends that side as soon as it is written.
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

    /// Whether all of the body was taken from where it comes from.
    pub(super) fn is_taken(&self) -> bool {
        self.ended || self.decoder.is_done()
    }

    /// Whether all of it is written.
    pub(super) fn is_over(&self, head: &[u8]) -> bool {
        self.ended && self.out.is_empty(head)
    }

    /// Bytes of the body so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Changes whenever something was taken or written.
    pub(super) fn progress(&self) -> u64 {
        self.taken + self.out.written()
    }

    /// Bytes of the body since the last call.
    pub(super) fn take_uncounted(&mut self) -> u64 {
        std::mem::take(&mut self.uncounted)
    }

    /// Writes it all once more: for a flow without a body.
    pub(super) fn rewind(&mut self) {
        self.out.head_written = 0;
    }

    /// A head was written before, on its own, of which this is the rest.
    pub(super) fn head_is_written_up_to(&mut self, written: usize) {
        self.out.head_written = written;
    }

    /// Writes what `source` holds of the body, behind `head`.
    pub(super) fn advance(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Transport,
        head: &[u8],
        source: &mut Buffer,
    ) -> Poll<Result<Moved, Stuck>> {
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

    /// Reads what comes next, when all that was read is written: into a pipe where that is cheaper, else into `source`.
    /// Returns how many bytes came; 0: the other side has ended.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Transport,
        source: &mut Buffer,
        buffers: &Buffers,
        pipes: &Rc<Pipes>,
    ) -> Poll<io::Result<usize>> {
        let run = self.decoder.run();
        if self.pace.suits_pipe(run) && source.is_empty() {
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

    /// The connection that it comes from has ended; whether that is where it ends.
    pub(super) fn ends_with_connection(&mut self) -> bool {
        if !self.decoder.ends_with_connection() {
            return false;
        }
        // Without trailers there is nothing that could be malformed.
        self.ended = self.end().is_ok();
        self.ended
    }

    /// Takes what comes next from the pipe or from `source`, and puts it behind what is written. `false`: there is
    /// nothing.
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

    /// So many bytes of data were put.
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

    /// What ends the body: `plain`, or that with the trailers in it.
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
