//! Makes snapshots follow the desired state: each applied state and each change of health becomes the next snapshot,
//! and each server has a prober. Removals, and servers that stay unhealthy, are finished by a command.

mod challenges;
mod follow_up;
mod local_votes;
mod opened;
mod removal_controller;
mod session_secrets;
mod tls;
mod tracked;
mod tracked_listeners;
mod tracked_pool;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::Handle,
    health::{HeadLimits, Observation},
    liveness::{Tasks, Tick},
    model::{DesiredState, OwnAddresses, PoolName, Revision, ServerId},
    snapshot::{LiveServer, Pools, Publisher, Snapshot, Snapshots},
};

use follow_up::FollowUps;
use local_votes::LocalVotes;
use removal_controller::RemovalController;
use session_secrets::SessionSecrets;
pub use tls::TlsInputs;
use tls::TlsMaterial;
use tracked::Checks;
use tracked_listeners::TrackedListeners;
use tracked_pool::TrackedPool;

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
    /// Where this node listens, besides its listeners.
    own: OwnAddresses,
    checks: Checks,
    tls: TlsMaterial,
    tracked: BTreeMap<PoolName, TrackedPool>,
    /// The servers of all pools. An address says less, because it may be in several pools.
    servers: HashMap<ServerId, Arc<LiveServer>>,
    /// Pools that have changed since the last snapshot.
    changed: BTreeSet<PoolName>,
    /// The pools in the last snapshot.
    pools: Pools,
    listeners: TrackedListeners,
    revision: Revision,
    version: u64,
    removals: u64,
    observations: mpsc::Receiver<Observation>,
    /// Servers that are being removed, whose sessions had their time.
    ended_sessions: mpsc::Receiver<ServerId>,
    session_secrets: SessionSecrets,
    tick: Tick,
}

impl Reconciler {
    /// Makes the first snapshot from the current state. Must be called inside a tokio runtime. [`run`](Self::run) makes
    /// the following ones.
    ///
    /// Servers at one of the `own` addresses of this node are neither checked nor chosen. Each node has addresses of its
    /// own, so they may be servers of other nodes. Checks accept responses whose head is within `limits`, which are those of
    /// the data path. `tls`: what TLS needs of this node.
    pub fn start(
        cluster: &Handle,
        workers: usize,
        own: OwnAddresses,
        limits: HeadLimits,
        tls: TlsInputs,
        tasks: &Tasks,
    ) -> (Self, Snapshots) {
        let states = cluster.watch();
        Self::follow(states, cluster, workers, (own, limits, tls), tasks)
    }

    /// [`Self::start`] with other states than those of the cluster.
    fn follow(
        states: watch::Receiver<Arc<DesiredState>>,
        cluster: &Handle,
        workers: usize,
        (own, limits, tls): (OwnAddresses, HeadLimits, TlsInputs),
        tasks: &Tasks,
    ) -> (Self, Snapshots) {
        let listeners = TrackedListeners::new(workers);
        let mut default = TrackedPool::new(PoolName::default(), workers);
        let pools = Pools::new(default.view());
        let nothing = Snapshot {
            version: 0,
            revision: Revision::default(),
            removals: 0,
            pools: pools.clone(),
            listeners: listeners.views().clone(),
            session_keys: Arc::default(),
        };
        let (publisher, snapshots) = Publisher::new(nothing, workers);
        let (observer, observations) = mpsc::channel(MOST_WAITING_OBSERVATIONS);
        let (ends_sessions, ended_sessions) = mpsc::channel(MOST_WAITING_OBSERVATIONS);
        let local_votes = LocalVotes::new(cluster.clone());
        let removal_controller = RemovalController {
            tick: tasks.register_slow("removal controller", removal_controller::LONGEST_STEP),
            cluster: cluster.clone(),
            snapshots: snapshots.clone(),
            local_votes: local_votes.clone(),
        };
        let mut reconciler = Self {
            states,
            publisher,
            follow_ups: FollowUps::new(local_votes, snapshots.clone(), ends_sessions),
            removal_controller: Some(removal_controller),
            workers,
            own: own.clone(),
            checks: Checks {
                own,
                limits,
                observer,
                tick: tasks.register_silent("health checks"),
            },
            tls: TlsMaterial::new(tls),
            tracked: BTreeMap::from([(PoolName::default(), default)]),
            servers: HashMap::new(),
            changed: BTreeSet::new(),
            pools,
            listeners,
            revision: Revision::default(),
            version: 0,
            removals: 0,
            observations,
            ended_sessions,
            session_secrets: SessionSecrets::new(cluster.secrets()),
            tick: tasks.register("reconciler"),
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
        let (mut arrivals, mut own) = (self.tls.arrivals(), self.tls.own_changes());
        loop {
            self.tick.tick();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.states.changed() => match changed {
                    Ok(()) => self.follow_state(),
                    Err(_) => return,
                },
                Ok(()) = arrivals.changed() => {
                    self.tls.retry();
                    self.session_secrets.retry();
                    self.follow_state();
                }
                Ok(()) = own.changed() => self.follow_state(),
                _ = self.observations.recv_many(&mut observed, MOST_IN_SNAPSHOT) => {
                    self.take_in(observed.drain(..));
                }
                Some(server) = self.ended_sessions.recv() => self.end_sessions(server),
                () = Tick::due() => {}
            }
        }
    }

