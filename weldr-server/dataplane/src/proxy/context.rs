//! What the code that serves a request borrows from its worker: clocks, buffers, counters, budgets, and the servers of the
//! current snapshot. Workers share nothing that is written for each request.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustc_hash::FxHashMap;
use rustix::process::{Resource, getrlimit};
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    buffer::Buffers,
    http1::{Field, HeadLimits},
    liveness::Tasks,
    model::{ListenerName, ListenerPolicy, PoolName, PoolSettings, SendProxyProtocol, ServerId},
    policy::{AccessLogOptions, HttpPolicy, Limits, Timeouts},
    snapshot::{
        ListenerView, PoolView, Snapshot, Snapshots, Unavailable, WorkerReader,
        routes::{PoolRef, PoolShares},
    },
    stats::{ClientShard, Sharded},
    stickiness::SessionKeys,
};

use super::{
    accept_log::AcceptLog,
    access_log::{AccessLog, AccessLogEnd},
    admission::{Admission, ClientLimit},
    arrival_order::ArrivalOrder,
    attempt_policy::AttemptPolicy,
    batching::WriteBatching,
    client_addresses::{AddressTables, ClientAddresses},
    client_policy::ClientPolicy,
    clock::{Clock, HttpDate},
    deadline::Deadlines,
    drain::{Drain, HandOver},
    error::Verdict,
    failure_log::FailureLog,
    handshake::HandshakeTurns,
    headers::Ids,
    retry,
    select::{Selector, Tried},
    server_limit::ServerLimit,
    transport::{Pipes, Transport, most_pipes},
    upstream::Upstream,
};

/// What all workers are made of.
#[derive(Debug, Clone)]
pub struct WorkerParts {
    /// How long the data path waits, and for what.
    pub timeouts: Timeouts,
    /// How much the data path holds.
    pub limits: Limits,
    /// How messages are read and changed.
    pub http: HttpPolicy,
    /// What is written of requests.
    pub access_log: AccessLogOptions,
    /// Where the servers come from.
    pub snapshots: Snapshots,
    /// How many connections to all servers may be open, idle ones included.
    pub all_server_connections: usize,
    /// Where requests are counted, a shard for each worker.
    pub clients: Arc<Sharded<ClientShard>>,
    /// The commands that add a server, one on a line: a response says them when the pool is empty.
    pub how_to_add: String,
    /// How far clients are sent away from an address that leaves this machine.
    pub hand_over: watch::Receiver<HandOver>,
    /// The addresses that may leave this machine.
    pub virtual_addresses: Arc<[IpAddr]>,
    /// Cancelled when the workers stop accepting connections and finish what runs.
    pub stop: CancellationToken,
    /// How long finishing may take.
    pub stop_timeout: Duration,
    /// Where each worker shows that it goes on.
    pub tasks: Tasks,
}

/// The limits that all workers share.
#[derive(Clone)]
pub(super) struct SharedLimits {
    pub(super) clients: Arc<ClientLimit>,
    pub(super) servers: Arc<ServerLimit>,
    pub(super) addresses: Arc<AddressTables>,
}

impl SharedLimits {
    /// The limits for `workers` workers.
    pub(super) fn new(parts: &WorkerParts, workers: usize) -> Self {
        Self {
            clients: ClientLimit::new(parts.limits.connections, workers),
            servers: ServerLimit::new(parts.all_server_connections, workers),
            addresses: Arc::default(),
        }
    }
}

