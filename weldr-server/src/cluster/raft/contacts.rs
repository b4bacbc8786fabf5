//! When each member responded last.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The moment of the last response of each member, by its id. An id is never used again, so the number of entries is that of
/// the members that there were.
#[derive(Debug, Default)]
pub(in crate::cluster) struct LastContacts(Mutex<HashMap<u64, Instant>>);

impl LastContacts {
    /// Notes that the node with this id has responded.
    pub(in crate::cluster) fn note(&self, id: u64, now: Instant) {
        let mut contacts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        contacts.insert(id, now);
    }

    /// How long ago the node with this id responded; `None` if it has not since this node started.
    pub(in crate::cluster) fn elapsed(&self, id: u64, now: Instant) -> Option<Duration> {
        let contacts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = contacts.get(&id)?;
        Some(now.saturating_duration_since(*last))
    }
}
