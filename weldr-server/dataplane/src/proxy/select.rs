//! Which server gets a request: the algorithm of the pool, with this worker's position in the pool's rounds and its
//! random numbers.

use std::cell::RefCell;

use rustc_hash::FxHashSet;

use crate::{
    balancer::{least_requests, round_robin},
    model::{Balancing, ServerId},
    snapshot::{Candidate, Candidates, PoolView, Unavailable},
};

/// The servers that a request was already tried on.
#[derive(Debug, Default)]
pub(super) struct Tried(FxHashSet<ServerId>);

impl Tried {
    pub(super) fn insert(&mut self, server: ServerId) {
        self.0.insert(server);
    }

    pub(super) fn contains(&self, server: ServerId) -> bool {
        self.0.contains(&server)
    }
}

/// How a worker chooses among the servers of any pool. Its position in the rounds of a pool is that pool's: see
/// [`LivePool`](crate::snapshot::LivePool).
pub(super) struct Selector {
    worker: usize,
    rng: RefCell<fastrand::Rng>,
}

impl Selector {
    pub(super) fn new(worker: usize, rng: fastrand::Rng) -> Self {
        Self {
            worker,
            rng: RefCell::new(rng),
        }
    }

    /// Chooses a server for a request that was already `tried` on some: one of those again only when there is no other.
    pub(super) fn select<'p>(
        &self,
        pool: &'p PoolView,
        tried: &Tried,
    ) -> Result<&'p Candidate, Unavailable> {
        let candidates = pool.candidates()?;
        let first = self.pick(pool, candidates).unwrap_or(0);
        let mut places = (first..candidates.len())
            .chain(0..first)
            .take(tried.0.len() + 1);
        let untried = places.find_map(|place| {
            candidates
                .get(place)
                .filter(|candidate| !tried.contains(candidate.id))
        });
        // Candidates are at least one, and picks are places of theirs.
        untried
            .or_else(|| candidates.get(first))
            .ok_or(Unavailable::NoneReady)
    }

    fn pick(&self, pool: &PoolView, candidates: &Candidates) -> Option<usize> {
        let count = candidates.len();
        let position = || pool.live.of(self.worker).next_position();
        match (pool.settings.balancing, candidates.schedule()) {
            (Balancing::RoundRobin | Balancing::WeightedRoundRobin, Some(schedule)) => {
                schedule.pick(position())
            }
            (Balancing::RoundRobin | Balancing::WeightedRoundRobin, None) => {
                round_robin(count, position())
            }
            // Chosen by their place on the circle.
            (Balancing::ConsistentHash, _) => None,
            (Balancing::LeastRequests, _) => {
                let mut rng = self.rng.borrow_mut();
                let load = |place: usize| {
                    candidates
                        .get(place)
                        .map_or((0, 1), |candidate| self.load(candidate))
                };
                least_requests(count, |below| rng.usize(..below), load)
            }
        }
    }

    /// Only what this worker runs: the others' counts would have to be fetched from their cores, and each
    /// worker evens out its own share.
    fn load(&self, Candidate { server, .. }: &Candidate) -> (u64, u32) {
        let running = server.live.shards.of(self.worker).in_flight.get();
        (running, server.desired.spec.weight.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{PoolSettings, Revision},
        snapshot::test_views::{add_healthy, pool_named},
    };

    fn pool(name: &str, balancing: Balancing, servers: u16) -> PoolView {
        let mut pool = pool_named(name);
        let settings = PoolSettings {
            balancing,
            ..PoolSettings::default()
        };
        pool.set_settings(settings, Revision(1));
        for port in 1..=servers {
            add_healthy(&mut pool, port.into(), port);
        }
        pool
    }

    fn selector(worker: usize) -> Selector {
        Selector::new(worker, fastrand::Rng::with_seed(7))
    }

    fn choose(selector: &Selector, pool: &PoolView) -> u64 {
        selector.select(pool, &Tried::default()).unwrap().id.0
    }

    /// The one whose turn comes after `id` among servers 1 to `count`.
    fn after(id: u64, count: u64) -> u64 {
        id % count + 1
    }

    #[test]
    fn each_pool_and_each_worker_has_a_position_of_its_own() {
        let (first, other) = (selector(0), selector(1));
        let web = pool("web", Balancing::RoundRobin, 3);
        let api = pool("api", Balancing::RoundRobin, 3);
        let begun = choose(&first, &web);
        // Neither of them nor both together make whole rounds.
        for _ in 0..2 {
            choose(&first, &api);
            choose(&other, &web);
        }
        assert_eq!(choose(&first, &web), after(begun, 3));
    }

    #[test]
    fn a_position_outlives_the_change_of_its_pool() {
        let selector = selector(0);
        for balancing in [Balancing::RoundRobin, Balancing::WeightedRoundRobin] {
            let mut web = pool("web", balancing, 64);
            let positions = |pool: &PoolView, count| -> Vec<u64> {
                (0..count).map(|_| choose(&selector, pool)).collect()
            };
            let mut seen = positions(&web, 20);
            // The server's next life takes its turns.
            add_healthy(&mut web, 1, 1);
            seen.extend(positions(&web.clone(), 44));
            seen.sort_unstable();
            assert_eq!(seen, (1..=64).collect::<Vec<_>>(), "{balancing:?}");
        }
    }
}
