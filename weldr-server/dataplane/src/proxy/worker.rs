//! A thread of the data path, with its own runtime, listeners, connections and counters. Workers share
//! nothing that is written for each request.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{self, SocketAddr},
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use rustc_hash::FxHashMap;
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::{Builder, LocalOptions},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError, watch},
    task::{JoinSet, spawn_local},
    time,
};
use tokio_util::sync::CancellationToken;

use crate::{
    model::ServerId,
    policy::{AccessLogOptions, HttpPolicy, Limits, Timeouts},
    snapshot::{Snapshot, Snapshots, Unavailable, WorkerReader},
    stats::{ClientShard, Sharded},
};

use super::{
    access_log::{self, AccessLog, AccessLogEnd, OpenError as AccessLogError, Writer},
    buffer::Buffers,
    bursts::Bursts,
    clock::{Clock, HttpDate},
    deadline::Deadlines,
    error::ProxyError,
    headers::Ids,
    http1::{Field, HeadLimits},
    listener::{self, Listeners},
    parked::ClientConnection,
    retry::{self, Progress, Replay},
    select::Selector,
    socket::Socket,
    upstream::Upstream,
};

/// For how long a draining worker still serves the requests of connections that are open and idle: a client
/// that sends one just then is told to close by its answer, not by a reset.
const LAME_DUCK: Duration = Duration::from_millis(200);
/// How often what is kept for the next request is looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// Sockets that are ready and get their turn before it is looked which others are: so many that a burst is worth it, and
/// so few that what belongs to the first of them is still in the caches when it sends.
const SOCKETS_AT_A_TIME: u32 = 64;
/// Turns of tasks before it is looked which sockets are ready: all that the sockets of one look take.
const TURNS_AT_A_TIME: u32 = 4 * SOCKETS_AT_A_TIME;

/// What the workers are made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// How much to hold.
    pub limits: Limits,
    /// What to make of messages.
    pub http: HttpPolicy,
    /// What to write of requests.
    pub access_log: AccessLogOptions,
    /// What to act on.
    pub snapshots: Snapshots,
    /// Where to count, a shard for each worker.
    pub clients: Arc<Sharded<ClientShard>>,
    /// The commands that add a server, for who finds none: each on a line.
    pub how_to_add: String,
    /// What clients are to be told of an address that leaves this machine.
    pub hand_over: watch::Receiver<HandOver>,
    /// When to stop accepting and finish.
    pub stop: CancellationToken,
    /// How long finishing may take.
    pub stop_timeout: Duration,
}

/// What a data path that goes on does for an address that leaves the machine: once it has, nothing can be answered to
/// who connected to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HandOver {
    /// Nothing: no address leaves.
    #[default]
    None,
    /// Answers say that the connection closes.
    Closing,
    /// And nobody new is let in: a SYN is dropped, for its sender to repeat.
    Shut,
    /// And connections without a request are closed. One that was let in just now has sent its request by then.
    Closed,
}

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<thread::JoinHandle<()>>,
    access_log: Option<Writer>,
    /// Closed when the last thread has ended.
    alive: watch::Receiver<()>,
}

/// Why the workers cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no thread for one.
    #[error("a worker thread cannot be started")]
    Thread(#[source] io::Error),
    /// The access log cannot be written.
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
}

impl Workers {
    /// Starts a worker for each set of `listeners`.
    pub fn start(listeners: Listeners, parts: &Parts) -> Result<Self, StartError> {
        let access_log = Writer::open(&parts.access_log)?;
        let connections = Arc::new(Semaphore::new(parts.limits.connections));
        let (lives, alive) = watch::channel(());
        let lives = Arc::new(lives);
        let start = |(index, sockets): (usize, Vec<net::TcpListener>)| {
            let (parts, connections) = (parts.clone(), Arc::clone(&connections));
            let lives = Arc::clone(&lives);
            let log = access_log.as_ref().map(Writer::log);
            thread::Builder::new()
                .name(format!("weldr-worker-{index}"))
                .spawn(move || {
                    let _lives = lives;
                    let runtime = Builder::new_current_thread()
                        .enable_all()
                        .max_io_events_per_tick(SOCKETS_AT_A_TIME as usize)
                        .event_interval(TURNS_AT_A_TIME)
                        .build_local(LocalOptions::default());
                    let ran = runtime.and_then(|runtime| {
                        runtime.block_on(run(index, sockets, parts, connections, log))
                    });
                    if let Err(error) = ran {
                        tracing::error!(%error, worker = index, "a worker cannot start");
                    }
                })
        };
        let threads = listeners
            .workers
            .into_iter()
            .enumerate()
            .map(start)
            .collect::<io::Result<_>>()
            .map_err(StartError::Thread)?;
        Ok(Self {
            threads,
            access_log,
            alive,
        })
    }

