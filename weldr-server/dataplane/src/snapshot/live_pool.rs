//! What a pool keeps while it lives.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::sync::Notify;

use crate::model::PoolName;

/// The part of a pool that outlives snapshots: a shard for each worker, which only that worker writes.
#[derive(Debug)]
pub struct LivePool {
    /// Its name.
    pub name: PoolName,
    /// Told when a connection to one of its servers is closed while requests wait for that.
    pub room: Notify,
    shards: Box<[PoolShard]>,
}

/// What one worker keeps of one pool. Its cache lines are its own, so that no worker slows another.
#[derive(Debug)]
#[repr(align(128))]
pub struct PoolShard {
    position: AtomicU64,
}

impl LivePool {
    /// A new pool for `workers` workers. Each begins its rounds at a random position, so that neither the workers nor the
    /// pools choose the same servers at the same time.
    pub fn new(name: PoolName, workers: usize) -> Arc<Self> {
        let shard = |_| PoolShard {
            position: AtomicU64::new(u64::from(fastrand::u32(..))),
        };
        Arc::new(Self {
            name,
            room: Notify::new(),
            shards: (0..workers).map(shard).collect(),
        })
    }

    /// The shard of worker number `worker`; the only one that this worker may write.
    ///
    /// # Panics
    /// When there are fewer workers: their number is fixed when the process starts.
    pub fn of(&self, worker: usize) -> &PoolShard {
        &self.shards[worker]
    }

    /// For how many workers it is.
    pub fn workers(&self) -> usize {
        self.shards.len()
    }
}

impl PoolShard {
    /// The position in the rounds, which moves on by one; only the owner of the shard may call this, because the step is a
    /// load and a store.
    pub fn next_position(&self) -> u64 {
        let position = self.position.load(Relaxed);
        self.position.store(position.wrapping_add(1), Relaxed);
        position
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rounds_begin_at_random_positions() {
        let pools: Vec<_> = (0..4)
            .map(|_| LivePool::new(PoolName::default(), 4))
            .collect();
        let begins = pools
            .iter()
            .flat_map(|pool| (0..4).map(|worker| pool.of(worker).next_position()));
        let begins: BTreeSet<u64> = begins.collect();
        // Sixteen times the same of 2^32 positions.
        assert!(begins.len() > 1);
    }
}
