//! The servers among which one is chosen.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use rpds::{HashTrieMapSync, VectorSync};

use crate::{
    balancer::{HashRing, Schedule},
    model::{Balancing, ServerId},
};

use super::ServerView;

/// The servers that new requests may go to, each at a place that a balancing algorithm can name.
///
/// A server that leaves gives its place to the last one, so that a change touches two places and not all.
#[derive(Debug, Clone)]
pub struct Candidates {
    servers: VectorSync<Candidate>,
    places: HashTrieMapSync<SocketAddr, usize>,
    balancing: Balancing,
    /// How many servers have each weight.
    weights: BTreeMap<u32, usize>,
    /// The turns by weight, when the pool gives turns and its weights differ. Made anew by [`settle`](Self::settle) after a change:
    /// the one thing here that takes longer the more servers there are.
    schedule: Option<Arc<Schedule>>,
    /// The circle of the servers, when the pool balances by a hash. Empty otherwise.
    ring: HashRing,
}

/// A server that new requests may go to.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its id, so that a worker that knows the server finds it without a look at it: in a pool of thousands, what has
    /// to be looked at is in no cache.
    pub id: ServerId,
    /// The server.
    pub server: Arc<ServerView>,
}

impl From<&Arc<ServerView>> for Candidate {
    fn from(server: &Arc<ServerView>) -> Self {
        Self {
            id: server.desired.id,
            server: Arc::clone(server),
        }
    }
}

fn weight_of(server: &ServerView) -> u32 {
    server.desired.spec.weight.get()
}

/// Where a server is on the circle, and with what weight.
fn point_of(server: &ServerView) -> (SocketAddr, u32) {
    (server.desired.address, server.desired.spec.weight.get())
}

impl Candidates {
    pub(super) fn new(balancing: Balancing) -> Self {
        let (servers, places) = (VectorSync::new_sync(), HashTrieMapSync::new_sync());
        Self {
            servers,
            places,
            balancing,
            weights: BTreeMap::new(),
            schedule: None,
            ring: HashRing::default(),
        }
    }

    pub(super) fn set_balancing(&mut self, balancing: Balancing) {
        self.balancing = balancing;
        self.schedule = None;
        self.ring = HashRing::default();
        if balancing == Balancing::ConsistentHash {
            for candidate in &self.servers {
                let (address, weight) = point_of(&candidate.server);
                self.ring.add(address, weight);
            }
        }
    }

    /// Makes `server` the candidate at `address`; `None`: there is none.
    pub(super) fn set(&mut self, address: SocketAddr, server: Option<&Arc<ServerView>>) {
        let place = self.places.get(&address).copied();
        self.count_weight(place, server);
        if self.balancing == Balancing::ConsistentHash {
            self.set_on_ring(place, server);
        }
        match (place, server) {
            (None, None) => return,
            (Some(place), Some(server)) => drop(self.servers.set_mut(place, server.into())),
            (None, Some(server)) => {
                self.places.insert_mut(address, self.servers.len());
                self.servers.push_back_mut(server.into());
            }
            (Some(place), None) => self.vacate(address, place),
        }
        self.schedule = None;
    }

    /// Counts the weight of the server that comes to `place`, and no longer that of the one that is there.
    fn count_weight(&mut self, place: Option<usize>, server: Option<&Arc<ServerView>>) {
        let before = place.and_then(|place| self.servers.get(place));
        if let Some(weight) = before.map(|before| weight_of(&before.server)) {
            let count = self.weights.entry(weight).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.weights.remove(&weight);
            }
        }
        if let Some(server) = server {
            *self.weights.entry(weight_of(server)).or_default() += 1;
        }
    }

    /// Moves the points of the server at `place` to those of `server`.
    fn set_on_ring(&mut self, place: Option<usize>, server: Option<&Arc<ServerView>>) {
        let before = place.and_then(|place| self.servers.get(place));
        let before = before.map(|candidate| point_of(&candidate.server));
        let after = server.map(|server| point_of(server));
        if before == after {
            return;
        }
        if let Some((address, weight)) = before {
            self.ring.remove(address, weight);
        }
        if let Some((address, weight)) = after {
            self.ring.add(address, weight);
        }
    }

    /// The servers for the hash `key`, in the order in which they are tried; each may come several times.
    pub fn by_hash(&self, key: u64) -> impl Iterator<Item = &Candidate> {
        self.ring.walk(key).filter_map(|address| {
            let place = self.places.get(&address)?;
            self.servers.get(*place)
        })
    }

    fn vacate(&mut self, address: SocketAddr, place: usize) {
        if let Some(last) = self.servers.last().cloned() {
            self.places.insert_mut(last.server.desired.address, place);
            self.servers.set_mut(place, last);
        }
        self.servers.drop_last_mut();
        self.places.remove_mut(&address);
    }

    /// Makes the turns by weight, when they are wanted and there are none. Equal weights need none: then each server has a
    /// turn.
    pub(super) fn settle(&mut self) {
        let gives_turns = match self.balancing {
            Balancing::RoundRobin | Balancing::WeightedRoundRobin => true,
            Balancing::LeastRequests | Balancing::ConsistentHash => false,
        };
        if gives_turns && self.weights.len() > 1 && self.schedule.is_none() {
            let weights = self.iter().map(|candidate| weight_of(&candidate.server));
            self.schedule = Some(Arc::new(Schedule::new(weights)));
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// The one at `place`.
    pub fn get(&self, place: usize) -> Option<&Candidate> {
        self.servers.get(place)
    }

    /// All of them, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Candidate> {
        self.servers.iter()
    }

    /// The turns by weight, when the pool gives turns, its weights differ, and it is settled.
    pub fn schedule(&self) -> Option<&Schedule> {
        self.schedule.as_deref()
    }
}
