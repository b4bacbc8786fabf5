//! Admission of client connections: limits how many are open, and lets a stop wait until all are closed.
//!
//! When as many connections are open as may be, a new one takes the place of the one that has been idle for longest. When
//! none is idle, responses say that their connections close for as long as new ones wait.

use std::{
    cell::Cell,
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError},
    time,
};

use super::{deadline::Deadlines, idle_clients::IdleClients};

/// The time after which a connection that waits asks for an idle one again.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// The limit of client connections, which all workers share.
#[derive(Debug)]
pub(super) struct ClientLimit {
    permits: Arc<Semaphore>,
    /// Queues of waiting connections that found no idle connection to replace.
    starved: AtomicUsize,
    workers: Box<[SharedIdle]>,
}

/// The idle connections of a worker, as other workers see them.
#[derive(Debug, Default)]
#[repr(align(64))]
struct SharedIdle {
    idle: Arc<AtomicUsize>,
    /// Set when another worker needs one of them closed.
    wanted: Notify,
}

impl ClientLimit {
    /// Allows at most `connections` open connections for all `workers` workers together.
    pub(super) fn new(connections: usize, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            starved: AtomicUsize::new(0),
            workers: (0..workers).map(|_| SharedIdle::default()).collect(),
        })
    }

    /// Asks the worker that has most idle connections to close one. Returns whether there was one that has any.
    fn ask_another(&self, asking: usize) -> bool {
        let others = self.workers.iter().enumerate();
        let idle = others
            .filter(|(index, _)| *index != asking)
            .map(|(_, worker)| (worker.idle.load(Relaxed), worker))
            .max_by_key(|(idle, _)| *idle);
        if let Some((1.., worker)) = idle {
            worker.wanted.notify_one();
            return true;
        }
        false
    }
}

/// A queue of waiting connections of which one found no idle connection to replace.
struct Starved(Arc<ClientLimit>);

impl Starved {
    fn begin(limit: &Arc<ClientLimit>) -> Self {
        limit.starved.fetch_add(1, Relaxed);
        Self(Arc::clone(limit))
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        self.0.starved.fetch_sub(1, Relaxed);
    }
}

/// A listener's queue of connections, of which the first waits for room.
///
/// The others behind it are not seen before they are accepted. So a queue that was starved once counts as that until it
/// is empty: otherwise only one connection would close for each that waits, and the next would wait for an idle one.
#[derive(Default)]
pub(super) struct WaitingQueue(Option<Starved>);

impl WaitingQueue {
    /// Records that no connection waits.
    pub(super) fn emptied(&mut self) {
        self.0 = None;
    }
}

/// The client connections of one worker, within the limit that all workers share.
pub(super) struct Admission {
    limit: Arc<ClientLimit>,
    worker: usize,
    deadlines: Rc<Deadlines>,
    idle: Rc<IdleClients>,
    open: Cell<usize>,
    all_closed: Notify,
}

impl Admission {
    /// The connections of the worker with this index, whose idle ones are closed by reaching one of `deadlines`.
    pub(super) fn new(limit: Arc<ClientLimit>, worker: usize, deadlines: Rc<Deadlines>) -> Self {
        let idle = IdleClients::new(Arc::clone(&limit.workers[worker].idle));
        Self {
            limit,
            worker,
            deadlines,
            idle,
            open: Cell::new(0),
            all_closed: Notify::new(),
        }
    }

    /// Waits until one more connection, the first of `queue`, may be opened. `None` when the worker accepts no more
    /// connections.
    pub(super) async fn admit(&self, queue: &mut WaitingQueue) -> Option<OwnedSemaphorePermit> {
        match Arc::clone(&self.limit.permits).try_acquire_owned() {
            Err(TryAcquireError::NoPermits) => self.wait(queue).await,
            permit => permit.ok(),
        }
    }

    async fn wait(&self, queue: &mut WaitingQueue) -> Option<OwnedSemaphorePermit> {
        let mut permit = pin!(Arc::clone(&self.limit.permits).acquire_owned());
        let mut in_vain = false;
        loop {
            // Responses that pass before they say that they close would keep their connections for a second at least.
            let asked = self.close_idle_client() || self.limit.ask_another(self.worker);
            if in_vain || !asked {
                queue.0.get_or_insert_with(|| Starved::begin(&self.limit));
            }
            match time::timeout(ASK_AGAIN, permit.as_mut()).await {
                Ok(permit) => return permit.ok(),
                Err(_) => in_vain = true,
            }
        }
    }

    /// Closes the connection that has been idle for longest. Returns whether there was one.
    pub(super) fn close_idle_client(&self) -> bool {
        self.idle.close_oldest(&self.deadlines, Instant::now())
    }

    /// Closes idle connections when other workers need room for new ones. Does not end.
    pub(super) async fn yield_to_others(&self) {
        loop {
            self.limit.workers[self.worker].wanted.notified().await;
            self.close_idle_client();
        }
    }

    /// The queue of idle connections.
    pub(super) fn idle(&self) -> &Rc<IdleClients> {
        &self.idle
    }

    /// Whether new connections wait because there is no idle connection to replace.
    pub(super) fn is_contended(&self) -> bool {
        self.limit.starved.load(Relaxed) > 0
    }

    /// Counts a connection that was opened.
    pub(super) fn opened(&self) {
        self.open.set(self.open.get() + 1);
    }

    /// Counts a connection that was closed.
    pub(super) fn closed(&self) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.all_closed.notify_one();
        }
    }

    /// The number of open connections.
    pub(super) fn open(&self) -> usize {
        self.open.get()
    }

    /// Returns when no connection is open.
    pub(super) async fn all_closed(&self) {
        while self.open.get() > 0 {
            self.all_closed.notified().await;
        }
    }
}
