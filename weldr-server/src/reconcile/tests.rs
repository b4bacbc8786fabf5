//! Removals whose commands come from nodes with other clocks.

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
    model::{Command, OwnAddresses, ServerSpec, Timestamp},
    snapshot::LiveServer,
};

/// The longest that anything may take.
const LIMIT: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_hours(1);

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
        let limits = HeadLimits {
            bytes: 32 * 1024,
            fields: 128,
        };
        let own = OwnAddresses::default();
        let (reconciler, snapshots) = Reconciler::start(&handle, 1, own, limits, &Tasks::default());
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
        let live = Arc::clone(&snapshot.pool.server(address(port)).unwrap().live);
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
        let gone = |snapshot: &Snapshot| snapshot.pool.server(address(port)).is_none();
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
    assert!(there.pool.server(address(1)).is_some(), "it was cut");
    runs.shards.of(0).in_flight.fall();
    node.is_rid_of(1).await;
    node.stop().await;
}
