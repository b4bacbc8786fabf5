//! Which server gets a request: the algorithm of the pool, with this worker's position in the pool's rounds and its
//! random numbers.

use std::{cell::RefCell, net::SocketAddr, time::Instant};

use rustc_hash::FxHashSet;

use crate::{
    balancer::{least_requests, round_robin, slow_start},
    model::{Balancing, ServerId},
    snapshot::{Candidate, Candidates, PoolView, Unavailable},
};

/// The servers that a request was already tried on.
#[derive(Debug, Default)]
pub(super) struct Tried {
    servers: FxHashSet<ServerId>,
    key: Option<u64>,
    /// The server of its session, while it is to go there.
    session: Option<SocketAddr>,
}

impl Tried {
    /// None yet. `key` decides which server gets the request in a pool that balances by a hash, and `session` is the server
    /// of its session.
    pub(super) fn new(key: Option<u64>, session: Option<SocketAddr>) -> Self {
        Self {
            servers: FxHashSet::default(),
            key,
            session,
        }
    }

    /// The server of the request's session, if it is to go there: also again, to wait for a server that was full.
    pub(super) fn session(&self) -> Option<SocketAddr> {
        self.session
    }

    /// Sends the request to other servers than that of its session, which has failed.
    pub(super) fn leave_session(&mut self) {
        self.session = None;
    }

    pub(super) fn insert(&mut self, server: ServerId) {
        self.servers.insert(server);
    }

    pub(super) fn contains(&self, server: ServerId) -> bool {
        self.servers.contains(&server)
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
        if pool.settings.balancing == Balancing::ConsistentHash {
            return self.by_hash(candidates, tried);
        }
        let first = if pool.settings.slow_start.is_zero() {
            self.pick(pool, candidates)
        } else {
            self.pick_warm(pool, candidates)
        };
        let first = first.unwrap_or(0);
        let mut places = (first..candidates.len())
            .chain(0..first)
            .take(tried.servers.len() + 1);
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

    /// The first server for the key of the request that it was not tried on. A request without a key, which came before the
    /// pool balanced by a hash, gets any.
    fn by_hash<'p>(
        &self,
        candidates: &'p Candidates,
        tried: &Tried,
    ) -> Result<&'p Candidate, Unavailable> {
        let key = tried.key.unwrap_or_else(|| self.rng.borrow_mut().u64(..));
        let mut servers = candidates.by_hash(key);
        let first = servers.next().ok_or(Unavailable::NoneReady)?;
        if !tried.contains(first.id) {
            return Ok(first);
        }
        Ok(servers
            .find(|server| !tried.contains(server.id))
            .unwrap_or(first))
    }

    /// Picks a server until one takes the request: one that has become healthy a short time ago takes few.
    fn pick_warm(&self, pool: &PoolView, candidates: &Candidates) -> Option<usize> {
        /// If so many in a row take none, all are cold.
        const MOST_PICKS: usize = 16;
        let now = Instant::now();
        let takes = |place: &usize| {
            let Some(Candidate { server, .. }) = candidates.get(*place) else {
                return true;
            };
            let since = server.live.healthy_for(now);
            let share = slow_start::share(since, pool.settings.slow_start);
            share >= 1.0 || self.rng.borrow_mut().f64() < share
        };
        let mut picks = (0..MOST_PICKS).map_while(|_| self.pick(pool, candidates));
        let first = picks.next()?;
        if takes(&first) {
            return Some(first);
        }
        Some(picks.find(takes).unwrap_or(first))
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
    use std::time::Duration;

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

    #[test]
    fn requests_with_one_key_go_to_one_server_and_around_those_tried() {
        let selector = selector(0);
        let mut web = pool("web", Balancing::ConsistentHash, 5);
        let chosen = |pool: &PoolView, tried: &Tried| selector.select(pool, tried).unwrap().id;
        for key in 0..100 {
            let first = chosen(&web, &Tried::new(Some(key), None));
            assert_eq!(chosen(&web, &Tried::new(Some(key), None)), first);
            let mut tried = Tried::new(Some(key), None);
            for _ in 0..5 {
                let next = chosen(&web, &tried);
                assert!(!tried.contains(next));
                tried.insert(next);
            }
            assert_eq!(chosen(&web, &tried), first, "all were tried");
        }
        let before: Vec<_> = (0..100)
            .map(|key| chosen(&web, &Tried::new(Some(key), None)))
            .collect();
        web.take(([127, 0, 0, 1], 3).into());
        web.settle();
        for (key, before) in (0..100).zip(before) {
            let after = chosen(&web, &Tried::new(Some(key), None));
            assert!(after == before || before == ServerId(3));
        }
    }

    #[test]
    fn a_server_that_became_healthy_gets_a_tenth_of_its_share_at_first() {
        let selector = selector(0);
        for balancing in [Balancing::RoundRobin, Balancing::LeastRequests] {
            let mut web = pool("web", balancing, 2);
            let settings = PoolSettings {
                slow_start: Duration::from_hours(1),
                ..web.settings.clone()
            };
            web.set_settings(settings, Revision(2));
            let cold = web.server(([127, 0, 0, 1], 1).into()).unwrap();
            cold.live.became_healthy();
            let to_cold = (0..10_000).filter(|_| choose(&selector, &web) == 1).count();
            // Of 11 requests, ten go to the other one.
            assert!((700..1_150).contains(&to_cold), "{balancing:?}: {to_cold}");
            let other = web.server(([127, 0, 0, 1], 2).into()).unwrap();
            other.live.became_healthy();
            let to_first = (0..10_000).filter(|_| choose(&selector, &web) == 1).count();
            assert!(
                (4_000..6_000).contains(&to_first),
                "{balancing:?}: {to_first}"
            );
        }
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
