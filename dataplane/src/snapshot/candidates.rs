//! The servers among which one is chosen.

use std::{net::SocketAddr, sync::Arc};

use rpds::{HashTrieMapSync, VectorSync};

use crate::{balancer::Schedule, model::Balancing};

use super::ServerView;

/// The servers that new requests may go to, each at a place that a balancing algorithm can name.
///
/// A server that leaves gives its place to the last one, so that a change touches two places and not all.
#[derive(Debug, Clone)]
pub struct Candidates {
    servers: VectorSync<Arc<ServerView>>,
    places: HashTrieMapSync<SocketAddr, usize>,
    balancing: Balancing,
    /// The turns by weight, when the pool balances so. Made anew by [`settle`](Self::settle) after a change:
    /// the one thing here that takes longer the more servers there are.
    schedule: Option<Arc<Schedule>>,
}

impl Candidates {
    pub(super) fn new(balancing: Balancing) -> Self {
        let (servers, places) = (VectorSync::new_sync(), HashTrieMapSync::new_sync());
        Self {
            servers,
            places,
            balancing,
            schedule: None,
        }
    }

    pub(super) fn set_balancing(&mut self, balancing: Balancing) {
        self.balancing = balancing;
        self.schedule = None;
    }

    /// Makes `server` the candidate at `address`; `None`: there is none.
    pub(super) fn set(&mut self, address: SocketAddr, server: Option<&Arc<ServerView>>) {
        let place = self.places.get(&address).copied();
        match (place, server) {
            (None, None) => return,
            (Some(place), Some(server)) => drop(self.servers.set_mut(place, Arc::clone(server))),
            (None, Some(server)) => {
                self.places.insert_mut(address, self.servers.len());
                self.servers.push_back_mut(Arc::clone(server));
            }
            (Some(place), None) => self.vacate(address, place),
        }
        self.schedule = None;
    }

    fn vacate(&mut self, address: SocketAddr, place: usize) {
        if let Some(last) = self.servers.last().cloned() {
            self.places.insert_mut(last.desired.address, place);
            self.servers.set_mut(place, last);
        }
        self.servers.drop_last_mut();
        self.places.remove_mut(&address);
    }

    /// Makes the turns by weight, when they are wanted and there are none.
    pub(super) fn settle(&mut self) {
        if self.balancing == Balancing::WeightedRoundRobin && self.schedule.is_none() {
            let weights = self
                .servers
                .iter()
                .map(|server| server.desired.spec.weight.get());
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

    /// The server at `place`.
    pub fn get(&self, place: usize) -> Option<&Arc<ServerView>> {
        self.servers.get(place)
    }

    /// All of them, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ServerView>> {
        self.servers.iter()
    }

    /// The turns by weight, when the pool balances so and is settled.
    pub fn schedule(&self) -> Option<&Schedule> {
        self.schedule.as_deref()
    }
}
