//! A body on its way from one socket to the other: taken out of the framing of the one side, put into that of the
//! other, and written without being copied.

use std::{
    borrow::Cow,
    io::{self, IoSlice},
    mem::MaybeUninit,
    ops::Range,
    task::{Context, Poll, ready},
};

use tokio::io::ReadBuf;

use super::{
    trailers::Trailers,
    transport::{Cork, Transport, would_block},
};
use crate::{
    buffer::{Buffer, Buffers, LARGE},
    http1::{ChunkDefect, Decoder, Step},
};

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const END_AND_LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";
const CHUNK_END: &[u8] = b"\r\n";
/// A size of 16 hexadecimal digits, and the end of its line.
const LONGEST_FRAME: usize = 18;

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
    out: Out,
    /// Bytes of the body that were taken.
    taken: u64,
    /// Bytes of the body that nobody has counted yet.
    uncounted: u64,
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Out {
    /// How much of the head is written.
    head_written: usize,
    frame: [u8; LONGEST_FRAME],
    frame_left: Range<usize>,
    data: Range<usize>,
    suffix: Cow<'static, [u8]>,
    suffix_written: usize,
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
            decoder,
            chunked,
            trailers,
            limit: u64::MAX,
            ended: false,
            cork: Cork::Off,
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
            let mut starved = false;
            if self.out.is_free() && !self.ended {
                match self.decoder.step(source).map_err(Stuck::Malformed)? {
                    Step::Data(data) => {
                        self.put(data).map_err(Stuck::Malformed)?;
                        if self.taken > self.limit {
                            return Poll::Ready(Err(Stuck::TooLarge));
                        }
                    }
                    Step::NeedsMore => starved = true,
                    Step::End => self.end().map_err(Stuck::Malformed)?,
                }
            }
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

    /// The connection that it comes from has ended; whether that is where it ends.
    pub(super) fn ends_with_connection(&mut self) -> bool {
        if !self.decoder.ends_with_connection() {
            return false;
        }
        // Without trailers there is nothing that could be malformed.
        self.ended = self.end().is_ok();
        self.ended
    }

    fn put(&mut self, data: Range<usize>) -> Result<(), ChunkDefect> {
        let length = data.len();
        self.taken += length as u64;
        self.uncounted += length as u64;
        self.out.data = data;
        if self.chunked {
            self.out.put_frame(length);
            self.out.put_suffix(Cow::Borrowed(CHUNK_END));
        }
        if self.decoder.is_done() {
            let whole = self.last(END_AND_LAST_CHUNK)?;
            self.out.put_suffix(whole);
            self.ended = true;
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

impl Out {
    /// Whether something can be put behind the head.
    fn is_free(&self) -> bool {
        self.frame_left.is_empty()
            && self.data.is_empty()
            && self.suffix_written == self.suffix.len()
    }

    fn is_empty(&self, head: &[u8]) -> bool {
        self.is_free() && self.head_written >= head.len()
    }

    fn put_frame(&mut self, length: usize) {
        let mut at = LONGEST_FRAME - CHUNK_END.len();
        self.frame[at..].copy_from_slice(CHUNK_END);
        let mut left = length;
        while left > 0 {
            at -= 1;
            self.frame[at] = b"0123456789abcdef"[left & 15];
            left >>= 4;
        }
        self.frame_left = at..LONGEST_FRAME;
    }

    fn put_suffix(&mut self, suffix: Cow<'static, [u8]>) {
        self.suffix = suffix;
        self.suffix_written = 0;
    }

    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Transport,
        head: &[u8],
        source: &Buffer,
        cork: Cork,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty(head) {
            let parts = [
                &head[self.head_written.min(head.len())..],
                &self.frame[self.frame_left.clone()],
                source.at(self.data.clone()),
                &self.suffix[self.suffix_written..],
            ];
            let written = ready!(poll_write_parts(cx, to, parts, cork))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let lengths = parts.map(<[u8]>::len);
            self.advance(written, lengths);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize, lengths: [usize; 4]) {
        let mut of = |length: usize| {
            let part = written.min(length);
            written -= part;
            part
        };
        let [head, frame, data, suffix] = lengths.map(&mut of);
        self.head_written += head;
        self.frame_left.start += frame;
        self.data.start += data;
        self.suffix_written += suffix;
    }
}

/// Parts that are so short together are copied into one: for the kernel, a list of them is more work than a copy.
const SHORT: usize = 2048;

fn poll_write_parts(
    cx: &mut Context<'_>,
    to: &mut Transport,
    parts: [&[u8]; 4],
    cork: Cork,
) -> Poll<io::Result<usize>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if let Some(only) = parts.iter().find(|part| part.len() == length) {
        return to.poll_write(cx, only, cork);
    }
    if length > SHORT {
        return to.poll_write_parts(cx, &parts.map(IoSlice::new), cork);
    }
    let mut one = [MaybeUninit::uninit(); SHORT];
    let mut one = ReadBuf::uninit(&mut one);
    for part in parts {
        one.put_slice(part);
    }
    to.poll_write(cx, one.filled(), cork)
}

/// Reads into `buffer`, which has memory only while there is something in it: who waits costs nothing. It must not be
/// full: nothing read means that the other side has ended.
pub(super) fn poll_fill(
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

/// Gives a buffer that was just used up more memory, when a long body fills it with each read.
pub(super) fn grow_for(buffers: &Buffers, buffer: &mut Buffer) {
    if buffer.is_empty() && buffer.is_full() && buffer.capacity() < LARGE {
        buffer.clear();
        buffers.grow(buffer, LARGE);
    }
}