    /// Returns when no worker is left, for whatever reason.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut alive = self.alive.clone();
        async move { while alive.changed().await.is_ok() {} }
    }

    /// Blocks until every worker has finished; they do after [`Parts::stop`].
    pub fn join(self) {
        for worker in self.threads {
            if worker.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
        if let Some(access_log) = self.access_log {
            access_log.join();
        }
    }
}

/// What the tasks of a worker share.
pub(super) struct Worker {
    index: usize,
    pub(super) timeouts: Timeouts,
    pub(super) limits: Limits,
    pub(super) http: HttpPolicy,
    /// The commands that add a server.
    pub(super) how_to_add: String,
    pub(super) deadlines: Rc<Deadlines>,
    pub(super) buffers: Buffers,
    pub(super) bursts: Bursts,
    /// Where the fields of a head are put while it is looked at.
    pub(super) fields: RefCell<Vec<Field>>,
    pub(super) access_log: Option<AccessLog>,
    clock: Clock,
    dice: RefCell<fastrand::Rng>,
    pub(super) retries: RefCell<retry::Budget>,
    pub(super) hand_over: watch::Receiver<HandOver>,
    pub(super) stop: CancellationToken,
    counters: Arc<ClientShard>,
    snapshots: RefCell<WorkerReader>,
    selector: Selector,
    /// The ids are our own: nobody can choose them so that they collide.
    upstreams: RefCell<FxHashMap<ServerId, Rc<Upstream>>>,
    most_idle: usize,
    connections: Arc<Semaphore>,
    open: Cell<usize>,
    all_closed: Notify,
    drain: Cell<Drain>,
}

/// How far a worker is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    /// Not at all.
    Serving,
    /// Answers say that the connection closes.
    LameDuck,
    /// Connections without a request are closed.
    Closing,
}

async fn run(
    index: usize,
    sockets: Vec<net::TcpListener>,
    parts: Parts,
    connections: Arc<Semaphore>,
    access_log: Option<AccessLogEnd>,
) -> io::Result<()> {
    let stop_timeout = parts.stop_timeout;
    let worker = Rc::new(Worker::new(index, &parts, connections, access_log));
    let mut acceptors = JoinSet::new();
    for socket in sockets {
        #[expect(
            deprecated,
            reason = "what is said against it are types whose descriptor changes; that of a listener does not"
        )]
        let listener = AsyncFd::with_interest(socket, Interest::READABLE)?;
        acceptors.spawn_local(listener::accept(Rc::clone(&worker), listener));
    }
    let deadlines = Rc::clone(&worker.deadlines);
    spawn_local(async move { deadlines.run().await });
    spawn_local(follow(Rc::clone(&worker), parts.snapshots));
    spawn_local(sweep(Rc::clone(&worker)));
    spawn_local(follow_hand_over(Rc::clone(&worker)));
    if worker.access_log.is_some() {
        spawn_local(flush_log(Rc::clone(&worker)));
    }
    worker.stop.cancelled().await;
    worker.drain.set(Drain::LameDuck);
    let finish = async {
        while acceptors.join_next().await.is_some() {}
        // Over early when nobody is connected.
        let _ = time::timeout(LAME_DUCK, worker.all_connections_closed()).await;
        worker.drain.set(Drain::Closing);
        worker.deadlines.wake_all();
        worker.all_connections_closed().await;
    };
    if time::timeout(stop_timeout, finish).await.is_err() {
        let open = worker.open.get();
        tracing::warn!(
            worker = index,
            open,
            "connections are cut: the shutdown timeout is over"
        );
    }
    Ok(())
}

