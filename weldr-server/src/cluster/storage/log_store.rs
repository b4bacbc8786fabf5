//! The log as the consensus engine uses it: read from memory, written by the disk's thread.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use openraft::{
    EntryPayload, LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};

use crate::cluster::log::types::{Entry, LogId, Types, Vote};

use super::{
    disk::{Completion, Disk},
    persistent_state::{PersistentState, StorageChange, StoredSnapshot},
};

/// The persistent state in memory, and the way to the disk. Compaction bounds its size: see the engine's settings.
/// Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct LogStore {
    persistent: Arc<Mutex<PersistentState>>,
    /// `None`: nothing is kept after the process ends.
    disk: Option<Disk>,
    /// Locked while a snapshot is written: one may be built while another one is received.
    storing_snapshot: Arc<tokio::sync::Mutex<()>>,
}

impl LogStore {
    pub(in crate::cluster) fn new(persistent: PersistentState, disk: Option<Disk>) -> Self {
        let persistent = Arc::new(Mutex::new(persistent));
        Self {
            persistent,
            disk,
            storing_snapshot: Arc::default(),
        }
    }

    pub(in crate::cluster) fn persistent(&self) -> MutexGuard<'_, PersistentState> {
        self.persistent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::cluster) fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Applies a change, and returns when it is on disk.
    pub(in crate::cluster) async fn change_durably(&self, change: StorageChange) -> io::Result<()> {
        self.persistent().apply(&change);
        match &self.disk {
            Some(disk) => disk.write_durably(change).await,
            None => Ok(()),
        }
    }

    /// Stores a snapshot, unless a newer one is stored already: the log before that one may be purged.
    pub(in crate::cluster) async fn store_snapshot(
        &self,
        snapshot: StoredSnapshot,
    ) -> io::Result<()> {
        let _one_at_a_time = self.storing_snapshot.lock().await;
        let present = self.snapshot().map(|present| present.meta.last_log_id);
        if present.is_some_and(|present| present >= snapshot.meta.last_log_id) {
            return Ok(());
        }
        self.change_durably(StorageChange::Snapshot(snapshot)).await
    }

    /// Applies a change. It is on disk before any later change is.
    async fn change(&self, change: StorageChange, done: Completion) -> io::Result<()> {
        self.persistent().apply(&change);
        if let Some(disk) = &self.disk {
            return disk.write(change, done).await;
        }
        if let Completion::Engine(callback) = done {
            callback.io_completed(Ok(()));
        }
        Ok(())
    }

    /// Whether a committed entry of the log holds a record that this version of Weldr does not know.
    pub(in crate::cluster) fn has_committed_unknown(&self) -> bool {
        let committed = self.committed().map_or(0, |committed| committed.index);
        let persistent = self.persistent();
        let decided = persistent.entries.range(..=committed);
        decided.into_iter().any(|(_, entry)| !is_known(entry))
    }

    /// The highest index that is known to be committed.
    fn committed(&self) -> Option<LogId> {
        let hint = self
            .disk
            .as_ref()
            .and_then(|disk| disk.commit_index_hint().last());
        self.persistent().committed.max(hint)
    }

    pub(in crate::cluster) fn snapshot(&self) -> Option<StoredSnapshot> {
        self.persistent().snapshot.clone()
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let bounds = (range.start_bound().cloned(), range.end_bound().cloned());
        if is_empty(bounds) {
            return Ok(Vec::new());
        }
        let persistent = self.persistent();
        Ok(persistent
            .entries
            .range(bounds)
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.persistent().vote)
    }
}

fn is_known(entry: &Entry) -> bool {
    match &entry.payload {
        EntryPayload::Normal(record) => record.proposal().is_ok(),
        EntryPayload::Blank | EntryPayload::Membership(_) => true,
    }
}

/// `BTreeMap::range` panics for such a range.
fn is_empty((start, end): (Bound<u64>, Bound<u64>)) -> bool {
    let first = match start {
        Bound::Included(first) => first,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    match end {
        Bound::Included(last) => last < first,
        Bound::Excluded(after) => after <= first,
        Bound::Unbounded => false,
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let persistent = self.persistent();
        Ok(LogState {
            last_purged_log_id: persistent.purged,
            last_log_id: persistent.last(),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.change_durably(StorageChange::Vote(*vote)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let (Some(disk), Some(committed)) = (&self.disk, committed) {
            disk.commit_index_hint().note(committed);
        }
        self.change(StorageChange::Committed(committed), Completion::Ignored)
            .await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        // The hint may be ahead of the log, whose end may not have reached the disk. Entries that this version does not
        // know are left to the running engine: at this point the error could not be reported.
        let committed = self.committed();
        let persistent = self.persistent();
        let known = persistent
            .entries
            .values()
            .take_while(|entry| is_known(entry));
        let last_known = known.last().map(|entry| entry.log_id).or(persistent.purged);
        Ok(committed.min(last_known))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.change(StorageChange::Append(entries), Completion::Engine(callback))
            .await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let last = last.map(|last| last.index);
        self.change_durably(StorageChange::TruncateAfter(last))
            .await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.change_durably(StorageChange::Purge(upto)).await
    }
}
