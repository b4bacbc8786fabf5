//! The thread that writes to the database. Changes that arrive together share one transaction, and so one sync.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use crate::{
    cluster::{
        error::{OpenError, StoreError},
        log::types::Types,
    },
    liveness::{Episode, Tick},
};

use super::{
    commit_index_hint::CommitIndexHint,
    persistent_state::{PersistentState, StorageChange},
    store::Store,
};

/// The capacity of the queue of writes. Callers wait while it is full.
const MOST_WAITING: usize = 1024;

/// Sends writes to the thread. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Disk {
    jobs: mpsc::Sender<Job>,
    failures: Arc<Mutex<Failures>>,
    /// Holds while the thread waits for the disk.
    busy: Arc<Episode>,
    commit_index_hint: Arc<CommitIndexHint>,
}

/// The state of the disk.
#[derive(Debug, Clone, Default)]
pub struct DiskState {
    /// Why writes fail; `None` while they succeed.
    pub failure: Option<Arc<StoreError>>,
    /// The number of writes that have failed.
    pub failures: u64,
    /// Identifies the write in progress; `None` if there is none.
    pub write: Option<u64>,
}

/// How many refused records are remembered: more than can be in flight.
const MOST_REFUSED: usize = 2 * MOST_WAITING;

/// How long a refused record is remembered: no caller waits longer for its result or sends it again later.
const REFUSAL_KEPT: Duration = Duration::from_mins(1);

/// The failures of the disk.
#[derive(Debug, Default)]
struct Failures {
    /// Why writes fail; `None` while they succeed.
    now: Option<Arc<StoreError>>,
    /// The number of writes that have failed.
    count: u64,
    /// The last records that are certainly not in the log because the disk failed, with the error. A proposer may ask
    /// for its record after the disk works again or has failed once more.
    refused: VecDeque<RefusedRecord>,
}

#[derive(Debug)]
struct RefusedRecord {
    record: u64,
    error: Arc<StoreError>,
    at: Instant,
}

impl Failures {
    fn refuse(&mut self, changes: &[StorageChange], error: &Arc<StoreError>, at: Instant) {
        let refused = |record| RefusedRecord {
            record,
            error: Arc::clone(error),
            at,
        };
        self.refused
            .extend(changes.iter().flat_map(record_ids).map(refused));
        let most = self.refused.len().saturating_sub(MOST_REFUSED);
        self.refused.drain(..most);
    }

    /// The disk works. A record that was refused before may be among those that are written now.
    fn written(&mut self, changes: &[StorageChange], now: Instant) {
        self.now = None;
        let is_old = |refused: &RefusedRecord| now.duration_since(refused.at) >= REFUSAL_KEPT;
        while self.refused.front().is_some_and(is_old) {
            self.refused.pop_front();
        }
        if !self.refused.is_empty() {
            let ids: Vec<u64> = changes.iter().flat_map(record_ids).collect();
            self.refused
                .retain(|refused| !ids.contains(&refused.record));
        }
    }
}

/// Who is notified when a write is on disk.
pub(in crate::cluster) enum Completion {
    Engine(IOFlushed<Types>),
    Caller(oneshot::Sender<io::Result<()>>),
    /// Nobody. The write may wait for the next one.
    Ignored,
}

enum Job {
    Write {
        change: StorageChange,
        done: Completion,
    },
    Recover(oneshot::Sender<Result<PersistentState, Arc<StoreError>>>),
    Look,
    Close(oneshot::Sender<()>),
}

impl Disk {
    /// Starts the thread. It owns the store until [`Disk::close`].
    pub(in crate::cluster) fn start(
        store: Store,
        persistent: PersistentState,
    ) -> Result<Self, OpenError> {
        let (jobs, waiting) = mpsc::channel(MOST_WAITING);
        let (failures, busy) = (Arc::default(), Arc::default());
        let commit_index_hint = Arc::new(store.commit_index_hint(persistent.identity.node));
        let writer = DiskWriter {
            store,
            durable: persistent,
            lazy: Vec::new(),
            failures: Arc::clone(&failures),
            busy: Arc::clone(&busy),
            is_displaced: false,
        };
        thread::Builder::new()
            .name("weldr-log".to_owned())
            .spawn(move || writer.run(waiting))
            .map_err(OpenError::Thread)?;
        Ok(Self {
            jobs,
            failures,
            busy,
            commit_index_hint,
        })
    }

