//! A worker's connections to one server.
//!
//! A connection has no task of its own: the request that uses it drives it, so a byte from the server wakes the one
//! task that also writes to the client. Before an idle connection is reused, the kernel is asked whether the server has
//! closed it in the meantime.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::{
    buffer::Buffer,
    model::{Reason, SendProxyProtocol, ServerId},
    proxy_protocol::{Ends, header},
    snapshot::{ConnectionSlot, LiveServer, PoolSecurity, RequestSlot},
    stats::{ForwardedShard, ServerShard},
    tls::ToServer,
};

use super::{
    attempt_policy::AttemptPolicy,
    handshake::secure_to_server,
    retry::Replay,
    transport::{Cork, Transport},
};

/// The longest idle time of a connection that may carry a request that cannot be repeated.
const FRESH: Duration = Duration::from_millis(500);
/// For how long the idle time after which a server closed a connection is remembered.
const MEMORY: Duration = Duration::from_mins(1);

/// One worker's view of a server, and its connections to it.
///
/// A request that finds an unused connection touches only this value and the server's counters, no data of other workers.
pub(super) struct Upstream {
    pub(super) id: ServerId,
    pub(super) address: SocketAddr,
    pub(super) counters: Arc<ServerShard>,
    /// A stack: the connection that was used last is used next, so the others can reach their idle timeout.
    idle: RefCell<Vec<IdleConnection>>,
    live: Arc<LiveServer>,
    worker: usize,
    /// Requests of this worker that wait until the server has room, for a request or for a connection.
    waiting: Cell<usize>,
    /// Told when a connection becomes unused while requests of this worker wait.
    released: Rc<Notify>,
    /// The policy of its pool, from the snapshot with which the server was last chosen.
    policy: RefCell<Rc<AttemptPolicy>>,
    /// The changes of the pool up to which that is.
    pub(super) followed: Cell<Option<u64>>,
    /// How connections to it are secured.
    security: RefCell<UpstreamSecurity>,
    /// Counts the changes of that: a connection of an earlier time is not used again.
    generation: Cell<u32>,
    /// When a connection was last found closed, and an upper bound of its idle time.
    closes_after: Cell<Option<(Instant, Duration)>>,
}

/// How connections to a server are secured.
#[derive(Default)]
struct UpstreamSecurity {
    of_pool: PoolSecurity,
    /// What handshakes need; `None`: there are none.
    to_server: Option<ToServer>,
}

/// A connection without a request. No bytes of it are unread, so it has no buffer.
struct IdleConnection {
    transport: Transport,
    count: ConnectionCount,
    since: Instant,
    tag: ConnectionTag,
}

/// What decides which requests may use a connection.
pub(super) struct ConnectionTag {
    /// The client's connection that its header of the PROXY protocol names; only requests on that may use it.
    pub(super) ends: Option<Rc<Ends>>,
    generation: u32,
}

/// A connection to a server.
pub(super) struct Connection {
    pub(super) transport: Transport,
    /// Bytes that were read from the server and not consumed.
    pub(super) buffer: Buffer,
    /// Whether it has carried a request before.
    pub(super) reused: bool,
    count: ConnectionCount,
    tag: ConnectionTag,
}

/// Counts the connection for as long as it is open.
struct ConnectionCount {
    counters: Arc<ServerShard>,
    slot: ConnectionSlot,
    _permit: OwnedSemaphorePermit,
}

impl Upstream {
    /// `released` is told of connections that become unused for which requests wait.
    pub(super) fn new(
        live: &Arc<LiveServer>,
        worker: usize,
        policy: Rc<AttemptPolicy>,
        released: &Rc<Notify>,
    ) -> Rc<Self> {
        Rc::new(Self {
            id: live.id,
            address: live.address,
            counters: Arc::clone(live.shards.of(worker)),
            idle: RefCell::default(),
            live: Arc::clone(live),
            worker,
            waiting: Cell::new(0),
            released: Rc::clone(released),
            policy: RefCell::new(policy),
            followed: Cell::new(None),
            security: RefCell::default(),
            generation: Cell::new(0),
            closes_after: Cell::new(None),
        })
    }