/// Keeps up with the snapshots, whether requests come or not.
async fn follow(worker: Rc<Worker>, snapshots: Snapshots) {
    let mut published = snapshots.subscribe();
    let mut removals = None;
    loop {
        let snapshot = worker.snapshots.borrow_mut().acknowledge();
        if removals.replace(snapshot.removals) != Some(snapshot.removals) {
            worker.leave_removed_servers(&snapshot);
        }
        drop(snapshot);
        if published.changed().await.is_err() {
            return; // The control plane is gone; what was published last goes on being served.
        }
    }
}

/// Sends clients away from an address that leaves, and serves on.
async fn follow_hand_over(worker: Rc<Worker>) {
    let mut hand_over = worker.hand_over.clone();
    while hand_over.changed().await.is_ok() && !worker.stop.is_cancelled() {
        worker.drain.set(match *hand_over.borrow_and_update() {
            HandOver::None => Drain::Serving,
            HandOver::Closing | HandOver::Shut => Drain::LameDuck,
            HandOver::Closed => Drain::Closing,
        });
        if worker.closes_idle() {
            worker.deadlines.wake_all();
        }
    }
}

/// Hands over the lines of the access log before they are old.
async fn flush_log(worker: Rc<Worker>) {
    while let Some(log) = &worker.access_log {
        time::sleep(access_log::FLUSH).await;
        log.flush();
    }
}

/// Gives up what is no longer of use: connections to servers, and memory.
async fn sweep(worker: Rc<Worker>) {
    loop {
        time::sleep(SWEEP).await;
        for upstream in worker.upstreams.borrow().values() {
            upstream.sweep(worker.timeouts.server_idle);
        }
        worker.buffers.trim();
    }
}

impl Worker {
    fn new(
        index: usize,
        parts: &Parts,
        connections: Arc<Semaphore>,
        access_log: Option<AccessLogEnd>,
    ) -> Self {
        let workers = parts.clients.workers();
        Self {
            index,
            timeouts: parts.timeouts.clone(),
            limits: parts.limits.clone(),
            http: parts.http.clone(),
            how_to_add: parts.how_to_add.clone(),
            deadlines: Deadlines::new(),
            buffers: Buffers::default(),
            bursts: Bursts::default(),
            fields: RefCell::default(),
            access_log: access_log.map(AccessLog::from),
            clock: Clock::default(),
            dice: RefCell::new(fastrand::Rng::new()),
            retries: RefCell::new(retry::Budget::new()),
            hand_over: parts.hand_over.clone(),
            stop: parts.stop.clone(),
            counters: Arc::clone(parts.clients.of(index)),
            snapshots: RefCell::new(parts.snapshots.reader(index)),
            selector: Selector::new(index, fastrand::Rng::new()),
            upstreams: RefCell::default(),
            most_idle: parts.limits.server_idle_connections.div_ceil(workers),
            connections,
            open: Cell::new(0),
            all_closed: Notify::new(),
            drain: Cell::new(Drain::Serving),
        }
    }

    /// How large a head may be.
    pub(super) fn head_limits(&self) -> HeadLimits {
        HeadLimits {
            bytes: self.limits.header_bytes,
            fields: self.limits.headers,
        }
    }

    /// Now, as a Date field has it.
    pub(super) fn date(&self) -> HttpDate {
        self.clock.date()
    }

    /// Now, and that as a date.
    pub(super) fn now(&self) -> (SystemTime, HttpDate) {
        self.clock.now()
    }

    /// Ids for a request that has none.
    pub(super) fn new_ids(&self) -> Ids {
        let mut dice = self.dice.borrow_mut();
        Ids::new(dice.u128(..), dice.u64(..))
    }

    /// This worker's counters.
    pub(super) fn counters(&self) -> &ClientShard {
        &self.counters
    }

