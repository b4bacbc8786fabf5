//! Removals whose commands come from nodes with other clocks, and states with several pools.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::{net::SocketAddr, time::Duration};

use tokio::time;

use super::*;
use crate::{
    cluster::{self, Log, Opened, StoreOptions},
    liveness::Tasks,
    model::{
        Command, DesiredState, Health, HealthState, OwnAddresses, Pool, PoolPatch, PoolSettings,
        Reason, ServerSpec, Timestamp,
    },
    snapshot::{LiveServer, PoolView, ServerView},
};

/// The longest that anything may take.
const LIMIT: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_hours(1);
const LIMITS: HeadLimits = HeadLimits {
    bytes: 32 * 1024,
    fields: 128,
};

/// A lone node without a data path: the test says what runs on its servers.
struct Node {
    cluster: Handle,
    snapshots: Snapshots,
    stop: CancellationToken,
    log: Log,
}

impl Node {
    fn start() -> Self {
        let Opened { handle, log, .. } = cluster::open(StoreOptions::default()).unwrap();
        let own = OwnAddresses::default();
        let (reconciler, snapshots) = Reconciler::start(
            &handle,
            1,
            own,
            LIMITS,
            TlsInputs::without_certificates(),
            &Tasks::default(),
        );
        let stop = CancellationToken::new();
        tokio::spawn(reconciler.run(stop.clone()));
        Self {
            cluster: handle,
            snapshots,
            stop,
            log,
        }
    }

    /// Adds a server with one request that runs on it.
    async fn add_busy(&self, port: u16) -> Arc<LiveServer> {
        let add = Command::AddServer {
            pool: PoolName::default(),
            address: address(port),
            spec: ServerSpec::default(),
            expected: None,
            at: Timestamp::now(),
        };
        let revision = self.cluster.propose(add).await.unwrap().revision;
        let snapshot = self.snapshots.wait_for(revision).await.unwrap();
        let live = Arc::clone(
            &snapshot
                .pools
                .default_pool()
                .server(address(port))
                .unwrap()
                .live,
        );
        live.shards.of(0).in_flight.rise();
        live
    }

    /// Begins a removal as a node does whose clock says `at`.
    async fn remove(&self, port: u16, deadline: Duration, at: Timestamp) {
        let remove = Command::BeginRemoval {
            pool: PoolName::default(),
            address: address(port),
            id: None,
            deadline: Some(deadline),
            expected: None,
            at,
        };
        let revision = self.cluster.propose(remove).await.unwrap().revision;
        self.snapshots.wait_for(revision).await.unwrap();
    }

    async fn is_rid_of(&self, port: u16) {
        let gone = |snapshot: &Snapshot| {
            snapshot
                .pools
                .default_pool()
                .server(address(port))
                .is_none()
        };
        let gone = self.snapshots.wait_until(gone);
        time::timeout(LIMIT, gone)
            .await
            .expect("the removal has no end");
    }