/// What the tasks of one worker share.
pub(super) struct WorkerContext {
    index: usize,
    /// How many workers there are.
    workers: usize,
    /// The options of the node. Listeners and pools may say something else.
    pub(super) timeouts: Timeouts,
    limits: Limits,
    http: HttpPolicy,
    /// For pools that set nothing of their policy.
    attempts: Rc<AttemptPolicy>,
    pub(super) how_to_add: String,
    pub(super) deadlines: Rc<Deadlines>,
    pub(super) buffers: Buffers,
    pub(super) pipes: Rc<Pipes>,
    pub(super) batching: WriteBatching,
    /// Scratch memory for the fields of the head that is being read.
    pub(super) fields: RefCell<Vec<Field>>,
    pub(super) access_log: Option<AccessLog>,
    pub(super) retries: RefCell<retry::Budget>,
    pub(super) admission: Admission,
    pub(super) handshakes: HandshakeTurns,
    pub(super) server_limit: Arc<ServerLimit>,
    addresses: Arc<AddressTables>,
    pub(super) failures: FailureLog,
    pub(super) accept_log: AcceptLog,
    pub(super) hand_over: watch::Receiver<HandOver>,
    pub(super) stop: CancellationToken,
    virtual_addresses: Arc<[IpAddr]>,
    drain: Cell<Drain>,
    clock: Clock,
    rng: RefCell<fastrand::Rng>,
    counters: Arc<ClientShard>,
    snapshots: RefCell<WorkerReader>,
    selector: Selector,
    /// The keys are our own ids, so nobody can choose them to collide.
    upstreams: RefCell<FxHashMap<ServerId, Rc<Upstream>>>,
    /// Told when a connection to a server becomes unused for which requests of this worker wait.
    pub(super) released: Rc<Notify>,
    /// The requests that wait for servers, by their pools.
    waiting: RefCell<FxHashMap<PoolName, Rc<ArrivalOrder>>>,
}

impl WorkerContext {
    pub(super) fn new(
        index: usize,
        parts: &WorkerParts,
        shared: SharedLimits,
        access_log: Option<AccessLogEnd>,
    ) -> Self {
        let workers = parts.clients.workers();
        let deadlines = Deadlines::new();
        Self {
            index,
            workers,
            timeouts: parts.timeouts.clone(),
            limits: parts.limits.clone(),
            http: parts.http.clone(),
            attempts: Rc::new(AttemptPolicy::new(
                &PoolSettings::default(),
                &parts.timeouts,
                &parts.limits,
                parts.http.retries,
                workers,
            )),
            how_to_add: parts.how_to_add.clone(),
            deadlines: Rc::clone(&deadlines),
            buffers: Buffers::default(),
            pipes: Pipes::new(most_pipes(getrlimit(Resource::Nofile).current, workers)),
            batching: WriteBatching::default(),
            fields: RefCell::default(),
            access_log: access_log.map(AccessLog::from),
            retries: RefCell::new(retry::Budget::new()),
            handshakes: HandshakeTurns::default(),
            admission: Admission::new(shared.clients, index, deadlines),
            server_limit: shared.servers,
            addresses: shared.addresses,
            failures: FailureLog::default(),
            accept_log: AcceptLog::default(),
            hand_over: parts.hand_over.clone(),
            stop: parts.stop.clone(),
            virtual_addresses: Arc::clone(&parts.virtual_addresses),
            drain: Cell::new(Drain::Serving),
            clock: Clock::default(),
            rng: RefCell::new(fastrand::Rng::new()),
            counters: Arc::clone(parts.clients.of(index)),
            snapshots: RefCell::new(parts.snapshots.reader(index)),
            selector: Selector::new(index, fastrand::Rng::new()),
            upstreams: RefCell::default(),
            released: Rc::default(),
            waiting: RefCell::default(),
        }
    }

    /// The number of this worker.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// How large the head of a response may be.
    pub(super) fn head_limits(&self) -> HeadLimits {
        HeadLimits::from(&self.limits)
    }

    /// The current time as a Date field has it.
    pub(super) fn date(&self) -> HttpDate {
        self.clock.date()
    }

    /// The current time, and the same as a Date field has it.
    pub(super) fn now(&self) -> (SystemTime, HttpDate) {
        self.clock.now()
    }

    /// Ids for a request that has none.
    pub(super) fn new_ids(&self) -> Ids {
        let mut rng = self.rng.borrow_mut();
        Ids::new(rng.u128(..), rng.u64(..))
    }

    /// This worker's counters.
    pub(super) fn counters(&self) -> &ClientShard {
        &self.counters
    }

