//! What a pool keeps while it lives.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::Notify;

use crate::{
    model::PoolName,
    stats::{ForwardedShard, ForwardedTotals, ServerShard, ServerTotals, Sharded},
};

use super::server_sums::ServerSums;

/// The part of a pool that outlives snapshots: a shard for each worker, which only that worker writes.
#[derive(Debug)]
pub struct LivePool {
    /// Its name.
    pub name: PoolName,
    /// Told when a connection to one of its servers is closed while requests wait for that.
    pub room: Notify,
    /// Servers whose checks pass, ejected ones included.
    passing: AtomicUsize,
    ejected: AtomicUsize,
    /// Requests that wait because each server runs as many as it may.
    queued: AtomicU32,
    shards: Box<[PoolShard]>,
    servers: ServerSums,
}

/// What one worker keeps of one pool. Its cache lines are its own, so that no worker slows another.
#[derive(Debug)]
#[repr(align(128))]
pub struct PoolShard {
    position: AtomicU64,
    /// What the worker counts of requests for the pool.
    pub requests: ForwardedShard,
}

/// The counts of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolTotals {
    /// Those of requests.
    pub requests: ForwardedTotals,
    /// Those of attempts, summed over all servers that the pool has or had.
    pub servers: ServerTotals,
    /// Requests that wait because each server runs as many as it may.
    pub queued: u32,
}

impl LivePool {
    /// A new pool for `workers` workers. Each begins its rounds at a random position, so that neither the workers nor the
    /// pools choose the same servers at the same time.
    pub fn new(name: PoolName, workers: usize) -> Arc<Self> {
        let shard = |_| PoolShard {
            position: AtomicU64::new(u64::from(fastrand::u32(..))),
            requests: ForwardedShard::default(),
        };
        Arc::new(Self {
            name,
            room: Notify::new(),
            passing: AtomicUsize::new(0),
            ejected: AtomicUsize::new(0),
            queued: AtomicU32::new(0),
            shards: (0..workers).map(shard).collect(),
            servers: ServerSums::default(),
        })
    }

    /// The shard of worker number `worker`; the only one that this worker may write.
    ///
    /// # Panics
    /// When there are fewer workers: their number is fixed when the process starts.
    pub fn of(&self, worker: usize) -> &PoolShard {
        &self.shards[worker]
    }

    /// Notes how many servers are chosen from, ejected ones not included.
    pub fn set_chosen_from(&self, servers: usize) {
        let ejected = self.ejected.load(Relaxed);
        self.passing.store(servers + ejected, Relaxed);
    }

    /// Counts one more ejected server, if `may` allows that for the number of ejected servers and of those whose checks
    /// pass.
    pub fn eject(self: &Arc<Self>, may: impl Fn(usize, usize) -> bool) -> Option<EjectedServer> {
        let passing = self.passing.load(Relaxed);
        let one_more = |ejected| may(ejected, passing).then_some(ejected + 1);
        self.ejected.fetch_update(Relaxed, Relaxed, one_more).ok()?;
        Some(EjectedServer(Arc::clone(self)))
    }

    /// Its counts over all workers, and over all servers that it has or had.
    pub fn totals(&self) -> PoolTotals {
        PoolTotals {
            requests: ForwardedTotals::sum(self.shards.iter().map(|shard| &shard.requests)),
            servers: self.servers.totals(),
            queued: self.queued.load(Relaxed),
        }
    }

    /// Adds the counters of a new server to the sums.
    pub(super) fn register(&self, shards: &Arc<Sharded<ServerShard>>) {
        self.servers.register(shards);
    }

    /// A place among the requests that wait, when fewer than `limit` do.
    pub fn queue(self: &Arc<Self>, limit: u32) -> Option<QueuePlace> {
        let below_limit = |waiting: u32| (waiting < limit).then_some(waiting + 1);
        let waiting = self.queued.fetch_update(Relaxed, Relaxed, below_limit);
        waiting.is_ok().then(|| QueuePlace(Arc::clone(self)))
    }

    /// Whether requests wait because each server runs as many as it may.
    pub fn has_queue(&self) -> bool {
        self.queued.load(Relaxed) > 0
    }

    /// For how many workers it is.
    pub fn workers(&self) -> usize {
        self.shards.len()
    }
}

/// A place among the requests that wait; given back when dropped.
#[derive(Debug)]
pub struct QueuePlace(Arc<LivePool>);

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Relaxed);
    }
}

/// Counts a server as ejected until it is dropped.
#[derive(Debug)]
pub struct EjectedServer(Arc<LivePool>);

impl Drop for EjectedServer {
    fn drop(&mut self) {
        self.0.ejected.fetch_sub(1, Relaxed);
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
    fn ejected_servers_are_counted_until_they_return() {
        let pool = LivePool::new(PoolName::default(), 1);
        pool.set_chosen_from(3);
        let fewer_than_two = |ejected, passing| {
            assert_eq!(passing, 3);
            ejected < 2
        };
        let first = pool.eject(fewer_than_two).unwrap();
        // The next snapshot has two servers to choose from.
        pool.set_chosen_from(2);
        let _second = pool.eject(fewer_than_two).unwrap();
        assert!(pool.eject(fewer_than_two).is_none());
        drop(first);
        assert!(pool.eject(fewer_than_two).is_some());
    }

    #[test]
    fn the_queue_of_a_pool_is_bounded() {
        let pool = LivePool::new(PoolName::default(), 1);
        assert!(!pool.has_queue() && pool.queue(0).is_none());
        let place = pool.queue(1);
        assert!(pool.has_queue() && pool.queue(1).is_none());
        drop(place);
        assert!(!pool.has_queue() && pool.queue(1).is_some());
    }

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
