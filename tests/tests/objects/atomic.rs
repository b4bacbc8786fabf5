//! A configuration of 200 objects in a cluster of three: each node has all of it or nothing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::task::JoinSet;
use weldr_proto::v1::{
    ApplyRequest, Conditions, Configuration, ExportRequest, ListenerConfiguration,
    PoolConfiguration, Route, RuleConfiguration, ServerConfiguration, WeightedPool,
};
use weldr_tests::{cluster::TestCluster, wait};

use super::routing_at;

const POOLS: u16 = 50;
const RULES: u32 = 99;

/// 50 pools with a server each, a listener, and 99 rules, all with the number of the round: 200 objects.
fn round(number: u16) -> Configuration {
    let pool = |index: u16| format!("pool-{number}-{index}");
    let pools = (0..POOLS).map(|index| PoolConfiguration {
        name: pool(index),
        servers: vec![ServerConfiguration {
            address: format!("127.0.0.1:{}", 1 + index),
            ..ServerConfiguration::default()
        }],
        ..PoolConfiguration::default()
    });
    let rules = (1..=RULES).map(|priority| RuleConfiguration {
        priority: Some(priority),
        conditions: Some(Conditions {
            hosts: vec![format!("h{priority}-{number}.example.com")],
            ..Conditions::default()
        }),
        route: Some(Route {
            forward: vec![WeightedPool {
                pool: pool(u16::try_from(priority).unwrap() % POOLS),
                weight: None,
            }],
            ..Route::default()
        }),
    });
    Configuration {
        pools: pools.collect(),
        listeners: vec![ListenerConfiguration {
            name: format!("listener-{number}"),
            address: format!("127.0.0.1:{}", 100 + number),
            rules: rules.collect(),
            ..ListenerConfiguration::default()
        }],
    }
}

/// The round that a state is of, and how many objects of it there are. All objects are of one round.
fn seen(configuration: &Configuration) -> (Option<String>, usize) {
    let mut rounds = std::collections::BTreeSet::new();
    let mut objects = 0;
    for pool in configuration
        .pools
        .iter()
        .filter(|pool| pool.name != "default")
    {
        rounds.insert(pool.name.split('-').nth(1).unwrap().to_owned());
        objects += 1 + pool.servers.len();
    }
    for listener in configuration
        .listeners
        .iter()
        .filter(|there| there.name != "default")
    {
        rounds.insert(listener.name.split('-').nth(1).unwrap().to_owned());
        objects += 1 + listener.rules.len();
    }
    assert!(rounds.len() <= 1, "{rounds:?}");
    (rounds.pop_first(), objects)
}

fn apply(configuration: Configuration) -> ApplyRequest {
    ApplyRequest {
        configuration: Some(configuration),
        prune: true,
        ..ApplyRequest::default()
    }
}

/// Reads the state of a node again and again until `stop`, and counts the reads.
async fn watch(management: std::net::SocketAddr, stop: Arc<AtomicBool>, reads: Arc<AtomicUsize>) {
    let mut client = routing_at(management);
    while !stop.load(Ordering::Relaxed) {
        // A node that was killed responds no more.
        let Ok(response) = client.export(ExportRequest { stale: true }).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let state = response.into_inner().configuration.unwrap();
        let (round, objects) = seen(&state);
        let expected = if round.is_some() { 200 } else { 0 };
        assert_eq!(objects, expected, "of round {round:?}");
        reads.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_is_seen_whole_or_not_at_all_on_every_node() {
    let mut cluster = TestCluster::start(3).await;
    let (stop, reads) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut watchers = JoinSet::new();
    for index in 0..3 {
        let management = cluster.management(index);
        watchers.spawn(watch(management, Arc::clone(&stop), Arc::clone(&reads)));
    }
    for number in 1..=3 {
        let mut client = routing_at(cluster.management(usize::from(number) % 3));
        let applied = client
            .apply(apply(round(number)))
            .await
            .unwrap()
            .into_inner();
        assert!(applied.changes.len() >= 200, "{}", applied.changes.len());
    }
    // The leader is killed while it makes the next one.
    let leader = cluster.leader().await;
    let other = cluster
        .running_nodes()
        .into_iter()
        .find(|index| *index != leader)
        .unwrap();
    let mut client = routing_at(cluster.management(other));
    let making = tokio::spawn(async move { client.apply(apply(round(4))).await });
    let before = reads.load(Ordering::Relaxed);
    wait::until("a read while it is made", async || {
        let now = reads.load(Ordering::Relaxed);
        if now > before { Ok(()) } else { Err(now) }
    })
    .await;
    cluster.kill(leader).await;
    let made = making.await.unwrap();
    // It was made, or nobody knows; repeating it is safe.
    let mut client = routing_at(cluster.management(other));
    wait::until("the configuration to be applied", async || {
        let applied = client.apply(apply(round(4))).await;
        applied
            .map(drop)
            .map_err(|error| format!("{error}, {made:?}"))
    })
    .await;
    let mut states = Vec::new();
    for index in cluster.running_nodes() {
        let mut client = routing_at(cluster.management(index));
        let exported = client
            .export(ExportRequest::default())
            .await
            .unwrap()
            .into_inner();
        states.push(exported.configuration.unwrap());
    }
    assert_eq!(states.len(), 2);
    assert_eq!(states[0], states[1]);
    assert_eq!(seen(&states[0]), (Some("4".to_owned()), 200));
    // The one that was killed comes back to the same.
    cluster.run(leader).await;
    let mut client = routing_at(cluster.management(leader));
    let exported = client
        .export(ExportRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(exported.configuration.unwrap(), states[0]);
    stop.store(true, Ordering::Relaxed);
    while let Some(watcher) = watchers.join_next().await {
        watcher.unwrap();
    }
    assert!(reads.load(Ordering::Relaxed) > 100);
}