    /// Chooses a server for a request that was already `tried` on some.
    ///
    /// A request keeps no pool from one attempt to the next: each attempt looks its pool up in the newest snapshot, which
    /// for the default pool costs no lookup. The attempt must be counted before anything is waited for: see
    /// [`Snapshots::seen_by_all_workers`].
    pub(super) fn choose(
        &self,
        pool: &PoolRef,
        tried: &Tried,
    ) -> Result<Rc<Upstream>, Unavailable> {
        let mut snapshots = self.snapshots.borrow_mut();
        let found = snapshots.current().pools.find(pool);
        self.choose_of(found.ok_or(Unavailable::NoPool)?, tried)
    }

    /// What `look` finds about a request of `pool`, if something of it decides which server gets it. It also gets the keys of the
    /// cookies of sessions.
    pub(super) fn look_at_request<T>(
        &self,
        pool: &PoolRef,
        look: impl FnOnce(&PoolView, &Arc<SessionKeys>) -> T,
    ) -> Option<T> {
        let mut snapshots = self.snapshots.borrow_mut();
        let snapshot = snapshots.current();
        let pool = snapshot.pools.find(pool)?;
        pool.looks_at_requests
            .then(|| look(pool, &snapshot.session_keys))
    }

    /// Whether servers of `pool` are told the client of a connection.
    pub(super) fn names_clients(&self, pool: &PoolRef) -> bool {
        let mut snapshots = self.snapshots.borrow_mut();
        let found = snapshots.current().pools.find(pool);
        let sent = found.and_then(|pool| pool.settings.policy.send_proxy_protocol);
        sent.is_some_and(|sent| sent != SendProxyProtocol::Off)
    }