    /// The commit index hint, which is written at once, while [`Disk::write`] may take its time.
    pub(in crate::cluster) fn commit_index_hint(&self) -> &CommitIndexHint {
        &self.commit_index_hint
    }

    /// Queues `change` after all changes that were queued before it.
    pub(in crate::cluster) async fn write(
        &self,
        change: StorageChange,
        done: Completion,
    ) -> io::Result<()> {
        let job = Job::Write { change, done };
        self.jobs.send(job).await.map_err(|_| closed())
    }

    /// Writes `change`, and returns when it is on disk.
    pub(in crate::cluster) async fn write_durably(&self, change: StorageChange) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        self.write(change, Completion::Caller(done)).await?;
        written.await.map_err(|_| closed())?
    }

    /// After a failure: returns to the state that is on disk, gives it, and accepts writes again.
    pub(in crate::cluster) async fn recover(&self) -> Result<PersistentState, Arc<StoreError>> {
        let gone = || Arc::new(StoreError::Files(closed()));
        let (answer, answered) = oneshot::channel();
        let sent = self.jobs.send(Job::Recover(answer)).await;
        sent.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Looks once a second whether the database is still at its path. Never returns.
    pub(in crate::cluster) async fn watch(&self, tick: Tick) {
        loop {
            Tick::due().await;
            tick.tick();
            // A disk that does not respond is asked nothing more.
            if self.busy.current().is_none() {
                // A full queue is full of writes, each of which looks.
                let _ = self.jobs.try_send(Job::Look);
            }
        }
    }

    /// Writes what is queued, closes the database and releases the data directory.
    pub(in crate::cluster) async fn close(&self) {
        let (closed, wait) = oneshot::channel();
        if self.jobs.send(Job::Close(closed)).await.is_ok() {
            // An error means that the thread panicked, which the panic hook reported.
            let _ = wait.await;
        }
    }

    /// Why writes fail; `None` while they succeed.
    pub(in crate::cluster) fn failure(&self) -> Option<Arc<StoreError>> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.now.clone()
    }

    /// The state of the disk.
    pub(in crate::cluster) fn state(&self) -> DiskState {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        DiskState {
            failure: failures.now.clone(),
            failures: failures.count,
            write: self.busy.current(),
        }
    }

    /// Why the record with this id is certainly not in the log; `None` if that is not known.
    pub(in crate::cluster) fn refusal(&self, record: u64) -> Option<Arc<StoreError>> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = failures
            .refused
            .iter()
            .find(|refused| refused.record == record);
        refused.map(|refused| Arc::clone(&refused.error))
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the database is closed")
}

/// The state of the thread.
struct DiskWriter {
    store: Store,
    /// The state on disk.
    durable: PersistentState,
    /// Changes that wait for the next write.
    lazy: Vec<StorageChange>,
    failures: Arc<Mutex<Failures>>,
    busy: Arc<Episode>,
    /// Whether the last look did not find the database at its path.
    is_displaced: bool,
}

impl DiskWriter {
    fn run(mut self, mut waiting: mpsc::Receiver<Job>) {
        let mut broken = false;
        let closed = loop {
            let Some(first) = waiting.blocking_recv() else {
                break None;
            };
            let mut batch = Vec::new();
            let mut next = Some(first);
            let control = loop {
                match next {
                    Some(Job::Write { change, done }) => batch.push((change, done)),
                    other => break other,
                }
                next = waiting.try_recv().ok();
            };
            self.busy.set(true);
            broken = !self.write(batch, broken);
            self.busy.set(false);
            match control {
                Some(Job::Recover(answer)) => {
                    self.busy.set(true);
                    let recovered = self.recover();
                    self.busy.set(false);
                    broken = recovered.is_err();
                    // The caller may have given up.
                    let _ = answer.send(recovered);
                }
                Some(Job::Look) => {
                    self.busy.set(true);
                    self.look(broken);
                    self.busy.set(false);
                }
                Some(Job::Close(closed)) => break Some(closed),
                _ => {}
            }
        };
        // No writes are expected after the engine has stopped. Those that come fail.
        drop(waiting);
        if !broken && !self.lazy.is_empty() {
            let lazy = std::mem::take(&mut self.lazy);
            // Only the commit index is left, and the next start does not need it.
            let _ = self.store.write(&self.durable, &lazy);
        }
        if let Err(failure) = self.store.close() {
            let error = &failure as &dyn std::error::Error;
            error!(error, "the database was not closed cleanly");
        }
        if let Some(closed) = closed {
            // The caller may have given up.
            let _ = closed.send(());
        }
    }

