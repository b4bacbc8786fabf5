//! What a server accumulates while it lives.

use std::{
    net::SocketAddr,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::{
    clock::RunningTime,
    model::{Reason, Removal, ServerId},
    stats::{Outcomes, ServerShard, ServerTotals, Sharded},
};

use super::LivePool;

/// The begin of the time of servers: some moment in the life of this process.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What requests tell the prober of their server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFailure {
    /// One could not connect, for this reason.
    Connect(Reason),
    /// So many in a row got no response, or one with a status of a gateway.
    InARow(u32),
}

/// Failures that wait for the prober; more at once say nothing new and are dropped.
const MOST_WAITING_FAILURES: usize = 8;

/// The part of a server that outlives snapshots: its counts, its connections and the way to its prober.
#[derive(Debug)]
pub struct LiveServer {
    /// This life of the server, in this one pool: the same address in another pool is another server.
    pub id: ServerId,
    /// Its pool.
    pub pool: Arc<LivePool>,
    /// Where its traffic goes.
    pub address: SocketAddr,
    /// What each worker counts of it.
    pub shards: Arc<Sharded<ServerShard>>,
    connections: AtomicUsize,
    /// Requests that wait until it has room for a connection.
    waiting: AtomicUsize,
    /// Whether a worker needs a connection closed, because it has none itself.
    owed: AtomicBool,
    failures: mpsc::Sender<RequestFailure>,
    /// Requests in a row that failed, over all workers.
    failed_in_a_row: AtomicU32,
    /// Requests that run, over all workers, where the pool limits them.
    limited: AtomicU32,
    /// When it became healthy, in milliseconds since [`EPOCH`] and from 1 on; 0: never.
    healthy_since: AtomicU64,
    /// The removal that was seen last, and the time since.
    drain: Mutex<Option<(Removal, RunningTime)>>,
}

impl LiveServer {
    /// A server of `pool` with nothing counted, and the receiver of the failures that requests meet.
    pub fn new(
        pool: Arc<LivePool>,
        id: ServerId,
        address: SocketAddr,
    ) -> (Arc<Self>, mpsc::Receiver<RequestFailure>) {
        let (failures, receiver) = mpsc::channel(MOST_WAITING_FAILURES);
        let shards = Arc::new(Sharded::new(pool.workers()));
        pool.register(&shards);
        let server = Self {
            id,
            address,
            shards,
            pool,
            connections: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            owed: AtomicBool::new(false),
            failures,
            failed_in_a_row: AtomicU32::new(0),
            limited: AtomicU32::new(0),
            healthy_since: AtomicU64::new(0),
            drain: Mutex::default(),
        };
        (Arc::new(server), receiver)
    }

    /// How long running requests may still go on when `removal` is the one that is under way. The first call of a removal
    /// begins to measure; later calls have to come several times a second, because time without a call counts as time in
    /// which this process did not run. Not for the data path: it takes a lock.
    pub fn drain_left(&self, removal: Removal) -> Duration {
        let mut drain = self.drain.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = match &mut *drain {
            Some((measured, running)) if *measured == removal => running.count(),
            other => {
                *other = Some((removal, RunningTime::default()));
                Duration::ZERO
            }
        };
        removal.drain_deadline.saturating_sub(passed)
    }

    /// Tells the prober that a request could not connect. Never waits.
    pub fn report_connect_failure(&self, reason: Reason) {
        // A full queue holds failures enough, a closed one belongs to a server that is gone.
        let _ = self.failures.try_send(RequestFailure::Connect(reason));
    }

    /// Notes whether a request `failed` on the server, and tells the prober when that has happened `limit` times in a row.
    /// Never waits, and writes nothing while requests succeed.
    pub fn note_outcome(&self, failed: bool, limit: u32) {
        if !failed {
            if self.failed_in_a_row.load(Relaxed) > 0 {
                self.failed_in_a_row.store(0, Relaxed);
            }
            return;
        }
        let count = self.failed_in_a_row.fetch_add(1, Relaxed).saturating_add(1);
        if count >= limit {
            self.failed_in_a_row.store(0, Relaxed);
            let _ = self.failures.try_send(RequestFailure::InARow(count));
        }
    }

    /// Notes that it has become healthy, or returns from an ejection.
    pub fn became_healthy(&self) {
        let since = EPOCH.elapsed().as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX).max(1);
        self.healthy_since.store(since, Relaxed);
    }

    /// How long it has been healthy at `now`. One that never was, to which a pool fails open, was for ever.
    pub fn healthy_for(&self, now: Instant) -> Duration {
        match self.healthy_since.load(Relaxed) {
            0 => Duration::MAX,
            since => {
                let passed = now.saturating_duration_since(*EPOCH);
                passed.saturating_sub(Duration::from_millis(since))
            }
        }
    }

    /// Room for one more request, when fewer than `limit` run over all workers.
    pub fn request_slot(self: &Arc<Self>, limit: u32) -> Option<RequestSlot> {
        let below_limit = |running: u32| (running < limit).then_some(running + 1);
        let running = self.limited.fetch_update(Relaxed, Relaxed, below_limit);
        running.is_ok().then(|| RequestSlot(Arc::clone(self)))
    }

    /// Whether fewer than `limit` requests run over all workers.
    pub fn has_request_slot(&self, limit: u32) -> bool {
        self.limited.load(Relaxed) < limit
    }

    /// Room for one more connection, when fewer than `limit` are open over all workers.
    pub fn connection_slot(self: &Arc<Self>, limit: usize) -> Option<ConnectionSlot> {
        let below_limit = |open: usize| (open < limit).then_some(open + 1);
        self.connections
            .fetch_update(Relaxed, Relaxed, below_limit)
            .ok()?;
        Some(ConnectionSlot(Arc::clone(self)))
    }

    /// Whether fewer than `limit` connections are open over all workers.
    pub fn has_room(&self, limit: usize) -> bool {
        self.connections.load(Relaxed) < limit
    }

    /// Counts a request that waits for room, until [`Self::waits_no_more`].
    pub fn waits(&self) {
        self.waiting.fetch_add(1, Relaxed);
    }

    /// Counts the end of a request's wait.
    pub fn waits_no_more(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// Whether requests of any worker wait for room.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// Demands that one connection is closed after its request, also by a worker whose own requests wait for it.
    pub fn demand(&self) {
        self.owed.store(true, Relaxed);
    }

    /// Takes the demand, if there is one.
    pub fn take_demand(&self) -> bool {
        self.owed.swap(false, Relaxed)
    }

    /// Its counts over all workers.
    pub fn totals(&self) -> ServerTotals {
        ServerTotals::sum(&self.shards)
    }

    /// How its attempts ended, over all workers.
    pub fn outcomes(&self) -> Outcomes {
        self.shards
            .all()
            .fold(Outcomes::default(), |sum, shard| Outcomes {
                success: sum.success + shard.success.get(),
                failed: sum.failed + shard.failed.get(),
            })
    }

    /// Requests that run on it, over all workers.
    pub fn in_flight(&self) -> u64 {
        self.shards.all().map(|shard| shard.in_flight.get()).sum()
    }
}

