//! The memory that messages pass through, lent by the worker for as long as it holds bytes.

use std::{
    cell::{Cell, RefCell},
    ops::Range,
};

/// Size of the buffer for a head or a short message, in bytes.
pub(super) const SMALL: usize = 16 * 1024;
/// Size of the buffer for a long body, which makes reads fewer and larger, in bytes.
pub(super) const LARGE: usize = 64 * 1024;
/// Room for a head that is written; a longer one grows.
const HEAD: usize = 1024;
/// The number of free buffers of each size that a worker keeps.
const MOST_SPARE: usize = 128;

/// Bytes that were read and not consumed yet.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    /// Fully initialised: its length is the capacity.
    memory: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// The bytes that were read and are not consumed.
    pub(super) fn filled(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether nothing more can be read into it, as when it has no memory.
    pub(super) fn is_full(&self) -> bool {
        self.end == self.memory.len()
    }

    /// Whether it has no memory.
    pub(super) fn is_bare(&self) -> bool {
        self.memory.is_empty()
    }

    pub(super) fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Where the next bytes are read to; empty when it is full.
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.memory[self.end..]
    }

    /// Records that so many bytes were read into [`space`](Self::space).
    pub(super) fn filled_more(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.memory.len());
    }

    /// Consumes the first bytes. They can still be read by their [`place`](Self::place) until more is read.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }

    /// The first bytes, as a range for [`at`](Self::at).
    pub(super) fn place(&self, bytes: usize) -> Range<usize> {
        self.start..self.start + bytes
    }

    /// The bytes at `place`, which may be consumed ones.
    pub(super) fn at(&self, place: Range<usize>) -> &[u8] {
        &self.memory[place]
    }

    /// Moves bytes to another place in front of them.
    pub(super) fn shift(&mut self, from: Range<usize>, to: usize) {
        self.memory.copy_within(from, to);
    }

    /// Makes room behind what is filled. Places from earlier calls are no longer valid.
    pub(super) fn compact(&mut self) {
        if self.start == 0 {
            return;
        }
        self.memory.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }

    /// Drops all bytes.
    pub(super) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// A buffer that holds a copy of `bytes`, outside the pool of a worker.
    pub(super) fn holding(bytes: &[u8]) -> Self {
        Self {
            memory: bytes.to_vec(),
            start: 0,
            end: bytes.len(),
        }
    }
}

/// The memory that a worker lends. Returned memory is lent again, so a request allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    small: Spare<Vec<u8>>,
    large: Spare<Vec<u8>>,
    heads: Spare<Vec<u8>>,
}

impl Buffers {
    /// Gives `buffer` memory when it has none.
    pub(super) fn lend(&self, buffer: &mut Buffer) {
        if buffer.is_bare() {
            buffer.memory = self.small.take().unwrap_or_else(|| vec![0; SMALL]);
        }
    }

    /// Gives `buffer` at least `capacity` bytes, with what it holds.
    pub(super) fn grow(&self, buffer: &mut Buffer, capacity: usize) {
        if buffer.capacity() >= capacity {
            return;
        }
        let spare = if capacity == LARGE {
            self.large.take()
        } else {
            None
        };
        let mut memory = spare.unwrap_or_else(|| vec![0; capacity]);
        let filled = buffer.filled().len();
        memory[..filled].copy_from_slice(buffer.filled());
        self.keep(std::mem::replace(&mut buffer.memory, memory));
        (buffer.start, buffer.end) = (0, filled);
    }

    /// Takes back the memory of `buffer`, and drops its bytes.
    pub(super) fn take_back(&self, buffer: &mut Buffer) {
        self.keep(std::mem::take(buffer).memory);
    }

    fn keep(&self, memory: Vec<u8>) {
        match memory.len() {
            SMALL => self.small.keep(memory),
            LARGE => self.large.keep(memory),
            _ => {}
        }
    }

    /// An empty vector to write a head into.
    pub(super) fn head(&self) -> Vec<u8> {
        let spare = self.heads.take();
        spare.unwrap_or_else(|| Vec::with_capacity(HEAD))
    }

