//! epoll, as far as the roles need it: edge-triggered, both directions, registered once.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
};

/// Events taken with one call; further ones come with the next.
const BATCH: usize = 1024;

/// An epoll instance.
pub(super) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

/// What became possible on a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    /// What [`Poller::add`] was given.
    pub(super) token: u64,
    /// Something can be read, an end included.
    pub(super) readable: bool,
    /// Something can be written.
    pub(super) writable: bool,
    /// The other side will send no more, or the socket is broken: read on until that is seen.
    pub(super) ending: bool,
}

impl Poller {
    /// A new instance.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(BATCH),
        })
    }

    /// Reports a socket from now on, each time that it becomes readable or writable.
    pub(super) fn add(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(
            &self.epoll,
            socket,
            EventData::new_u64(token),
            flags,
        )?)
    }

    /// Reports a listening socket as long as a connection waits in it.
    pub(super) fn add_listener(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            socket,
            EventData::new_u64(token),
            EventFlags::IN,
        )?)
    }

    /// Waits until something is ready, or for `timeout`.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.events.clear();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How many are ready after [`Poller::wait`].
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// The one at `index`.
    pub(super) fn ready(&self, index: usize) -> Ready {
        let Event { flags, data, .. } = self.events[index];
        Ready {
            token: data.u64(),
            readable: flags
                .intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
            writable: flags.contains(EventFlags::OUT),
            ending: flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
        }
    }
}