    /// Applies the newest desired state.
    fn follow_state(&mut self) {
        let state = Arc::clone(&self.states.borrow_and_update());
        self.follow_listeners(&state);
        self.session_secrets.follow(&state);
        self.follow_pools(&state);
        self.revision = state.revision;
        self.publish();
    }

    /// Applies the pools of `state`. Both maps are walked side by side, because a change of one pool among thousands must not cost
    /// a lookup of each.
    fn follow_pools(&mut self, state: &DesiredState) {
        let (mut new, mut followed) = (Vec::new(), Vec::new());
        let mut tracked = self.tracked.iter_mut().peekable();
        for (name, desired) in &state.pools {
            while tracked.next_if(|(tracked, _)| *tracked < name).is_some() {}
            let Some((_, pool)) = tracked.next_if(|(tracked, _)| *tracked == name) else {
                new.push((name, desired));
                continue;
            };
            let changes = pool.follow(desired, state, &self.checks, &mut self.tls);
            followed.extend(changes.map(|changes| (name, changes)));
        }
        for (name, desired) in new {
            let mut pool = TrackedPool::new(name.clone(), self.workers);
            let changes = pool.follow(desired, state, &self.checks, &mut self.tls);
            followed.extend(changes.map(|changes| (name, changes)));
            self.tracked.insert(name.clone(), pool);
        }
        for (name, changes) in followed {
            self.forget_servers(changes.removed);
            let added = changes.added.into_iter();
            self.servers.extend(added.map(|live| (live.id, live)));
            self.changed.insert(name.clone());
        }
        // All pools of the state are tracked now.
        if self.tracked.len() != state.pools.size() {
            let gone = |name: &&PoolName| !state.pools.contains_key(*name);
            let gone: Vec<PoolName> = self.tracked.keys().filter(gone).cloned().collect();
            for name in gone {
                self.forget_pool(&name);
            }
        }
    }

    /// Applies the listeners of `state`. A server at the address of one is this node itself.
    fn follow_listeners(&mut self, state: &DesiredState) {
        self.tls.follow(state);
        if !self.listeners.follow(state, &mut self.tls) {
            return;
        }
        self.checks.own = self.own.with_listeners_of(state);
        for (name, pool) in &mut self.tracked {
            if pool.follow_own_addresses(&self.checks) {
                self.changed.insert(name.clone());
            }
        }
    }

    fn forget_pool(&mut self, name: &PoolName) {
        if let Some(pool) = self.tracked.remove(name) {
            self.forget_servers(pool.servers());
            self.pools.take(name);
        }
    }

    fn forget_servers(&mut self, gone: impl IntoIterator<Item = ServerId>) {
        for id in gone {
            self.servers.remove(&id);
            self.removals += 1;
        }
    }

    fn take_in(&mut self, observed: impl Iterator<Item = Observation>) {
        for Observation { server, health } in observed {
            // The server was removed while the observation was in the queue.
            let Some(live) = self.servers.get(&server) else {
                continue;
            };
            let name = &live.pool.name;
            if let Some(pool) = self.tracked.get_mut(name) {
                pool.observe(live.address, health);
                self.changed.insert(name.clone());
            }
        }
        self.publish();
    }

    /// Ends the sessions of a server that is being removed.
    fn end_sessions(&mut self, server: ServerId) {
        let Some(live) = self.servers.get(&server) else {
            return;
        };
        let name = &live.pool.name;
        if let Some(pool) = self.tracked.get_mut(name) {
            pool.end_sessions(live.address);
            self.changed.insert(name.clone());
        }
        self.publish();
    }

    fn publish(&mut self) {
        self.version += 1;
        let changed = std::mem::take(&mut self.changed);
        for name in &changed {
            if let Some(pool) = self.tracked.get_mut(name) {
                self.pools.put(pool.view());
            }
        }
        self.publisher.publish(Snapshot {
            version: self.version,
            revision: self.revision,
            removals: self.removals,
            pools: self.pools.clone(),
            listeners: self.listeners.views().clone(),
            session_keys: self.session_secrets.keys(),
        });
        for name in &changed {
            if let Some(pool) = self.tracked.get_mut(name) {
                pool.follow_up(&self.follow_ups, self.version);
            }
        }
    }
}

#[cfg(test)]
mod tests;