    async fn stop(self) {
        self.stop.cancel();
        self.log.stop().await;
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The date `ago` before now.
fn past(ago: Duration) -> Timestamp {
    Timestamp(Timestamp::now().0 - u64::try_from(ago.as_millis()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_of_a_node_whose_clock_is_ahead_ends_after_its_deadline() {
    let node = Node::start();
    node.add_busy(1).await;
    let ahead = Timestamp::now().after(HOUR);
    node.remove(1, Duration::from_millis(50), ahead).await;
    node.is_rid_of(1).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_of_a_node_whose_clock_is_behind_lets_requests_run_for_its_deadline() {
    let node = Node::start();
    let runs = node.add_busy(1).await;
    node.add_busy(2).await;
    node.remove(1, HOUR, past(HOUR * 2)).await;
    node.remove(2, Duration::from_millis(50), Timestamp::now())
        .await;
    // By then, the other one was looked at as well.
    node.is_rid_of(2).await;
    let there = node.snapshots.current();
    assert!(
        there.pools.default_pool().server(address(1)).is_some(),
        "it was cut"
    );
    runs.shards.of(0).in_flight.fall();
    node.is_rid_of(1).await;
    node.stop().await;
}

/// A reconciler that is driven by hand, of a state whose commands the test applies.
struct Bench {
    reconciler: Reconciler,
    snapshots: Snapshots,
    state: DesiredState,
    states: watch::Sender<Arc<DesiredState>>,
    _log: Log,
}

impl Bench {
    /// The pools `default` and `web`, both without a server.
    fn start() -> Self {
        let Opened { handle, log, .. } = cluster::open(StoreOptions::default()).unwrap();
        let mut state = DesiredState::new(PoolSettings::default());
        state
            .pools
            .insert_mut(web(), Pool::new(PoolSettings::default()));
        let (states, receiver) = watch::channel(Arc::new(state.clone()));
        let (own, tasks) = (OwnAddresses::default(), Tasks::default());
        let (reconciler, snapshots) = Reconciler::follow(
            receiver,
            &handle,
            1,
            (own, LIMITS, TlsInputs::without_certificates()),
            &tasks,
        );
        Self {
            reconciler,
            snapshots,
            state,
            states,
            _log: log,
        }
    }

    /// Changes the state, and returns the snapshot that follows.
    fn change(&mut self, change: impl FnOnce(&mut DesiredState)) -> Arc<Snapshot> {
        change(&mut self.state);
        self.states.send_replace(Arc::new(self.state.clone()));
        self.reconciler.follow_state();
        self.snapshots.current()
    }

    fn apply(&mut self, command: Command) -> Arc<Snapshot> {
        self.change(|state| _ = state.apply(command).unwrap())
    }

    fn add(&mut self, pool: &PoolName, port: u16) -> Arc<Snapshot> {
        self.apply(Command::AddServer {
            pool: pool.clone(),
            address: address(port),
            spec: ServerSpec::default(),
            expected: None,
            at: Timestamp(0),
        })
    }

    fn remove(&mut self, pool: &PoolName, port: u16, deadline: Duration) -> Arc<Snapshot> {
        self.apply(Command::BeginRemoval {
            pool: pool.clone(),
            address: address(port),
            id: None,
            deadline: Some(deadline),
            expected: None,
            at: Timestamp(0),
        })
    }

    /// Tells that the checks of a server pass.
    fn pass(&mut self, server: &ServerView) -> Arc<Snapshot> {
        let health = Health {
            state: HealthState::Healthy,
            reason: Reason::ChecksPassed,
            ..server.health.clone()
        };
        let server = server.desired.id;
        self.reconciler
            .take_in([Observation { server, health }].into_iter());
        self.snapshots.current()
    }
}

fn web() -> PoolName {
    "web".parse().unwrap()
}

fn pool<'s>(snapshot: &'s Snapshot, name: &PoolName) -> &'s Arc<PoolView> {
    snapshot.pools.get(name).unwrap()
}

fn server<'s>(snapshot: &'s Snapshot, name: &PoolName, port: u16) -> &'s Arc<ServerView> {
    pool(snapshot, name).server(address(port)).unwrap()
}

#[tokio::test]
async fn the_same_address_in_two_pools_is_two_servers() {
    let (mut bench, default, web) = (Bench::start(), PoolName::default(), web());
    bench.add(&default, 1);
    let added = bench.add(&web, 1);
    let (of_default, of_web) = (server(&added, &default, 1), server(&added, &web, 1));
    assert_ne!(of_default.desired.id, of_web.desired.id);
    assert!(!Arc::ptr_eq(&of_default.live, &of_web.live));
    let passed = bench.pass(of_web);
    let state = |name| server(&passed, name, 1).health.state;
    assert_eq!(state(&web), HealthState::Healthy);
    assert_eq!(state(&default), HealthState::Initial);
}

#[tokio::test]
async fn a_removal_in_one_pool_leaves_the_server_of_the_other_as_it_is() {
    let (mut bench, default, web) = (Bench::start(), PoolName::default(), web());
    bench.add(&default, 1);
    let before = bench.add(&web, 1);
    let of_web = server(&before, &web, 1);
    let begun = bench.remove(&default, 1, HOUR);
    assert_eq!(pool(&begun, &default).leaving().len(), 1);
    assert!(Arc::ptr_eq(of_web, server(&begun, &web, 1)));
    let gone = bench.remove(&default, 1, Duration::ZERO);
    assert!(
        gone.pools
            .view_of(&server(&before, &default, 1).live)
            .is_none()
    );
    assert!(Arc::ptr_eq(of_web, server(&gone, &web, 1)));
    assert_eq!(gone.removals, before.removals + 1);
    // An observation of the one that is gone may still be in the queue; the other one's counts.
    bench.pass(server(&before, &default, 1));
    let passed = bench.pass(of_web);
    assert_eq!(server(&passed, &web, 1).health.state, HealthState::Healthy);
}

#[tokio::test]
async fn a_change_of_one_pool_shares_the_other() {
    let (mut bench, default, web) = (Bench::start(), PoolName::default(), web());
    bench.add(&default, 1);
    let mut last = bench.add(&web, 1);
    let mut expect_only = |next: Arc<Snapshot>, changed: &PoolName| {
        for name in [&default, &web] {
            let is_shared = Arc::ptr_eq(pool(&last, name), pool(&next, name));
            assert_eq!(is_shared, name != changed, "{name}");
            assert!(Arc::ptr_eq(
                &pool(&last, name).live,
                &pool(&next, name).live
            ));
        }
        last = next;
    };
    expect_only(bench.add(&web, 2), &web);
    expect_only(bench.add(&default, 2), &default);
    let fails_closed = PoolPatch {
        fail_open: Some(false),
        ..PoolPatch::default()
    };
    let update = Command::UpdatePool {
        pool: web.clone(),
        patch: fails_closed,
        expected: None,
    };
    expect_only(bench.apply(update), &web);
    let first = Arc::clone(server(&bench.snapshots.current(), &web, 1));
    expect_only(bench.pass(&first), &web);
    expect_only(bench.remove(&web, 1, Duration::ZERO), &web);
}

#[tokio::test]
async fn servers_are_checked_by_the_settings_of_their_own_pool() {
    let (mut bench, default, web) = (Bench::start(), PoolName::default(), web());
    bench.add(&default, 1);
    bench.add(&web, 1);
    let timeout = Duration::from_millis(1234);
    let mut patch = PoolPatch::default();
    patch.check.timeout = Some(timeout);
    let changed = bench.apply(Command::UpdatePool {
        pool: web.clone(),
        patch,
        expected: None,
    });
    assert_eq!(server(&changed, &web, 1).check.timeout, timeout);
    let of_default = server(&changed, &default, 1).check.timeout;
    assert_eq!(of_default, PoolSettings::default().check.timeout);
}

#[tokio::test]
async fn a_server_that_is_healthy_from_the_start_has_become_so_when_it_was_added() {
    let (mut bench, web) = (Bench::start(), web());
    let mut patch = PoolPatch::default();
    patch.check.begins_healthy = Some(true);
    bench.apply(Command::UpdatePool {
        pool: web.clone(),
        patch,
        expected: None,
    });
    let healthy_for = |snapshot: &Snapshot, pool: &PoolName| {
        let now = std::time::Instant::now();
        server(snapshot, pool, 1).live.healthy_for(now)
    };
    assert!(healthy_for(&bench.add(&web, 1), &web) < Duration::MAX);
    let default = PoolName::default();
    assert_eq!(
        healthy_for(&bench.add(&default, 1), &default),
        Duration::MAX
    );
}

#[tokio::test]
async fn the_servers_of_a_pool_that_is_gone_are_gone() {
    let (mut bench, default, web) = (Bench::start(), PoolName::default(), web());
    bench.add(&default, 1);
    bench.add(&web, 1);
    let before = bench.add(&web, 2);
    let of_web = server(&before, &web, 1);
    let gone = bench.change(|state| _ = state.pools.remove_mut(&web));
    assert!(gone.pools.get(&web).is_none());
    assert!(gone.pools.view_of(&of_web.live).is_none());
    assert_eq!(gone.removals, before.removals + 2);
    assert!(Arc::ptr_eq(pool(&before, &default), pool(&gone, &default)));
    bench.pass(of_web);
    let anew = Pool::new(PoolSettings::default());
    let again = bench.change(|state| state.pools.insert_mut(web.clone(), anew));
    assert!(pool(&again, &web).servers.is_empty());
}

#[tokio::test]
async fn this_node_votes_for_the_end_of_a_removal_in_any_pool() {
    let (mut bench, default, web) = (Bench::start(), PoolName::default(), web());
    bench.add(&default, 1);
    bench.add(&web, 1);
    let begun = bench.remove(&web, 1, HOUR);
    let votes = bench.reconciler.removal_controller.as_ref().unwrap();
    let votes = votes.local_votes.clone();
    time::timeout(LIMIT, votes.changed()).await.unwrap();
    let id = server(&begun, &web, 1).desired.id;
    assert_eq!(votes.report().finished, [id.0].into());
}
