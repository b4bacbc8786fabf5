//! Numbers with one writer and any number of readers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A count that only grows.
///
/// Only the worker that owns its shard may add: the sum is a load and a store, not a locked instruction,
/// and a second writer would lose counts. Readers see each number soon, in no promised order.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`; only the owner of the shard may.
    pub fn add(&self, amount: u64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that rises and falls; the same rule for writers.
#[derive(Debug, Default)]
pub struct Gauge(Counter);

impl Gauge {
    /// One more.
    pub fn rise(&self) {
        self.0.add(1);
    }

    /// One less.
    pub fn fall(&self) {
        self.0.add(u64::MAX);
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}
