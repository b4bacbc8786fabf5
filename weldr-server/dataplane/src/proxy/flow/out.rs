//! The parts of a message that wait to be written, in their order. One of them may be in a pipe.

use std::{
    borrow::Cow,
    io,
    ops::Range,
    task::{Context, Poll, ready},
};

use super::super::transport::{Cork, Pipe, Transport};
use crate::buffer::Buffer;

pub(super) const CHUNK_END: &[u8] = b"\r\n";
/// Length of a chunk size line: 16 hexadecimal digits and CR LF.
const LONGEST_FRAME: usize = 18;

/// The parts that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// How much of the head is written.
    pub(super) head_written: usize,
    frame: [u8; LONGEST_FRAME],
    frame_left: Range<usize>,
    /// Data in the buffer that the body is read into.
    data: Range<usize>,
    /// Data in a pipe; there is none when `data` has any.
    pipe: Option<Pipe>,
    suffix: Cow<'static, [u8]>,
    suffix_written: usize,
    /// Total bytes written.
    written: u64,
}

impl Out {
    /// Whether the next part can be queued behind the head.
    pub(super) fn is_free(&self) -> bool {
        self.frame_left.is_empty()
            && self.data.is_empty()
            && self.pipe.is_none()
            && self.suffix_written == self.suffix.len()
    }

    pub(super) fn is_empty(&self, head: &[u8]) -> bool {
        self.is_free() && self.head_written >= head.len()
    }

    /// Bytes that were written so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn put_data(&mut self, data: Range<usize>) {
        self.data = data;
    }

    pub(super) fn put_pipe(&mut self, pipe: Pipe) {
        self.pipe = Some(pipe);
    }

    pub(super) fn put_frame(&mut self, length: usize) {
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

    pub(super) fn put_suffix(&mut self, suffix: Cow<'static, [u8]>) {
        self.suffix = suffix;
        self.suffix_written = 0;
    }

    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Transport,
        head: &[u8],
        source: &Buffer,
        cork: Cork,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty(head) {
            let written = match self.pipe {
                None => ready!(self.poll_write(cx, to, head, source, cork))?,
                Some(_) => ready!(self.poll_write_around_pipe(cx, to, head, cork))?,
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written as u64;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Transport,
        head: &[u8],
        source: &Buffer,
        cork: Cork,
    ) -> Poll<io::Result<usize>> {
        let parts = [
            &head[self.head_written.min(head.len())..],
            &self.frame[self.frame_left.clone()],
            source.at(self.data.clone()),
            &self.suffix[self.suffix_written..],
        ];
        let written = ready!(to.poll_write_parts(cx, &parts, cork))?;
        self.advance(written, parts.map(<[u8]>::len));
        Poll::Ready(Ok(written))
    }

    /// Writes what precedes the data in the pipe, or else some of that data.
    fn poll_write_around_pipe(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Transport,
        head: &[u8],
        cork: Cork,
    ) -> Poll<io::Result<usize>> {
        let before = [
            &head[self.head_written.min(head.len())..],
            &self.frame[self.frame_left.clone()],
            b"",
            b"",
        ];
        let lengths = before.map(<[u8]>::len);
        if lengths != [0; 4] {
            let written = ready!(to.poll_write_parts(cx, &before, Cork::UntilMore))?;
            self.advance(written, lengths);
            return Poll::Ready(Ok(written));
        }
        let is_last = self.suffix_written == self.suffix.len();
        let cork = if is_last { cork } else { Cork::UntilMore };
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Ok(0));
        };
        let written = ready!(to.poll_splice_from(cx, pipe, cork))?;
        if pipe.held() == 0 {
            self.pipe = None;
        }
        Poll::Ready(Ok(written))
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
        if self.data.is_empty() {
            // The buffer may have less memory, or none, when the next part is written.
            self.data = 0..0;
        }
    }
}
