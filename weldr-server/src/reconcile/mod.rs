//! Makes snapshots follow the desired state: each applied state and each change of health becomes the next snapshot,
//! and each server has a prober. Removals, and servers that stay unhealthy, are finished by a command.

mod follow_up;
mod local_votes;
mod removal_controller;
mod tracked;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::Handle,
    health::{HeadLimits, Observation},
    liveness::{Tasks, Tick},
    model::{DesiredState, OwnAddresses, Pool, PoolName, PoolSettings, Revision, ServerId},
    snapshot::{PoolView, Publisher, Snapshot, Snapshots},
};

use follow_up::FollowUps;
use local_votes::LocalVotes;
use removal_controller::RemovalController;
use tracked::Tracked;

/// The capacity of the queue of health changes. Probers wait while it is full.
const MOST_WAITING_OBSERVATIONS: usize = 1024;
/// How many health changes share one snapshot.
const MOST_IN_SNAPSHOT: usize = 256;

/// The task that makes snapshots from the desired state and the health.
#[derive(Debug)]
pub struct Reconciler {
    states: watch::Receiver<Arc<DesiredState>>,
    publisher: Publisher,
    follow_ups: FollowUps,
    /// Taken when the task starts.
    removal_controller: Option<RemovalController>,
    workers: usize,
    /// Where this node itself listens: other nodes may have servers there.
    own: OwnAddresses,
    /// How large the head of a response may be, for checks as for requests.
    limits: HeadLimits,
    servers: BTreeMap<SocketAddr, Tracked>,
    addresses: HashMap<ServerId, SocketAddr>,
    /// Servers that have changed since the last snapshot.
    touched: BTreeSet<SocketAddr>,
    /// The pool in the next snapshot.
    pool: PoolView,
    revision: Revision,
    version: u64,
    removals: u64,
    observer: mpsc::Sender<Observation>,
    observations: mpsc::Receiver<Observation>,
    tick: Tick,
    /// Stands for the tasks that check the servers.
    checks: Tick,
}

impl Reconciler {
    /// Makes the first snapshot from the current state. Must be called inside a tokio runtime. [`run`](Self::run) makes
    /// the following ones.
    ///
    /// Servers at one of the `own` addresses of this node are neither checked nor chosen. Each node has addresses of its
    /// own, so they may be servers of other nodes. Checks accept responses whose head is within `limits`, which are those of
    /// the data path.
    pub fn start(
        cluster: &Handle,
        workers: usize,
        own: OwnAddresses,
        limits: HeadLimits,
        tasks: &Tasks,
    ) -> (Self, Snapshots) {
        let (name, settings) = (PoolName::default(), PoolSettings::default());
        let pool = PoolView::new(name, settings, Revision::default(), vec![]);
        let nothing = Snapshot {
            version: 0,
            revision: Revision::default(),
            removals: 0,
            pool: pool.clone(),
        };
        let (publisher, snapshots) = Publisher::new(nothing, workers);
        let (observer, observations) = mpsc::channel(MOST_WAITING_OBSERVATIONS);
        let local_votes = LocalVotes::new(cluster.clone());
        let removal_controller = RemovalController {
            tick: tasks.register_slow("removal controller", removal_controller::LONGEST_STEP),
            cluster: cluster.clone(),
            snapshots: snapshots.clone(),
            local_votes: local_votes.clone(),
        };
        let mut reconciler = Self {
            states: cluster.watch(),
            publisher,
            follow_ups: FollowUps::new(local_votes, snapshots.clone()),
            removal_controller: Some(removal_controller),
            workers,
            own,
            limits,
            servers: BTreeMap::new(),
            addresses: HashMap::new(),
            touched: BTreeSet::new(),
            pool,
            revision: Revision::default(),
            version: 0,
            removals: 0,
            observer,
            observations,
            tick: tasks.register("reconciler"),
            checks: tasks.register_silent("health checks"),
        };
        reconciler.follow_state();
        (reconciler, snapshots)
    }

