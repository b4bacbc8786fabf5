//! Pipes that bytes pass through on their way from one socket to another without leaving the kernel: `splice(2)` moves
//! the pages that hold them instead of copying what is in them.
//!
//! A stream has a pipe only while the pipe holds bytes. An empty pipe is lent to the next stream; one that holds bytes when
//! its stream ends is closed, so that no other stream gets them. The number of pipes of a worker is limited, and the system
//! may refuse more: then bytes are copied instead.

use std::{
    cell::Cell,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    rc::Rc,
};

use crate::buffer::Spare;

use super::cork::Cork;

/// Bytes that a pipe is asked to hold. Bodies of 1 MiB were measured to cost more through pipes of 64 KiB, 128 KiB and
/// 1 MiB.
const CAPACITY: usize = 256 * 1024;
/// Bytes that it must hold at least. The system gives less to a user with many pipes.
const LEAST_CAPACITY: usize = 64 * 1024;
/// Pipes of one worker: a stream that stalls keeps one.
const MOST_PIPES: usize = 64;
/// The pipes of all workers take at most one of so many descriptors.
const SHARE_OF_DESCRIPTORS: u64 = 16;

/// The pipes of a worker.
#[derive(Debug)]
pub(in crate::proxy) struct Pipes {
    spare: Spare<Rc<Ends>>,
    /// The number of pipes, lent or not.
    open: Rc<Cell<usize>>,
    most: usize,
    /// Whether the system has refused one, so that no more are asked for until the next [`trim`](Self::trim).
    refused: Cell<bool>,
}

/// A pipe that is lent to a stream.
#[derive(Debug)]
pub(in crate::proxy) struct Pipe {
    ends: Rc<Ends>,
    /// Bytes in it.
    held: usize,
    pipes: Rc<Pipes>,
}

/// The two ends of a pipe.
#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
    open: Rc<Cell<usize>>,
}

/// How many pipes each of `workers` may have in a process that may open so many `descriptors`; `None`: any number.
pub(in crate::proxy) fn most_pipes(descriptors: Option<u64>, workers: usize) -> usize {
    let share = descriptors.unwrap_or(u64::MAX) / SHARE_OF_DESCRIPTORS / 2;
    let share = usize::try_from(share).unwrap_or(usize::MAX);
    (share / workers.max(1)).min(MOST_PIPES)
}

impl Pipes {
    /// At most `most` pipes.
    pub(in crate::proxy) fn new(most: usize) -> Rc<Self> {
        Rc::new(Self {
            spare: Spare::default(),
            open: Rc::default(),
            most,
            refused: Cell::new(false),
        })
    }

    /// An empty pipe, unless all are lent or the system refuses one.
    pub(in crate::proxy) fn lend(self: &Rc<Self>) -> Option<Pipe> {
        let ends = self.spare.take().or_else(|| self.open_one())?;
        Some(Pipe {
            ends,
            held: 0,
            pipes: Rc::clone(self),
        })
    }

    #[cold]
    fn open_one(&self) -> Option<Rc<Ends>> {
        if self.refused.get() || self.open.get() >= self.most {
            return None;
        }
        match Ends::open(&self.open) {
            Ok(ends) => Some(Rc::new(ends)),
            Err(error) => {
                tracing::debug!(%error, open = self.open.get(), "bodies are copied: no pipe");
                self.refused.set(true);
                None
            }
        }
    }

    #[cfg(test)]
    pub(in crate::proxy) fn open(&self) -> usize {
        self.open.get()
    }

    #[cfg(test)]
    pub(in crate::proxy) fn spare(&self) -> usize {
        self.spare.count()
    }

    /// No more pipes are lent until the next [`trim`](Self::trim): the system cannot use them.
    pub(in crate::proxy) fn refuse(&self) {
        self.refused.set(true);
    }

    /// Closes the pipes that were not used since the last call.
    pub(in crate::proxy) fn trim(&self) {
        self.spare.trim();
        self.refused.set(false);
    }
}

impl Pipe {
    /// Bytes in it.
    pub(in crate::proxy) fn held(&self) -> usize {
        self.held
    }

    /// Takes at most `most` bytes from `socket`. It must be empty: a full pipe and a drained socket look the same.
    pub(super) fn fill(&mut self, socket: BorrowedFd<'_>, most: u64) -> io::Result<usize> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let moved = system::fill(&self.ends, socket, most.min(self.ends.capacity))?;
        self.held += moved;
        Ok(moved)
    }

    /// Gives `socket` as much of what it holds as is taken.
    pub(super) fn drain(&mut self, socket: BorrowedFd<'_>, cork: Cork) -> io::Result<usize> {
        let moved = system::drain(&self.ends, socket, self.held, cork)?;
        self.held = self.held.saturating_sub(moved);
        Ok(moved)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if self.held == 0 {
            self.pipes.spare.keep(Rc::clone(&self.ends));
        }
    }
}