    /// Picks one of several pools by their shares. Those without a server that can take a request leave theirs to the others.
    /// A request of a session stays with its pool, while that has a share: `has_session` says whether a pool has it.
    pub(super) fn pick_pool<'p>(
        &self,
        shares: &'p PoolShares,
        has_session: impl Fn(&PoolView, &Arc<SessionKeys>) -> bool,
    ) -> &'p PoolRef {
        let mut snapshots = self.snapshots.borrow_mut();
        let snapshot = snapshots.current();
        let pools = &snapshot.pools;
        let of_session = shares.iter().find(|(pool, share)| {
            let pool = pools.find(pool).filter(|pool| pool.sticky.is_some());
            *share > 0 && pool.is_some_and(|pool| has_session(pool, &snapshot.session_keys))
        });
        if let Some((pool, _)) = of_session {
            return pool;
        }
        let can_serve = |pool: &PoolRef| {
            let pool = pools.find(pool);
            pool.is_some_and(|pool| pool.candidates().is_ok())
        };
        let point = self.rng.borrow_mut().u32(..shares.sum());
        let picked = shares.at(point);
        if can_serve(picked) {
            return picked;
        }
        let others: Vec<(&PoolRef, u32)> =
            shares.iter().filter(|(pool, _)| can_serve(pool)).collect();
        let sum: u32 = others.iter().map(|(_, share)| share).sum();
        let mut point = self.rng.borrow_mut().u32(..sum.max(1));
        for (pool, share) in others {
            match point.checked_sub(share) {
                Some(rest) => point = rest,
                None => return pool,
            }
        }
        picked
    }

    /// Counts a request for a pool that got a response of Weldr's, because no server could be chosen.
    pub(super) fn count_unavailable(&self, pool: &PoolRef, verdict: Verdict) {
        let mut snapshots = self.snapshots.borrow_mut();
        if let Some(pool) = snapshots.current().pools.find(pool) {
            let requests = &pool.live.of(self.index).requests;
            requests.statuses.record(verdict.status);
            requests.failures.record(verdict.reason);
        }
    }

    /// How many changes of listeners there were, by the newest snapshot.
    pub(super) fn listener_changes(&self) -> u64 {
        self.snapshots.borrow_mut().current().listeners.changes()
    }

    /// The listener of that name in the newest snapshot, and how many changes of listeners there were by the same
    /// snapshot: another one may be published between two calls.
    pub(super) fn listener_view(&self, name: &ListenerName) -> (Option<Arc<ListenerView>>, u64) {
        let mut snapshots = self.snapshots.borrow_mut();
        let listeners = &snapshots.current().listeners;
        (listeners.get(name).cloned(), listeners.changes())
    }

    /// How long running requests of a listener may go on that was removed; `None` if it was not.
    pub(super) fn drain_deadline(&self, name: &ListenerName) -> Option<Duration> {
        let mut snapshots = self.snapshots.borrow_mut();
        snapshots.current().listeners.drain_deadline(name)
    }

    /// How a listener with `policy` treats clients.
    pub(super) fn client_policy(&self, policy: &ListenerPolicy) -> ClientPolicy {
        ClientPolicy::new(policy, &self.timeouts, &self.limits, &self.http)
    }

    /// The connections of each client to a listener, of which each may have `most`; `None`: any number.
    pub(super) fn client_addresses(
        &self,
        listener: &ListenerName,
        most: usize,
    ) -> Option<Arc<ClientAddresses>> {
        self.addresses.of(listener, most)
    }

    fn attempt_policy(&self, settings: &PoolSettings) -> Rc<AttemptPolicy> {
        let (timeouts, limits) = (&self.timeouts, &self.limits);
        let (retries, workers) = (self.http.retries, self.workers);
        let policy = AttemptPolicy::new(settings, timeouts, limits, retries, workers);
        // Most pools set nothing: their servers share one.
        if policy == *self.attempts {
            return Rc::clone(&self.attempts);
        }
        Rc::new(policy)
    }

    /// Chooses a server of `pool`, which is that of the newest snapshot.
    fn choose_of(&self, pool: &PoolView, tried: &Tried) -> Result<Rc<Upstream>, Unavailable> {
        let of_session = tried.session().and_then(|at| pool.keeping_sessions(at));
        let (id, server) = if let Some(server) = of_session {
            (server.desired.id, server)
        } else {
            let chosen = self.selector.select(pool, tried)?;
            (chosen.id, &chosen.server)
        };
        let mut upstreams = self.upstreams.borrow_mut();
        let upstream = upstreams.entry(id).or_insert_with(|| {
            let (live, policy) = (&server.live, Rc::clone(&self.attempts));
            Upstream::new(live, self.index, policy, &self.released)
        });
        if upstream.followed.get() != Some(pool.changes) {
            upstream.followed.set(Some(pool.changes));
            upstream.set_policy(self.attempt_policy(&pool.settings));
            upstream.set_security(&pool.security);
        }
        Ok(Rc::clone(upstream))
    }

    /// The requests of this worker that wait for servers of `pool`.
    pub(super) fn waiting_for(&self, pool: &PoolName) -> Rc<ArrivalOrder> {
        let mut waiting = self.waiting.borrow_mut();
        Rc::clone(waiting.entry(pool.clone()).or_default())
    }

    /// Whether a request that was `tried` on servers may go to `upstream`, by the newest snapshot.
    pub(super) fn may_choose(&self, upstream: &Upstream, tried: &Tried) -> bool {
        let mut snapshots = self.snapshots.borrow_mut();
        let pool: &PoolName = &upstream.live().pool.name;
        let Some(pool) = snapshots.current().pools.get(pool) else {
            return false;
        };
        let of_session = tried.session().and_then(|at| pool.keeping_sessions(at));
        let is_of_session = of_session.is_some_and(|server| server.desired.id == upstream.id);
        let candidates = pool.candidates();
        is_of_session
            || candidates.is_ok_and(|servers| servers.iter().any(|server| server.id == upstream.id))
    }

    /// Asks the other workers to close an idle connection to each server that is full and waited for.
    pub(super) fn ask_others_for_full(&self) {
        self.server_limit.ask_others_for_full(self.index);
    }

    /// Closes idle connections to full servers for which requests of other workers wait. Does not end.
    pub(super) async fn yield_full_servers(&self) {
        loop {
            self.server_limit.waited_for(self.index).await;
            for upstream in self.upstreams.borrow().values() {
                upstream.yield_to_waiting();
            }
        }
    }

    /// Acknowledges the newest snapshot, so that the control plane knows that this worker chooses by it.
    pub(super) fn acknowledge_snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow_mut().acknowledge()
    }

    /// Ends what still runs on servers that `snapshot` no longer has. A removed server stays in its pool until its
    /// requests have ended or its deadline is over.
    pub(super) fn leave_removed_servers(&self, snapshot: &Snapshot) {
        self.upstreams.borrow_mut().retain(|id, upstream| {
            let remains = snapshot.pools.view_of(upstream.live()).is_some();
            if !remains {
                upstream.close_idle();
                self.deadlines.cut(*id);
            }
            remains
        });
    }

    /// Closes unused connections to servers that are closed or old, gives up spare memory, and logs how many failures were
    /// left out of the log. Called about once a second.
    pub(super) fn sweep(&self) {
        for upstream in self.upstreams.borrow().values() {
            upstream.sweep();
        }
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|_, order| !order.is_empty());
        self.buffers.trim();
        self.pipes.trim();
        self.failures.summarise();
        self.accept_log.summarise();
    }

    /// Closes the connection to a server that has been unused for longest. Returns whether there was one.
    pub(super) fn close_idle_server_connection(&self) -> bool {
        let upstreams = self.upstreams.borrow();
        let unused = upstreams
            .values()
            .filter_map(|upstream| Some((upstream.unused_since()?, upstream)));
        let longest = unused.min_by_key(|(since, _)| *since);
        longest.is_some_and(|(_, upstream)| upstream.close_longest_unused())
    }

    /// Waits for room for one more connection to a server.
    pub(super) async fn wait_for_server_permit(&self) -> Option<OwnedSemaphorePermit> {
        let close_idle = || self.close_idle_server_connection();
        self.server_limit.acquire(self.index, close_idle).await
    }

    /// Closes an idle connection because no descriptor is left for one to a server: one to a server if there is one,
    /// otherwise one of a client. Other workers help if this one has no idle connection to a server.
    pub(super) fn free_for_server(&self) {
        if !self.close_idle_server_connection() {
            self.admission.close_idle_client();
            self.server_limit.ask_others(self.index);
        }
    }

    /// Closes an idle connection because no descriptor is left for one of a client: one of a client if there is one,
    /// otherwise one to a server, of any worker.
    pub(super) fn free_for_client(&self) {
        if !self.admission.close_idle_client() && !self.close_idle_server_connection() {
            self.server_limit.ask_others(self.index);
        }
    }

    /// Closes idle connections to servers when other workers need room for new ones. Does not end.
    pub(super) async fn yield_server_connections(&self) {
        loop {
            self.server_limit.wanted(self.index).await;
            self.close_idle_server_connection();
        }
    }

    /// Sets how far clients are sent away.
    pub(super) fn set_drain(&self, drain: Drain) {
        self.drain.set(drain);
        if self.closes_idle() {
            self.deadlines.wake_all();
        }
    }

    /// Whether responses must say that their connections close: the worker drains, or new clients wait for a connection.
    pub(super) fn closes_connections(&self) -> bool {
        self.drain.get() != Drain::Serving || self.admission.is_contended()
    }

    /// Whether connections without a request must close.
    pub(super) fn closes_idle(&self) -> bool {
        matches!(self.drain.get(), Drain::Closing | Drain::Resetting)
    }

    /// Whether connections to the virtual addresses must be reset.
    pub(super) fn resets(&self) -> bool {
        self.drain.get() == Drain::Resetting
    }

    /// Whether the connection is to an address that may leave this machine.
    pub(super) fn is_to_virtual_address(&self, transport: &Transport) -> bool {
        // Asking the kernel for the address costs nothing where there are no such addresses.
        !self.virtual_addresses.is_empty()
            && transport.local_address().is_some_and(|local| {
                let local = local.ip().to_canonical();
                self.virtual_addresses.contains(&local)
            })
    }
}