    /// Follows the desired state and the health of the servers until `stop`, or until the sender of the state is
    /// dropped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut observed = Vec::with_capacity(MOST_IN_SNAPSHOT);
        let ended = stop.child_token();
        let _ended = ended.clone().drop_guard();
        let _end = self.tick.end();
        if let Some(removal_controller) = self.removal_controller.take() {
            let tick = removal_controller.tick.clone();
            tokio::spawn(tick.watch(removal_controller.run(ended)));
        }
        loop {
            self.tick.tick();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.states.changed() => match changed {
                    Ok(()) => self.follow_state(),
                    Err(_) => return,
                },
                _ = self.observations.recv_many(&mut observed, MOST_IN_SNAPSHOT) => {
                    self.take_in(observed.drain(..));
                }
                () = Tick::due() => {}
            }
        }
    }

    /// Applies the newest desired state.
    fn follow_state(&mut self) {
        let state = Arc::clone(&self.states.borrow_and_update());
        if let Ok(pool) = state.pool(&PoolName::default()) {
            self.follow_pool(pool);
        }
        self.revision = state.revision;
        self.publish();
    }

    fn follow_pool(&mut self, desired: &Pool) {
        let before = &self.pool.settings;
        // A pool-wide setting changed that affects every server.
        let all = before.check != desired.settings.check
            || before.deregister_after != desired.settings.deregister_after
            || before.strict_responses != desired.settings.strict_responses;
        self.pool
            .set_settings(desired.settings.clone(), desired.settings_revision);
        let changed: BTreeSet<SocketAddr> = match desired.recent.since(self.revision) {
            Some(changed) if !all => changed.collect(),
            _ => self
                .servers
                .keys()
                .chain(desired.servers.keys())
                .copied()
                .collect(),
        };
        for address in changed {
            self.follow_server(desired, address);
        }
    }

    fn follow_server(&mut self, pool: &Pool, address: SocketAddr) {
        let desired = pool.servers.get(&address);
        let present = self.servers.get(&address).map(Tracked::id);
        if present.is_some() && present != desired.map(|desired| desired.id) {
            self.forget(address);
        }
        let Some(desired) = desired else { return };
        if let Some(tracked) = self.servers.get_mut(&address) {
            tracked.follow(desired, &pool.settings);
        } else {
            let is_own = self.is_own(address);
            let observer = self.observer.clone();
            let (workers, limits) = (self.workers, self.limits);
            let tracked = Tracked::start(
                desired,
                &pool.settings,
                is_own,
                workers,
                limits,
                observer,
                &self.checks,
            );
            self.addresses.insert(desired.id, address);
            self.servers.insert(address, tracked);
        }
        self.touched.insert(address);
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        let Some(listener) = self.own.reached_by(address) else {
            return false;
        };
        tracing::warn!(
            server = %address,
            listener = %listener.address,
            "server is not used: this node itself listens on its address"
        );
        true
    }

    fn forget(&mut self, address: SocketAddr) {
        if let Some(gone) = self.servers.remove(&address) {
            self.addresses.remove(&gone.id());
            self.pool.take(address);
            self.removals += 1;
        }
    }

    fn take_in(&mut self, observed: impl Iterator<Item = Observation>) {
        for Observation { server, health } in observed {
            // The server was removed while the observation was in the queue.
            let Some(address) = self.addresses.get(&server) else {
                continue;
            };
            if let Some(tracked) = self.servers.get_mut(address) {
                tracked.observe(health);
                self.touched.insert(*address);
            }
        }
        self.publish();
    }

    fn publish(&mut self) {
        self.version += 1;
        let touched = std::mem::take(&mut self.touched);
        for tracked in touched
            .iter()
            .filter_map(|address| self.servers.get(address))
        {
            self.pool.put(Arc::clone(tracked.view()));
        }
        self.pool.settle();
        self.publisher.publish(Snapshot {
            version: self.version,
            revision: self.revision,
            removals: self.removals,
            pool: self.pool.clone(),
        });
        for address in touched {
            if let Some(tracked) = self.servers.get_mut(&address) {
                tracked.follow_up(&self.follow_ups, &self.pool.settings, self.version);
            }
        }
    }
}

#[cfg(test)]
mod tests;