    /// Takes back a vector for a head. One with less capacity is dropped: it would grow for each head.
    pub(super) fn take_head_back(&self, mut head: Vec<u8>) {
        if (HEAD..=SMALL).contains(&head.capacity()) {
            head.clear();
            self.heads.keep(head);
        }
    }

    /// Frees memory that was not used since the last call: after a burst, most of it.
    pub(super) fn trim(&self) {
        for spare in [&self.small, &self.large, &self.heads] {
            spare.trim();
        }
    }
}

/// The free values of one kind, which can be lent.
#[derive(Debug)]
pub(super) struct Spare<T> {
    kept: RefCell<Vec<T>>,
    /// The smallest number of free values since the last [`trim`](Self::trim).
    fewest: Cell<usize>,
}

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Self {
            kept: RefCell::default(),
            fewest: Cell::default(),
        }
    }
}

impl<T> Spare<T> {
    /// Takes the value that was kept last.
    pub(super) fn take(&self) -> Option<T> {
        let mut kept = self.kept.borrow_mut();
        let taken = kept.pop();
        self.fewest.set(self.fewest.get().min(kept.len()));
        taken
    }

    /// Keeps a value for the next use, unless there are enough.
    pub(super) fn keep(&self, taken: T) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < MOST_SPARE {
            kept.push(taken);
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.kept.borrow().len()
    }

    /// Drops the values that were not used since the last call.
    pub(super) fn trim(&self) {
        let mut kept = self.kept.borrow_mut();
        // Values are taken from and added to the end, so the first ones were unused all the time.
        kept.drain(..self.fewest.get());
        self.fewest.set(kept.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_survives_compacting_and_growing() {
        let buffers = Buffers::default();
        let mut buffer = Buffer::default();
        buffers.lend(&mut buffer);
        buffer.space()[..5].copy_from_slice(b"abcde");
        buffer.filled_more(5);
        buffer.consume(2);
        buffers.grow(&mut buffer, LARGE);
        assert_eq!((buffer.filled(), buffer.capacity()), (&b"cde"[..], LARGE));
        buffer.consume(1);
        buffer.compact();
        assert_eq!(buffer.filled(), b"de");
        assert_eq!(buffer.space().len(), LARGE - 2);
    }

    #[test]
    fn unused_memory_is_freed() {
        let buffers = Buffers::default();
        let mut burst: Vec<_> = (0..8).map(|_| Buffer::default()).collect();
        for buffer in &mut burst {
            buffers.lend(buffer);
        }
        for buffer in &mut burst {
            buffers.take_back(buffer);
        }
        buffers.trim();
        assert_eq!(buffers.small.count(), 8, "all were lent a moment ago");
        let [first, second, ..] = &mut burst[..] else {
            unreachable!("there are eight");
        };
        buffers.lend(first);
        buffers.lend(second);
        buffers.take_back(first);
        buffers.take_back(second);
        buffers.trim();
        assert_eq!(buffers.small.count(), 2, "never more than two at a time");
        buffers.trim();
        assert_eq!(buffers.small.count(), 0);
    }

    #[test]
    fn the_memory_that_was_used_last_is_kept_and_not_the_one_beneath() {
        let spare = Spare::default();
        for size in [1, 2] {
            spare.keep(vec![0; size]);
        }
        spare.trim();
        let used: Vec<u8> = spare.take().unwrap();
        spare.keep(used);
        spare.trim();
        assert_eq!(*spare.kept.borrow(), [[0; 2]]);
    }

    #[test]
    fn memory_is_lent_again() {
        let buffers = Buffers::default();
        let mut buffer = Buffer::default();
        buffers.lend(&mut buffer);
        buffers.grow(&mut buffer, LARGE);
        buffers.take_back(&mut buffer);
        assert!(buffer.is_bare());
        assert_eq!((buffers.small.count(), buffers.large.count()), (1, 1));
        buffers.lend(&mut buffer);
        assert_eq!(buffers.small.count(), 0);
    }
}