/// The right to one connection; given back when dropped.
#[derive(Debug)]
pub struct ConnectionSlot(Arc<LiveServer>);

impl ConnectionSlot {
    /// Whose connection it is.
    pub fn server(&self) -> &LiveServer {
        &self.0
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
        if self.0.is_waited_for() {
            self.0.pool.room.notify_one();
        }
    }
}

/// The right to one request, where a pool limits them; given back when dropped.
#[derive(Debug)]
pub struct RequestSlot(Arc<LiveServer>);

impl Drop for RequestSlot {
    fn drop(&mut self) {
        self.0.limited.fetch_sub(1, Relaxed);
        if self.0.pool.has_queue() {
            self.0.pool.room.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time;

    use super::*;
    use crate::model::{PoolName, Timestamp};

    const SECOND: Duration = Duration::from_secs(1);

    fn server() -> Arc<LiveServer> {
        let pool = LivePool::new(PoolName::default(), 1);
        LiveServer::new(pool, ServerId(1), ([127, 0, 0, 1], 80).into()).0
    }

    /// Lets time pass as it does for a process that runs.
    async fn pass(server: &LiveServer, removal: Removal, duration: Duration) -> Duration {
        const STEP: Duration = Duration::from_millis(100);
        let mut left = server.drain_left(removal);
        for _ in 0..duration.as_millis() / STEP.as_millis() {
            time::advance(STEP).await;
            left = server.drain_left(removal);
        }
        left
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_is_measured_from_when_it_was_seen() {
        let server = server();
        // Whatever the date says.
        for deadline in [Timestamp(0), Timestamp(u64::MAX)] {
            let removal = Removal {
                drain_deadline: SECOND * 30,
                deadline,
            };
            assert_eq!(server.drain_left(removal), SECOND * 30);
            assert_eq!(pass(&server, removal, SECOND * 10).await, SECOND * 20);
            // The process was stopped for an hour.
            time::advance(SECOND * 3600).await;
            let left = server.drain_left(removal);
            assert!(left >= SECOND * 19, "{left:?}");
            assert_eq!(pass(&server, removal, SECOND * 20).await, Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_deadline_is_measured_anew() {
        let server = server();
        let removal = |seconds, deadline| Removal {
            drain_deadline: SECOND * seconds,
            deadline: Timestamp(deadline),
        };
        let left = pass(&server, removal(30, 35_000), SECOND * 10).await;
        assert_eq!(left, SECOND * 20);
        assert_eq!(server.drain_left(removal(5, 35_000)), SECOND * 5);
        let again = removal(5, 40_000);
        assert_eq!(pass(&server, again, SECOND).await, SECOND * 4);
    }

    #[test]
    fn failures_in_a_row_are_told_once_they_are_many() {
        let pool = LivePool::new(PoolName::default(), 1);
        let (server, mut told) = LiveServer::new(pool, ServerId(1), ([127, 0, 0, 1], 80).into());
        for failed in [true, true, false, true, true] {
            server.note_outcome(failed, 3);
            assert!(told.try_recv().is_err());
        }
        server.note_outcome(true, 3);
        assert_eq!(told.try_recv(), Ok(RequestFailure::InARow(3)));
        for _ in 0..2 {
            server.note_outcome(true, 3);
            assert!(told.try_recv().is_err(), "counted anew");
        }
    }

    #[test]
    fn requests_have_slots_of_their_own() {
        let server = server();
        let first = server.request_slot(1);
        assert!(first.is_some() && server.request_slot(1).is_none());
        assert!(!server.has_request_slot(1) && server.has_request_slot(2));
        drop(first);
        assert!(server.request_slot(1).is_some());
    }

    #[test]
    fn a_server_is_healthy_since_it_became_so() {
        let server = server();
        let now = Instant::now();
        assert_eq!(server.healthy_for(now), Duration::MAX);
        server.became_healthy();
        let minute = Duration::from_mins(1);
        let after = server.healthy_for(now + minute);
        assert!(after.abs_diff(minute) < SECOND, "{after:?}");
    }

    #[test]
    fn a_slot_is_given_back() {
        let server = server();
        let first = server.connection_slot(2);
        let _second = server.connection_slot(2);
        assert!(server.connection_slot(2).is_none());
        drop(first);
        assert!(server.connection_slot(2).is_some());
    }
}
