//! The persistent state of a node: identity, vote, log and the last snapshot. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cluster::log::types::{Entry, LogId, SnapshotMeta, Vote};

/// The identity of a node. An id is never used again: a node that lost its data is another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cluster) struct Identity {
    pub(in crate::cluster) node: u64,
    /// `None` until the node has founded or joined a cluster.
    pub(in crate::cluster) cluster: Option<Uuid>,
    /// Whether the node founded its cluster.
    pub(in crate::cluster) founder: bool,
}

impl Identity {
    /// A new random identity.
    pub(in crate::cluster) fn random() -> Self {
        // Shorter, so that it is readable in a table; and never 0.
        let node = Uuid::new_v4().as_u64_pair().0 >> 16 | 1;
        Self {
            node,
            cluster: None,
            founder: false,
        }
    }
}

/// Everything that must survive a restart (Raft's persistent state).
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cluster) struct PersistentState {
    pub(in crate::cluster) identity: Identity,
    pub(in crate::cluster) vote: Option<Vote>,
    /// The commit index at the last write: a lower bound.
    pub(in crate::cluster) committed: Option<LogId>,
    /// The last entry that was removed from the log.
    pub(in crate::cluster) purged: Option<LogId>,
    /// The entries after `purged`, without gaps.
    pub(in crate::cluster) entries: BTreeMap<u64, Entry>,
    pub(in crate::cluster) snapshot: Option<StoredSnapshot>,
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::cluster) struct StoredSnapshot {
    pub(in crate::cluster) meta: SnapshotMeta,
    pub(in crate::cluster) state: Bytes,
}

/// One change of the persistent state.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cluster) enum StorageChange {
    Identity(Identity),
    Vote(Vote),
    Committed(Option<LogId>),
    Append(Vec<Entry>),
    /// Removes the entries after this index, or all of them if it is `None`.
    TruncateAfter(Option<u64>),
    Purge(LogId),
    Snapshot(StoredSnapshot),
}

impl PersistentState {
    pub(in crate::cluster) fn new(identity: Identity) -> Self {
        Self {
            identity,
            vote: None,
            committed: None,
            purged: None,
            entries: BTreeMap::new(),
            snapshot: None,
        }
    }

    /// The id of the last entry of the log, present or purged.
    pub(in crate::cluster) fn last(&self) -> Option<LogId> {
        let last = self.entries.last_key_value();
        last.map(|(_, entry)| entry.log_id).or(self.purged)
    }

    pub(in crate::cluster) fn apply(&mut self, change: &StorageChange) {
        match change {
            StorageChange::Identity(identity) => self.identity = *identity,
            StorageChange::Vote(vote) => self.vote = Some(*vote),
            StorageChange::Committed(committed) => self.committed = *committed,
            StorageChange::Append(entries) => {
                let entries = entries.iter().cloned();
                self.entries
                    .extend(entries.map(|entry| (entry.log_id.index, entry)));
            }
            StorageChange::TruncateAfter(None) => self.entries.clear(),
            StorageChange::TruncateAfter(Some(last)) => {
                self.entries.split_off(&last.saturating_add(1));
            }
            StorageChange::Purge(upto) => {
                self.entries = self.entries.split_off(&upto.index.saturating_add(1));
                self.purged = self.purged.max(Some(*upto));
            }
            StorageChange::Snapshot(snapshot) => self.snapshot = Some(snapshot.clone()),
        }
    }
}