    /// A server for a request that was already `tried` on some.
    ///
    /// The attempt has to be counted before anything is waited for: see
    /// [`Snapshots::seen_by_all_workers`].
    pub(super) fn choose(&self, tried: &[ServerId]) -> Result<Rc<Upstream>, Unavailable> {
        let mut snapshots = self.snapshots.borrow_mut();
        let chosen = self.selector.select(&snapshots.current().pool, tried)?;
        let mut upstreams = self.upstreams.borrow_mut();
        let upstream = upstreams
            .entry(chosen.id)
            .or_insert_with(|| Upstream::new(&chosen.server.live, self.index, self.most_idle));
        Ok(Rc::clone(upstream))
    }

    /// Whether a request may be tried once more, on another server, when it was `tried` so often, sent again on a new
    /// connection (`repeats`), and last ended with `error`.
    pub(super) fn may_retry(
        &self,
        tried: usize,
        repeats: usize,
        error: &ProxyError,
        replay: Replay,
    ) -> bool {
        let Some(progress) = error.verdict().progress else {
            return false;
        };
        let sent = match progress {
            Progress::Unsent => tried,
            Progress::Sent => tried + repeats,
        };
        let allowed = sent <= self.http.retries
            && retry::may_retry(progress, replay, &mut self.retries.borrow_mut());
        self.counters().retries.add(u64::from(allowed));
        allowed
    }

    /// Whether a request may be sent again on a new connection, because the one that it was on was closed in the moment
    /// in which it was used again. What was not sent is not repeated.
    pub(super) fn may_repeat(&self, progress: Progress, replay: Replay) -> bool {
        if progress == Progress::Unsent {
            return true;
        }
        let allowed = self.http.retries > 0
            && retry::may_retry(progress, replay, &mut self.retries.borrow_mut());
        self.counters().retries.add(u64::from(allowed));
        allowed
    }

    /// Serves a new connection, once there is room for it.
    pub(super) async fn welcome(self: &Rc<Self>, stream: net::TcpStream, client: SocketAddr) {
        let connections = &self.connections;
        let room = match Arc::clone(connections).try_acquire_owned() {
            Err(TryAcquireError::NoPermits) => Arc::clone(connections).acquire_owned().await.ok(),
            room => room.ok(),
        };
        let Some(room) = room else {
            return;
        };
        let open = OpenConnection::new(self, room);
        spawn_local(ClientConnection::new(
            Socket::Unwatched(stream),
            client,
            open,
        ));
    }

    /// Whether answers have to end their connections.
    pub(super) fn is_draining(&self) -> bool {
        self.drain.get() != Drain::Serving
    }

    /// Whether connections without a request have to end.
    pub(super) fn closes_idle(&self) -> bool {
        self.drain.get() == Drain::Closing
    }

    async fn all_connections_closed(&self) {
        while self.open.get() > 0 {
            self.all_closed.notified().await;
        }
    }

    /// Cuts what still runs on servers that are gone: they stay in the pool until it has ended or its
    /// deadline is over.
    fn leave_removed_servers(&self, snapshot: &Snapshot) {
        let remains = |upstream: &Upstream| {
            let server = snapshot.pool.server(upstream.address);
            server.is_some_and(|server| server.desired.id == upstream.id)
        };
        self.upstreams.borrow_mut().retain(|id, upstream| {
            let remains = remains(upstream);
            if !remains {
                upstream.close_idle();
                self.deadlines.cut(*id);
            }
            remains
        });
    }
}

/// Counts a client's connection for as long as it is open.
pub(super) struct OpenConnection {
    pub(super) worker: Rc<Worker>,
    _room: OwnedSemaphorePermit,
}

impl OpenConnection {
    fn new(worker: &Rc<Worker>, room: OwnedSemaphorePermit) -> Self {
        worker.counters().connections.rise();
        worker.counters().connections_total.add(1);
        worker.open.set(worker.open.get() + 1);
        Self {
            worker: Rc::clone(worker),
            _room: room,
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.worker.counters().connections.fall();
        self.worker.open.set(self.worker.open.get() - 1);
        if self.worker.open.get() == 0 {
            self.worker.all_closed.notify_one();
        }
    }
}