    /// This worker's counters of the requests for its pool.
    pub(super) fn requests(&self) -> &ForwardedShard {
        &self.live.pool.of(self.worker).requests
    }

    /// The policy of its pool.
    pub(super) fn policy(&self) -> Rc<AttemptPolicy> {
        Rc::clone(&self.policy.borrow())
    }

    /// Sets the policy of its pool. Connections that name their clients otherwise are closed when they are unused.
    pub(super) fn set_policy(&self, policy: Rc<AttemptPolicy>) {
        let proxy_protocol = policy.proxy_protocol;
        let before = self.policy.replace(policy);
        if before.proxy_protocol != proxy_protocol {
            self.begin_generation();
        }
    }

    /// Whether a connection names the client at its begin, and carries requests of that one only.
    pub(super) fn names_clients(&self) -> bool {
        self.policy.borrow().proxy_protocol != SendProxyProtocol::Off
    }

    /// What a connection for requests of the client with these `ends` is tagged with, if it is opened now.
    pub(super) fn tag(&self, ends: Option<Rc<Ends>>) -> ConnectionTag {
        ConnectionTag {
            ends,
            generation: self.generation.get(),
        }
    }

    /// Lets no connection of the time before be used again.
    fn begin_generation(&self) {
        self.generation.set(self.generation.get().wrapping_add(1));
        self.close_idle();
    }

    /// Sets how connections to it are secured. Those that are secured otherwise are closed when they are unused.
    pub(super) fn set_security(&self, security: &PoolSecurity) {
        if self.security.borrow().of_pool == *security {
            return;
        }
        let to_server = match security {
            PoolSecurity::Tls(tls) => Some(tls.to_server(self.address.ip())),
            PoolSecurity::Plain | PoolSecurity::Unusable(_) => None,
        };
        let of_pool = security.clone();
        self.security
            .replace(UpstreamSecurity { of_pool, to_server });
        self.begin_generation();
    }

    /// Names the client with these `ends` to the server on `transport`, on which nothing has passed. What is written waits for
    /// the bytes that must follow at once.
    pub(super) async fn name_client(
        &self,
        transport: &mut Transport,
        ends: &Ends,
    ) -> io::Result<()> {
        let header = header(self.policy().proxy_protocol, *ends);
        transport.write_all(&header, Cork::UntilMore).await
    }

    /// `transport`, on which nothing has passed, secured as the pool wants it.
    pub(super) async fn secure(&self, transport: Transport) -> io::Result<Transport> {
        let to_server = match &*self.security.borrow() {
            UpstreamSecurity {
                to_server: Some(to_server),
                ..
            } => to_server.clone(),
            UpstreamSecurity {
                of_pool: PoolSecurity::Unusable(why),
                ..
            } => return Err(io::Error::new(io::ErrorKind::InvalidInput, why.to_string())),
            _ => return Ok(transport),
        };
        let ToServer { config, name } = to_server;
        Box::pin(secure_to_server(transport, config, name)).await
    }

    fn most_connections(&self) -> usize {
        self.policy.borrow().connections
    }

    /// What the server accumulates while it lives.
    pub(super) fn live(&self) -> &Arc<LiveServer> {
        &self.live
    }