    /// Writes a batch and notifies its callers. Returns false if no more writes are accepted until a recovery.
    fn write(&mut self, batch: Vec<(StorageChange, Completion)>, broken: bool) -> bool {
        let (changes, done): (Vec<StorageChange>, Vec<Completion>) = batch.into_iter().unzip();
        if broken {
            let failure = self.remember(&changes, None);
            tell(done, Err(&failure));
            return false;
        }
        let in_no_hurry = done.iter().all(|done| matches!(done, Completion::Ignored));
        self.lazy.extend(changes);
        if in_no_hurry {
            return true;
        }
        let changes = std::mem::take(&mut self.lazy);
        match self.store.write(&self.durable, &changes) {
            Ok(()) => {
                for change in &changes {
                    self.durable.apply(change);
                }
                self.failures().written(&changes, Instant::now());
                tell(done, Ok(()));
                true
            }
            Err(error) => {
                let failure = self.remember(&changes, Some(error));
                tell(done, Err(&failure));
                false
            }
        }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers records that are not written, with the error; without an error, the last one.
    fn remember(&self, changes: &[StorageChange], error: Option<StoreError>) -> Arc<StoreError> {
        let mut failures = self.failures();
        if let Some(error) = error {
            failures.now = Some(Arc::new(error));
            failures.count += 1;
        }
        let unknown = || Arc::new(StoreError::Files(closed()));
        let error = Arc::clone(failures.now.get_or_insert_with(unknown));
        failures.refuse(changes, &error, Instant::now());
        error
    }

    /// A database that is not at its path is a failure before anything is to be written, and none any more when it is back.
    fn look(&mut self, broken: bool) {
        match self.store.look(broken) {
            Err(error) if !self.is_displaced => {
                self.is_displaced = true;
                self.remember(&[], Some(error));
            }
            Ok(()) if self.is_displaced && !broken => {
                self.is_displaced = false;
                self.failures().now = None;
            }
            _ => {}
        }
    }

    fn recover(&mut self) -> Result<PersistentState, Arc<StoreError>> {
        self.lazy.clear();
        match self.store.recover(&self.durable) {
            Ok(()) => {
                // All that is kept was written anew after the failure.
                self.failures().now = None;
                Ok(self.durable.clone())
            }
            Err(error) => Err(self.remember(&[], Some(error))),
        }
    }
}

fn record_ids(change: &StorageChange) -> Vec<u64> {
    let StorageChange::Append(entries) = change else {
        return Vec::new();
    };
    let records = entries.iter().filter_map(|entry| match &entry.payload {
        openraft::EntryPayload::Normal(record) => Some(record.id),
        _ => None,
    });
    records.collect()
}

fn tell(done: Vec<Completion>, result: Result<(), &Arc<StoreError>>) {
    for done in done {
        let result = result.map_err(|error| io::Error::other(Arc::clone(error)));
        match done {
            Completion::Engine(callback) => callback.io_completed(result),
            // The caller may have given up.
            Completion::Caller(answer) => drop(answer.send(result)),
            Completion::Ignored => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::{EntryPayload, entry::RaftEntry as _};
    use weldr_proto::raft::v1;

    use super::*;
    use crate::cluster::{
        log::convert,
        log::{proposal::Record, types::Entry},
    };

    fn append(record: u64) -> [StorageChange; 1] {
        let record = Record {
            version: 1,
            proposal: b"{}".as_slice().into(),
            id: record,
            validated: false,
        };
        let at = convert::from_log_id(v1::LogId { term: 1, index: 1 });
        [StorageChange::Append(vec![Entry::new(
            at,
            EntryPayload::Normal(record),
        )])]
    }

    #[test]
    fn a_refusal_is_forgotten_when_its_record_is_written_or_nobody_can_ask_any_more() {
        let mut failures = Failures::default();
        let remembered = |failures: &Failures| {
            let records = failures.refused.iter().map(|refused| refused.record);
            records.collect::<Vec<_>>()
        };
        let (begun, error) = (Instant::now(), Arc::new(StoreError::Files(closed())));
        failures.refuse(&append(1), &error, begun);
        failures.refuse(&append(2), &error, begun);
        failures.refuse(&append(3), &error, begun + REFUSAL_KEPT / 2);
        failures.written(&append(2), begun);
        assert_eq!(remembered(&failures), [1, 3]);
        failures.written(&append(4), begun + REFUSAL_KEPT);
        assert_eq!(remembered(&failures), [3]);
    }
}
