//! A worker's connections to one server.
//!
//! A connection has no task of its own: the request that uses it drives it, so a byte from the server wakes the one
//! task that also writes to the client. Before one that nobody used is used again, it is asked whether the server has
//! closed it in the meantime.

use std::{
    cell::{Cell, RefCell},
    io,
    mem::MaybeUninit,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::net::TcpStream;

use crate::{
    model::ServerId,
    policy::Limits,
    snapshot::{ConnectionSlot, LiveServer},
    stats::ServerShard,
};

use super::{buffer::Buffer, retry::Replay, socket::Socket};

/// The longest that a connection may have been unused when it carries a request that cannot be repeated.
const FRESH: Duration = Duration::from_millis(500);
/// For how long it is remembered after what time a server closed a connection.
const MEMORY: Duration = Duration::from_mins(1);

/// A server as one worker knows it.
pub(super) struct Upstream {
    pub(super) live: Arc<LiveServer>,
    worker: usize,
    /// The connection that was used last is used next: those beneath may grow old.
    idle: RefCell<Vec<IdleConnection>>,
    most_idle: usize,
    /// When a connection was last found closed, and how long it had been unused at the most.
    closes_after: Cell<Option<(Instant, Duration)>>,
}

struct IdleConnection {
    connection: Connection,
    since: Instant,
}

/// A connection to a server.
pub(super) struct Connection {
    pub(super) address: SocketAddr,
    pub(super) stream: Socket,
    /// What the server sent and nobody has used.
    pub(super) buffer: Buffer,
    /// Whether it has carried a request before.
    pub(super) reused: bool,
    _open: OpenConnection,
}

/// Counts the connection for as long as it is open.
struct OpenConnection {
    live: Arc<LiveServer>,
    worker: usize,
    _slot: ConnectionSlot,
}

impl Upstream {
    /// `most_idle`: how many unused connections this worker may keep.
    pub(super) fn new(live: Arc<LiveServer>, worker: usize, most_idle: usize) -> Rc<Self> {
        Rc::new(Self {
            live,
            worker,
            idle: RefCell::default(),
            most_idle,
            closes_after: Cell::new(None),
        })
    }

    pub(super) fn id(&self) -> ServerId {
        self.live.id
    }

    pub(super) fn counters(&self) -> &ServerShard {
        self.live.shards.of(self.worker)
    }

    /// An unused connection that the server has not closed.
    ///
    /// A server may close one in the moment in which a request is written to it. Where the request can be repeated,
    /// nobody notices. Where it cannot be, only a connection is taken that was in use just now, and more so when the
    /// server is known to close connections soon; and the kernel is asked, not the last event that it sent.
    pub(super) fn checkout(&self, replay: Replay) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(newest) = idle.last() {
            if replay == Replay::Never && newest.since.elapsed() > self.fresh() {
                return None;
            }
            let IdleConnection {
                mut connection,
                since,
            } = idle.pop()?;
            let fit = match replay {
                Replay::Possible => connection.is_quiet(),
                Replay::Never => connection.is_quiet() && connection.is_quiet_now(),
            };
            if fit {
                connection.reused = true;
                return Some(connection);
            }
            self.was_closed(since);
        }
        None
    }

    fn fresh(&self) -> Duration {
        match self.closes_after.get() {
            Some((noticed, after)) if noticed.elapsed() < MEMORY => FRESH.min(after / 2),
            _ => FRESH,
        }
    }

    fn was_closed(&self, since: Instant) {
        let after = since.elapsed().min(self.fresh() * 2);
        self.closes_after.set(Some((Instant::now(), after)));
    }

    /// A reused connection turned out to be closed when a request was already written to it.
    pub(super) fn closed_under_a_request(&self) {
        self.closes_after
            .set(Some((Instant::now(), Duration::ZERO)));
    }

    /// Room for a new connection, unless there are as many as there may be.
    pub(super) fn slot(&self, limits: &Limits) -> Option<ConnectionSlot> {
        self.live.connection_slot(limits.server_connections)
    }

    /// Opens a connection.
    pub(super) async fn connect(&self, slot: ConnectionSlot) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.live.address).await?;
        if self.live.address.ip().is_loopback() && stream.local_addr()? == self.live.address {
            // TCP connects a port to itself when nothing listens there and it is chosen as the local one.
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        let counters = self.counters();
        counters.connections.rise();
        counters.connections_total.add(1);
        let open = OpenConnection {
            live: Arc::clone(&self.live),
            worker: self.worker,
            _slot: slot,
        };
        Ok(Connection {
            address: self.live.address,
            stream: Socket::Watched(stream),
            buffer: Buffer::default(),
            reused: false,
            _open: open,
        })
    }

    /// Keeps a connection for the next request, when there is room. Its buffer has to be empty, and bare.
    pub(super) fn release(&self, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.most_idle && connection.buffer.is_bare() {
            idle.push(IdleConnection {
                connection,
                since: Instant::now(),
            });
        }
    }

    /// Closes the unused connections that the server has closed, or that nobody used for `longest`.
    pub(super) fn sweep(&self, longest: Duration) {
        self.idle.borrow_mut().retain(|idle| {
            if idle.since.elapsed() >= longest {
                return false;
            }
            let quiet = idle.connection.is_quiet();
            if !quiet {
                self.was_closed(idle.since);
            }
            quiet
        });
    }

    /// Closes all unused connections.
    pub(super) fn close_idle(&self) {
        self.idle.borrow_mut().clear();
    }
}

impl Connection {
    /// Whether nothing has come on it, as far as this thread has been told. Between two requests a server has nothing
    /// to say: not even bytes, which nobody asked for.
    fn is_quiet(&self) -> bool {
        let nothing = self.stream.read(&mut [0]);
        matches!(nothing, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The same, as far as the kernel knows.
    fn is_quiet_now(&self) -> bool {
        let kernel = self.stream.options();
        let nothing = kernel.and_then(|kernel| kernel.peek(&mut [MaybeUninit::uninit()]));
        matches!(nothing, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.live.shards.of(self.worker).connections.fall();
    }
}
