//! Which server gets a request: the pool's algorithm, with this worker's own position and dice.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use crate::{
    balancer::{least_requests, round_robin},
    model::{Balancing, ServerId},
    snapshot::{Candidates, PoolView, ServerView, Unavailable},
};

/// A worker's place in the rounds.
pub(super) struct Selector {
    worker: usize,
    position: Cell<u64>,
    dice: RefCell<fastrand::Rng>,
}

impl Selector {
    /// Begins at a random place, so that workers do not walk in step.
    pub(super) fn new(worker: usize, mut dice: fastrand::Rng) -> Self {
        Self {
            worker,
            position: Cell::new(u64::from(dice.u32(..))),
            dice: RefCell::new(dice),
        }
    }

    /// A server for a request that was already `tried` on some. A server is tried twice only when there are
    /// not more of them.
    pub(super) fn select<'p>(
        &self,
        pool: &'p PoolView,
        tried: &[ServerId],
    ) -> Result<&'p Arc<ServerView>, Unavailable> {
        let candidates = pool.candidates()?;
        let servers = candidates.servers();
        let first = self.pick(pool.settings.balancing, candidates).unwrap_or(0);
        let untried = (first..servers.len()).chain(0..first).take(tried.len() + 1);
        let index = untried
            .into_iter()
            .find(|&index| !tried.contains(&servers[index].desired.id))
            .unwrap_or(first);
        Ok(&servers[index])
    }

    fn pick(&self, balancing: Balancing, candidates: &Candidates) -> Option<usize> {
        let servers = candidates.servers();
        match balancing {
            Balancing::LeastRequests => {
                let mut dice = self.dice.borrow_mut();
                let load = |index: usize| {
                    let server: &ServerView = &servers[index];
                    // Only what this worker runs: the others' counts would have to be fetched from their
                    // cores, and each worker evens out its own share.
                    let running = server.live.shards.of(self.worker).in_flight.get();
                    (running, server.desired.spec.weight.get())
                };
                least_requests(servers.len(), |below| dice.usize(..below), load)
            }
            Balancing::RoundRobin => round_robin(servers.len(), self.turn()),
            Balancing::WeightedRoundRobin => match &candidates.schedule {
                Some(schedule) => schedule.pick(self.turn()),
                None => round_robin(servers.len(), self.turn()),
            },
        }
    }

    fn turn(&self) -> u64 {
        let position = self.position.get();
        self.position.set(position.wrapping_add(1));
        position
    }
}
