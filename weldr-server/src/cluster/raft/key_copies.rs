//! Which other nodes have which sealing keys on their disks, as far as this node knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::model::SealingKeyId;

/// The keys of each node by its id.
#[derive(Debug, Default)]
pub(in crate::cluster) struct KeyCopies(Mutex<BTreeMap<u64, BTreeSet<SealingKeyId>>>);

impl KeyCopies {
    /// Notes all keys of a node, by its report.
    pub(in crate::cluster) fn replace(&self, node: u64, keys: BTreeSet<SealingKeyId>) {
        self.copies().insert(node, keys);
    }

    /// Notes that a node has a key.
    pub(in crate::cluster) fn add(&self, node: u64, key: SealingKeyId) {
        self.copies().entry(node).or_default().insert(key);
    }

    /// Forgets the nodes that are no members.
    pub(in crate::cluster) fn retain(&self, is_member: impl Fn(u64) -> bool) {
        self.copies().retain(|node, _| is_member(*node));
    }

    /// Whether a node has a key.
    pub(in crate::cluster) fn has(&self, node: u64, key: SealingKeyId) -> bool {
        let copies = self.copies();
        copies.get(&node).is_some_and(|keys| keys.contains(&key))
    }

    fn copies(&self) -> MutexGuard<'_, BTreeMap<u64, BTreeSet<SealingKeyId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
