//! The sums of what all servers count that a pool has or had.

use std::sync::{Arc, Mutex, PoisonError};

use crate::stats::{ServerShard, ServerTotals, Sharded};

/// So many servers are registered before the first search for those that are gone.
const FIRST_SEARCH: usize = 64;

/// The counters of all servers of a pool. Those of a removed server stay until nobody counts in them any more, and then become
/// part of a sum: so the sums of a pool never go back. Not for the data path: it takes a lock.
#[derive(Debug, Default)]
pub(super) struct ServerSums(Mutex<Registry>);

#[derive(Debug)]
struct Registry {
    shards: Vec<Arc<Sharded<ServerShard>>>,
    /// The counts of servers that are gone.
    gone: ServerTotals,
    /// So many shards are the reason to look for those of servers that are gone.
    search_at: usize,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            shards: Vec::new(),
            gone: ServerTotals::default(),
            search_at: FIRST_SEARCH,
        }
    }
}

impl ServerSums {
    /// Adds the counters of a new server.
    pub(super) fn register(&self, shards: &Arc<Sharded<ServerShard>>) {
        let mut registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if registry.shards.len() >= registry.search_at {
            registry.fold();
            registry.search_at = FIRST_SEARCH.max(2 * registry.shards.len());
        }
        registry.shards.push(Arc::clone(shards));
    }

    /// The sum over all servers.
    pub(super) fn totals(&self) -> ServerTotals {
        let (mut sum, shards) = {
            let mut registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            registry.fold();
            (registry.gone.clone(), registry.shards.clone())
        };
        for shards in shards {
            sum.add(&ServerTotals::sum(&shards));
        }
        sum
    }
}

impl Registry {
    /// Moves the counts of servers that are gone to the sum of those.
    fn fold(&mut self) {
        let gone = &mut self.gone;
        self.shards.retain_mut(|shards| {
            let is_gone = Arc::get_mut(shards).is_some_and(Sharded::is_unshared);
            if is_gone {
                gone.add(&ServerTotals::sum(shards));
            }
            !is_gone
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn successes(sums: &ServerSums) -> u64 {
        sums.totals().outcomes.success
    }

    #[test]
    fn a_server_that_is_gone_stays_in_the_sums() {
        let sums = ServerSums::default();
        let [first, second] = [(); 2].map(|()| Arc::new(Sharded::<ServerShard>::new(2)));
        sums.register(&first);
        sums.register(&second);
        first.of(0).success.add(3);
        second.of(1).success.add(4);
        assert_eq!(successes(&sums), 7);
        // A worker still has a connection to the server, which was removed.
        let of_worker = Arc::clone(first.of(1));
        drop(first);
        assert_eq!(successes(&sums), 7);
        of_worker.success.add(10);
        assert_eq!(successes(&sums), 17);
        drop(of_worker);
        assert_eq!(successes(&sums), 17);
        assert_eq!(sums.0.lock().unwrap().shards.len(), 1);
        assert_eq!(successes(&sums), 17, "and is counted once");
    }

    #[test]
    fn servers_that_come_and_go_do_not_pile_up() {
        let sums = ServerSums::default();
        for _ in 0..10 * FIRST_SEARCH {
            let server = Arc::new(Sharded::<ServerShard>::new(1));
            server.of(0).success.add(1);
            sums.register(&server);
        }
        assert!(sums.0.lock().unwrap().shards.len() <= FIRST_SEARCH + 1);
        assert_eq!(successes(&sums), 10 * FIRST_SEARCH as u64);
    }
}