impl Ends {
    fn open(open: &Rc<Cell<usize>>) -> io::Result<Self> {
        let (read, write, capacity) = system::open()?;
        if capacity < LEAST_CAPACITY {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        open.set(open.get() + 1);
        Ok(Self {
            read,
            write,
            capacity,
            open: Rc::clone(open),
        })
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.open.set(self.open.get().saturating_sub(1));
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::{
        io,
        os::fd::{BorrowedFd, OwnedFd},
    };

    use rustix::{
        io::retry_on_intr,
        pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice},
    };

    use super::{CAPACITY, Cork, Ends};

    /// A pipe, and how much it holds.
    pub(super) fn open() -> io::Result<(OwnedFd, OwnedFd, usize)> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused to a user with many pipes. What it holds without that may be enough.
        let set = fcntl_setpipe_size(&write, CAPACITY);
        let capacity = set.or_else(|_| fcntl_getpipe_size(&write))?;
        Ok((read, write, capacity))
    }

    pub(super) fn fill(ends: &Ends, from: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        Ok(retry_on_intr(|| {
            splice(from, None, &ends.write, None, most, flags)
        })?)
    }

    pub(super) fn drain(
        ends: &Ends,
        to: BorrowedFd<'_>,
        held: usize,
        cork: Cork,
    ) -> io::Result<usize> {
        let mut flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        if cork != Cork::Off {
            flags |= SpliceFlags::MORE;
        }
        Ok(retry_on_intr(|| {
            splice(&ends.read, None, to, None, held, flags)
        })?)
    }
}

/// Elsewhere there is no splice(2), and bytes are copied.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::{
        io,
        os::fd::{BorrowedFd, OwnedFd},
    };

    use super::{Cork, Ends};

    pub(super) fn open() -> io::Result<(OwnedFd, OwnedFd, usize)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn fill(_: &Ends, _: BorrowedFd<'_>, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn drain(_: &Ends, _: BorrowedFd<'_>, _: usize, _: Cork) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        os::fd::AsFd as _,
    };

    use super::*;

    /// Two ends of a connection, of which the first does not block.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        (ours, peer)
    }

    #[test]
    fn bytes_pass_in_their_order() {
        let pipes = Pipes::new(1);
        let (from, mut origin) = connection();
        let (to, mut client) = connection();
        let mut pipe = pipes.lend().unwrap();
        let nothing = pipe.fill(from.as_fd(), 100).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        origin.write_all(b"abcdef").unwrap();
        assert_eq!(pipe.fill(from.as_fd(), 4).unwrap(), 4, "no more than asked");
        assert_eq!(pipe.drain(to.as_fd(), Cork::Off).unwrap(), 4);
        assert_eq!(pipe.held(), 0);
        assert_eq!(pipe.fill(from.as_fd(), 4).unwrap(), 2);
        assert_eq!(pipe.drain(to.as_fd(), Cork::Off).unwrap(), 2);
        drop(origin);
        assert_eq!(pipe.fill(from.as_fd(), 4).unwrap(), 0, "the end");
        let mut all = [0; 6];
        client.read_exact(&mut all).unwrap();
        assert_eq!(&all, b"abcdef");
    }

    #[test]
    fn an_empty_pipe_is_lent_again_and_one_with_bytes_never() {
        let pipes = Pipes::new(1);
        let (from, mut origin) = connection();
        drop(pipes.lend().unwrap());
        assert_eq!((pipes.open(), pipes.spare()), (1, 1));
        let mut pipe = pipes.lend().unwrap();
        origin.write_all(b"of somebody").unwrap();
        pipe.fill(from.as_fd(), 100).unwrap();
        drop(pipe);
        assert_eq!((pipes.open(), pipes.spare()), (0, 0));
    }

    #[test]
    fn there_are_no_more_than_there_may_be() {
        let pipes = Pipes::new(2);
        let (first, second) = (pipes.lend(), pipes.lend());
        assert!(first.is_some() && second.is_some() && pipes.lend().is_none());
        drop(second);
        assert!(pipes.lend().is_some());
    }

    #[test]
    fn unused_pipes_are_closed() {
        let pipes = Pipes::new(2);
        drop((pipes.lend(), pipes.lend()));
        pipes.trim();
        assert_eq!(pipes.open(), 2, "both were lent a moment ago");
        drop(pipes.lend());
        pipes.trim();
        assert_eq!(pipes.open(), 1);
        pipes.trim();
        assert_eq!(pipes.open(), 0);
    }

    #[test]
    fn a_system_that_refuses_is_asked_again_later() {
        let pipes = Pipes::new(1);
        pipes.refuse();
        assert!(pipes.lend().is_none());
        pipes.trim();
        assert!(pipes.lend().is_some());
    }

    #[test]
    fn pipes_leave_descriptors_for_connections() {
        assert_eq!(most_pipes(None, 1), MOST_PIPES);
        assert_eq!(most_pipes(Some(1 << 20), 8), MOST_PIPES);
        assert_eq!(most_pipes(Some(1024), 2), 16);
        assert_eq!(most_pipes(Some(64), 1), 2);
        assert_eq!(most_pipes(Some(64), 8), 0);
    }
}
