//! Makes what is seen follow what is wanted: each applied state and each change of health becomes the next
//! snapshot, each server has its prober, and what takes time (removals, servers that stay unhealthy) is
//! brought to its end by a command.

mod follow_up;
mod tracked;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::Handle,
    health::Observation,
    model::{DesiredState, Pool, PoolName, PoolSettings, Revision, ServerId},
    snapshot::{PoolView, Publisher, Snapshot, Snapshots},
};

use follow_up::FollowUps;
use tracked::Tracked;

/// Changes of health that wait to be published; probers wait when there are more.
const MOST_WAITING_OBSERVATIONS: usize = 1024;
/// Changes of health that share one snapshot.
const MOST_IN_SNAPSHOT: usize = 256;

/// The task between the desired state and the snapshots.
#[derive(Debug)]
pub struct Reconciler {
    states: watch::Receiver<Arc<DesiredState>>,
    publisher: Publisher,
    follow_ups: FollowUps,
    workers: usize,
    servers: BTreeMap<SocketAddr, Tracked>,
    addresses: HashMap<ServerId, SocketAddr>,
    settings: PoolSettings,
    settings_revision: Revision,
    revision: Revision,
    version: u64,
    removals: u64,
    observer: mpsc::Sender<Observation>,
    observations: mpsc::Receiver<Observation>,
}

impl Reconciler {
    /// Begins with the state as it is. Must be called inside a tokio runtime; [`run`](Self::run) goes on.
    pub fn start(cluster: &Handle, workers: usize) -> (Self, Snapshots) {
        let settings = PoolSettings::default();
        let nothing = Snapshot {
            version: 0,
            revision: Revision::default(),
            removals: 0,
            pool: PoolView::new(
                PoolName::default(),
                settings.clone(),
                Revision::default(),
                vec![],
            ),
        };
        let (publisher, snapshots) = Publisher::new(nothing, workers);
        let (observer, observations) = mpsc::channel(MOST_WAITING_OBSERVATIONS);
        let mut reconciler = Self {
            states: cluster.watch(),
            publisher,
            follow_ups: FollowUps::new(cluster.clone(), snapshots.clone()),
            workers,
            servers: BTreeMap::new(),
            addresses: HashMap::new(),
            settings,
            settings_revision: Revision::default(),
            revision: Revision::default(),
            version: 0,
            removals: 0,
            observer,
            observations,
        };
        reconciler.follow_state();
        (reconciler, snapshots)
    }

    /// Follows the desired state and the health of the servers until `stop`, or until the state is gone.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut observed = Vec::with_capacity(MOST_IN_SNAPSHOT);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.states.changed() => match changed {
                    Ok(()) => self.follow_state(),
                    Err(_) => return,
                },
                _ = self.observations.recv_many(&mut observed, MOST_IN_SNAPSHOT) => {
                    self.take_in(observed.drain(..));
                }
            }
        }
    }

    /// Makes the newest desired state the one that is acted on.
    fn follow_state(&mut self) {
        let state = Arc::clone(&self.states.borrow_and_update());
        self.revision = state.revision;
        if let Ok(pool) = state.pool(&PoolName::default()) {
            let check_changed = self.settings.check != pool.settings.check;
            self.settings = pool.settings.clone();
            self.settings_revision = pool.settings_revision;
            self.follow_servers(pool, check_changed);
        }
        self.publish();
    }

    fn follow_servers(&mut self, pool: &Pool, check_changed: bool) {
        let gone = |address: &SocketAddr, tracked: &Tracked| {
            pool.servers
                .get(address)
                .is_none_or(|server| server.id != tracked.id())
        };
        let before = self.servers.len();
        let addresses = &mut self.addresses;
        self.servers.retain(|address, tracked| {
            let gone = gone(address, tracked);
            if gone {
                addresses.remove(&tracked.id());
            }
            !gone
        });
        self.removals += (before - self.servers.len()) as u64;
        for (address, desired) in &pool.servers {
            match self.servers.get_mut(address) {
                Some(tracked) => {
                    if check_changed || !Arc::ptr_eq(tracked.desired(), desired) {
                        tracked.follow(desired, &self.settings);
                    }
                }
                None => {
                    let tracked = Tracked::start(
                        desired,
                        &self.settings,
                        self.workers,
                        self.observer.clone(),
                    );
                    self.addresses.insert(desired.id, *address);
                    self.servers.insert(*address, tracked);
                }
            }
        }
    }

    fn take_in(&mut self, observed: impl Iterator<Item = Observation>) {
        for Observation { server, health } in observed {
            let address = self.addresses.get(&server);
            // None: the server left the pool while this was on its way.
            if let Some(tracked) = address.and_then(|address| self.servers.get_mut(address)) {
                tracked.observe(health);
            }
        }
        self.publish();
    }

    fn publish(&mut self) {
        self.version += 1;
        let servers = self
            .servers
            .values()
            .map(|tracked| Arc::clone(tracked.view()))
            .collect();
        self.publisher.publish(Snapshot {
            version: self.version,
            revision: self.revision,
            removals: self.removals,
            pool: PoolView::new(
                PoolName::default(),
                self.settings.clone(),
                self.settings_revision,
                servers,
            ),
        });
        for tracked in self.servers.values_mut() {
            tracked.follow_up(&self.follow_ups, &self.settings, self.version);
        }
    }
}
