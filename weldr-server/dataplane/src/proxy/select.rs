//! Which server gets a request: the algorithm of the pool, with the position and the random numbers of this worker.

use std::cell::{Cell, RefCell};

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

/// A worker's place in the rounds.
pub(super) struct Selector {
    worker: usize,
    position: Cell<u64>,
    rng: RefCell<fastrand::Rng>,
}

impl Selector {
    /// Begins at a random place, so that workers do not walk in step.
    pub(super) fn new(worker: usize, mut rng: fastrand::Rng) -> Self {
        Self {
            worker,
            position: Cell::new(u64::from(rng.u32(..))),
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
        let first = self.pick(pool.settings.balancing, candidates).unwrap_or(0);
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

    fn pick(&self, balancing: Balancing, candidates: &Candidates) -> Option<usize> {
        let count = candidates.len();
        match (balancing, candidates.schedule()) {
            (Balancing::WeightedRoundRobin, Some(schedule)) => schedule.pick(self.turn()),
            (Balancing::RoundRobin | Balancing::WeightedRoundRobin, _) => {
                round_robin(count, self.turn())
            }
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

    fn turn(&self) -> u64 {
        let position = self.position.get();
        self.position.set(position.wrapping_add(1));
        position
    }
}
