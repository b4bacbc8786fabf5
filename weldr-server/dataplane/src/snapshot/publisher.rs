//! How snapshots reach the workers, and how the control plane learns that they have.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::{ArcSwap, Cache};
use tokio::sync::{Notify, watch};

use crate::model::Revision;

use super::Snapshot;

/// A worker that reads no snapshot has none to give up.
const READS_NOTHING: u64 = u64::MAX;

/// The writing end; there is one.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    published: watch::Sender<Arc<Snapshot>>,
}

/// The reading end.
#[derive(Debug, Clone)]
pub struct Snapshots {
    shared: Arc<Shared>,
    published: watch::Receiver<Arc<Snapshot>>,
}

#[derive(Debug)]
struct Shared {
    current: Arc<ArcSwap<Snapshot>>,
    /// For each worker, the version that it reads: an older one, it never reads again.
    seen: Box<[AtomicU64]>,
    seen_changed: Notify,
}

impl Publisher {
    /// Publishes `first` for `workers` workers.
    pub fn new(first: Snapshot, workers: usize) -> (Self, Snapshots) {
        let first = Arc::new(first);
        let shared = Arc::new(Shared {
            current: Arc::new(ArcSwap::new(Arc::clone(&first))),
            seen: (0..workers)
                .map(|_| AtomicU64::new(READS_NOTHING))
                .collect(),
            seen_changed: Notify::new(),
        });
        let (published, receiver) = watch::channel(first);
        let snapshots = Snapshots {
            shared: Arc::clone(&shared),
            published: receiver,
        };
        (Self { shared, published }, snapshots)
    }

    /// Makes `snapshot` the one that every request from now on sees.
    pub fn publish(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        self.shared.current.store(Arc::clone(&snapshot));
        self.published.send_replace(snapshot);
    }
}

impl Snapshots {
    /// The newest snapshot.
    pub fn current(&self) -> Arc<Snapshot> {
        self.shared.current.load_full()
    }

    /// A receiver that wakes at each publication; publications in quick succession wake it once.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.published.clone()
    }

    /// The first snapshot in which `condition` holds; `None` when the publisher is gone.
    pub async fn wait_until(
        &self,
        mut condition: impl FnMut(&Snapshot) -> bool,
    ) -> Option<Arc<Snapshot>> {
        let mut published = self.published.clone();
        published
            .wait_for(|snapshot| condition(snapshot))
            .await
            .ok()
            .map(|snapshot| Arc::clone(&snapshot))
    }

    /// The first snapshot that holds `revision` or a later one; `None` when the publisher is gone.
    pub async fn wait_for(&self, revision: Revision) -> Option<Arc<Snapshot>> {
        self.wait_until(|snapshot| snapshot.revision >= revision)
            .await
    }

    /// Waits until no worker chooses a server by a snapshot before `version`, and has counted what it chose
    /// by those. From then on, a server that takes no requests in `version` gets no new one.
    pub async fn seen_by_all_workers(&self, version: u64) {
        loop {
            let changed = self.shared.seen_changed.notified();
            let seen = |worker: &AtomicU64| worker.load(Ordering::Acquire) >= version;
            if self.shared.seen.iter().all(seen) {
                return;
            }
            changed.await;
        }
    }

    /// The reader of worker number `worker`.
    pub fn reader(&self, worker: usize) -> WorkerReader {
        let mut reader = WorkerReader {
            cache: Cache::new(Arc::clone(&self.shared.current)),
            shared: Arc::clone(&self.shared),
            worker,
        };
        reader.acknowledge();
        reader
    }
}

/// One worker's way to the newest snapshot.
pub struct WorkerReader {
    cache: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    shared: Arc<Shared>,
    worker: usize,
}

impl WorkerReader {
    /// The newest snapshot: one comparison, and a load when there is a new one.
    pub fn current(&mut self) -> &Arc<Snapshot> {
        self.cache.load()
    }

    /// Says that this worker has chosen its last server by an older snapshot than the newest. To be called
    /// between two choices, that is, by the worker's own thread, with no choice half made.
    pub fn acknowledge(&mut self) -> Arc<Snapshot> {
        let snapshot = Arc::clone(self.cache.load());
        self.say_seen(snapshot.version);
        snapshot
    }

    fn say_seen(&self, version: u64) {
        self.shared.seen[self.worker].store(version, Ordering::Release);
        self.shared.seen_changed.notify_waiters();
    }
}

impl Drop for WorkerReader {
    fn drop(&mut self) {
        self.say_seen(READS_NOTHING);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::{
        super::{ListenerViews, Pools, test_views::default_pool},
        *,
    };

    fn snapshot(version: u64) -> Snapshot {
        Snapshot {
            version,
            revision: Revision(version),
            removals: 0,
            pools: Pools::new(default_pool()),
            listeners: ListenerViews::default_listener(1),
            session_keys: Arc::default(),
        }
    }

    #[tokio::test]
    async fn a_published_snapshot_is_what_the_next_read_sees() {
        let (publisher, snapshots) = Publisher::new(snapshot(0), 1);
        let mut reader = snapshots.reader(0);
        publisher.publish(snapshot(1));
        assert_eq!(reader.current().version, 1);
        assert_eq!(snapshots.wait_for(Revision(1)).await.unwrap().version, 1);
        assert!(snapshots.wait_for(Revision(2)).now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_version_is_seen_when_each_worker_said_so_or_is_gone() {
        let (publisher, snapshots) = Publisher::new(snapshot(0), 3);
        let (mut first, second) = (snapshots.reader(0), snapshots.reader(1));
        publisher.publish(snapshot(1));
        first.current();
        let mut seen = Box::pin(snapshots.seen_by_all_workers(1));
        assert!(
            seen.as_mut().now_or_never().is_none(),
            "reading is not acknowledging"
        );
        first.acknowledge();
        assert!(
            seen.as_mut().now_or_never().is_none(),
            "the second worker still reads version 0"
        );
        drop(second);
        seen.await;
    }
}