    /// An unused connection on which nothing has come, neither bytes nor an end, as far as the kernel knows.
    ///
    /// Bytes that no request asked for would be taken for the response of the next request, so the kernel is asked for
    /// every method; the last event that it reported is older. A server may still close a connection in the moment in
    /// which a request is written to it. A request that can be repeated then is. One that cannot takes only a connection
    /// that was in use just now, and within less time when the server is known to close connections soon.
    ///
    /// `ends`: the connection of the client, if connections to the server name it.
    pub(super) fn checkout(&self, replay: Replay, ends: Option<&Ends>) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(at) = newest(&idle, ends) {
            let newest = &mut idle[at];
            if replay == Replay::Never && newest.since.elapsed() > self.fresh() {
                return None;
            }
            let fit = newest.transport.is_idle_in_kernel();
            let IdleConnection {
                transport,
                count,
                since,
                tag,
            } = idle.remove(at);
            if fit {
                return Some(Connection {
                    transport,
                    buffer: Buffer::default(),
                    reused: true,
                    count,
                    tag,
                });
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

    /// Records that the server closed a reused connection while a request was written to it.
    pub(super) fn closed_under_a_request(&self) {
        self.closes_after
            .set(Some((Instant::now(), Duration::ZERO)));
    }

    /// Tells the prober that a request could not connect.
    pub(super) fn could_not_connect(&self, reason: Reason) {
        self.counters.connect_failures.add(1);
        self.live.report_connect_failure(reason);
    }

    /// A slot for a new connection, which may take the place of an unused one of this worker; `None` when the server is at
    /// its connection limit.
    pub(super) fn slot(&self) -> Option<ConnectionSlot> {
        let slot = || self.live.connection_slot(self.most_connections());
        slot().or_else(|| self.close_longest_unused().then(slot).flatten())
    }

    /// How many requests of the node may run on the server; 0: any number.
    pub(super) fn most_requests(&self) -> u32 {
        self.policy.borrow().limit.requests
    }

    /// The right to one of at most `limit` requests.
    pub(super) fn request_slot(&self, limit: u32) -> Option<RequestSlot> {
        self.live.request_slot(limit)
    }

    /// Whether the server may run one more request.
    pub(super) fn has_request_slot(&self) -> bool {
        let limit = self.most_requests();
        limit == 0 || self.live.has_request_slot(limit)
    }

    /// Notes whether a request failed by the fault of the server, which is ejected when that happens often.
    pub(super) fn note_outcome(&self, faulty: bool) {
        let limit = self.policy.borrow().eject_after;
        if limit > 0 {
            self.live.note_outcome(faulty, limit);
        }
    }

    /// Whether a request would find a connection or room for one.
    pub(super) fn has_room(&self) -> bool {
        self.live.has_room(self.most_connections()) || !self.idle.borrow().is_empty()
    }

    /// Counts a request of this worker that waits for room, until [`Self::waits_no_more`]. `for_connection`: other workers
    /// learn of it, and give unused connections up.
    pub(super) fn waits(&self, for_connection: bool) {
        self.waiting.set(self.waiting.get() + 1);
        if for_connection {
            self.live.waits();
        }
    }

    /// Counts the end of a request's wait.
    pub(super) fn waits_no_more(&self, for_connection: bool) {
        self.waiting.set(self.waiting.get() - 1);
        if for_connection {
            self.live.waits_no_more();
        }
    }

    /// Whether requests of this worker wait for room.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Demands a connection of another worker, unless this worker has one: its own requests then use it in turn.
    pub(super) fn demand(&self) {
        if self.counters.connections.get() == 0 {
            self.live.demand();
        }
    }

    /// Closes the connection that has been unused for longest, if the server is full and requests of other workers wait.
    pub(super) fn yield_to_waiting(&self) {
        let is_full = !self.live.has_room(self.most_connections());
        if self.live.is_waited_for() && is_full && self.waiting.get() == 0 {
            self.close_longest_unused();
        }
    }

    /// Wraps a connection that was just opened. `permit` counts it against the limit of connections to all servers.
    pub(super) fn opened(
        &self,
        transport: Transport,
        slot: ConnectionSlot,
        permit: OwnedSemaphorePermit,
        tag: ConnectionTag,
    ) -> Connection {
        Connection {
            transport,
            buffer: Buffer::default(),
            reused: false,
            count: ConnectionCount::new(&self.counters, slot, permit),
            tag,
        }
    }

    /// Keeps a connection for the next request, when there is room. Its buffer must be empty and hold no memory.
    pub(super) fn release(&self, connection: Connection) {
        if self.live.is_waited_for() && !self.keeps_for_waiting() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let most = self.policy.borrow().idle_connections;
        if connection.tag.ends.is_some() && idle.len() >= most && most > 0 {
            // Its client may be gone. That of the connection that was used just now is not.
            idle.remove(0);
        }
        let has_room = idle.len() < most;
        let is_current = connection.tag.generation == self.generation.get();
        if has_room && is_current && connection.buffer.is_bare() {
            idle.push(IdleConnection {
                transport: connection.transport,
                count: connection.count,
                since: Instant::now(),
                tag: connection.tag,
            });
        }
    }

    /// Whether a connection that becomes unused while requests wait is for one of this worker. Closed, it makes room for
    /// one of another worker.
    #[cold]
    fn keeps_for_waiting(&self) -> bool {
        let keeps = self.waiting.get() > 0 && !self.live.take_demand();
        if keeps {
            self.released.notify_one();
        }
        keeps
    }

    /// Closes the unused connections that the server has closed, or that were unused for too long.
    pub(super) fn sweep(&self) {
        let longest = self.policy.borrow().server_idle;
        self.idle.borrow_mut().retain_mut(|idle| {
            if idle.since.elapsed() >= longest {
                return false;
            }
            let quiet = idle.transport.is_idle();
            if !quiet {
                self.was_closed(idle.since);
            }
            quiet
        });
    }

    /// Since when the longest unused connection has been unused.
    pub(super) fn unused_since(&self) -> Option<Instant> {
        self.idle.borrow().first().map(|oldest| oldest.since)
    }

    /// Closes the connection that has been unused for longest. Returns whether there was one.
    pub(super) fn close_longest_unused(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let any = !idle.is_empty();
        if any {
            idle.remove(0);
        }
        any
    }

    /// Closes all unused connections.
    pub(super) fn close_idle(&self) {
        self.idle.borrow_mut().clear();
    }
}

/// The place of the connection that was used last, of those that name the client's connection with these `ends`.
fn newest(idle: &[IdleConnection], ends: Option<&Ends>) -> Option<usize> {
    match ends {
        None => idle.len().checked_sub(1),
        Some(_) => idle
            .iter()
            .rposition(|unused| unused.tag.ends.as_deref() == ends),
    }
}

impl Connection {
    /// The server's address.
    pub(super) fn address(&self) -> SocketAddr {
        self.count.slot.server().address
    }
}

impl ConnectionCount {
    fn new(
        counters: &Arc<ServerShard>,
        slot: ConnectionSlot,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        counters.connections.rise();
        counters.connections_total.add(1);
        Self {
            counters: Arc::clone(counters),
            slot,
            _permit: permit,
        }
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.counters.connections.fall();
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener};

    use super::*;
    use crate::{
        model::{PoolName, PoolSettings},
        policy::{Limits, Timeouts},
        snapshot::LivePool,
    };

    /// The runtime learns of the bytes only when it asks the kernel, which may be after the connection is taken.
    #[tokio::test]
    async fn a_connection_on_which_something_has_come_is_not_reused_for_any_request() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let pool = LivePool::new(PoolName::default(), 1);
        let (live, _failures) = LiveServer::new(pool, ServerId(1), address);
        let (timeouts, limits) = (Timeouts::default(), Limits::default());
        let policy = AttemptPolicy::new(&PoolSettings::default(), &timeouts, &limits, 1, 1);
        let upstream = Upstream::new(&live, 0, Rc::new(policy), &Rc::default());
        let permits = Arc::new(tokio::sync::Semaphore::new(8));
        for replay in [Replay::Possible, Replay::Never] {
            let slot = upstream.slot().unwrap();
            let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
            let transport = Transport::connect(address).await.unwrap();
            let connection = upstream.opened(transport, slot, permit, upstream.tag(None));
            let (mut server, _) = listener.accept().unwrap();
            upstream.release(connection);
            let unused = upstream.checkout(replay, None);
            upstream.release(unused.unwrap());
            server.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            assert!(upstream.checkout(replay, None).is_none(), "{replay:?}");
        }
    }
}
