//! A rolling upgrade from version 0.1.0.

use std::{
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use weldr_tests::{cluster::TestCluster, load::Load, origin::Origin, process::Program};

/// The path of the program of the last release; the tests are skipped without it.
const PREVIOUS: &str = "WELDR_PREVIOUS";
const ACCEPT: &str = "--cluster-accept-previous-protocol";

fn previous() -> Option<PathBuf> {
    let previous = env::var_os(PREVIOUS).map(PathBuf::from);
    if previous.is_none() {
        println!("skipped: {PREVIOUS} names no program of the last release");
    }
    previous
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_upgraded_one_after_the_other_and_no_request_fails() {
    let Some(previous) = previous() else { return };
    let mut cluster = TestCluster::start_previous(previous).await;
    let origin = Origin::saying("hi");
    cluster.add(0, origin.address().port()).await.unwrap();
    cluster.ports(2, false).await.unwrap();
    for (turn, index) in [1, 0, 2].into_iter().enumerate() {
        // The others serve meanwhile.
        let by = (index + 1) % 3;
        let load = Load::start(cluster.proxy(by), 2, "/");
        cluster.terminate(index).await;
        cluster.upgrade(index, &[ACCEPT]);
        cluster.run(index).await;
        cluster.has_voters(3).await;
        load.stop().await.assert_none_failed();
        cluster.process(index).logs("can be replayed").await;
        // A change of a new version is for new nodes only, so nothing is changed before all are upgraded.
        if turn == 2 {
            cluster.add(index, 2000).await.unwrap();
        }
    }
    for index in 0..3 {
        cluster.terminate(index).await;
        cluster.upgrade(index, &[]);
        cluster.run(index).await;
        cluster.has_voters(3).await;
    }
    cluster.add(1, 1001).await.unwrap();
    let rotate = cluster.weldrctl(0).args(["cluster", "rotate-key", "b"]);
    rotate.run().await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_stopped_together_are_upgraded_without_the_option() {
    let Some(previous) = previous() else { return };
    let mut cluster = TestCluster::start_previous(previous).await;
    cluster.add(0, 1001).await.unwrap();
    for index in 0..3 {
        cluster.terminate(index).await;
        cluster.upgrade(index, &[]);
    }
    for index in 0..3 {
        cluster.run(index).await;
    }
    cluster.has_voters(3).await;
    cluster.add(1, 1002).await.unwrap();
    assert_eq!(cluster.ports(2, false).await.unwrap(), [1001, 1002]);
    // The keys are in the membership now.
    let rotate = cluster.weldrctl(0).args(["cluster", "rotate-key", "b"]);
    rotate.run().await.expect_success();
}

#[tokio::test]
async fn the_previous_protocol_needs_the_secret() {
    let refused = Program::weldr()
        .args(["--cluster", "127.0.0.1:0", "--found-cluster", ACCEPT])
        .run()
        .await;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("cluster_secret_file"),
        "{refused:?}"
    );
}

/// Writes a second and their latency, of this version beside the last release; no assertion.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: WELDR_PREVIOUS=PATH cargo test --workspace --test weldr figures_of_writes -- --ignored --nocapture"]
async fn figures_of_writes() {
    let Some(previous) = previous() else { return };
    for round in 0..3 {
        for is_previous in [true, false] {
            let cluster = if is_previous {
                TestCluster::start_previous(previous.clone()).await
            } else {
                TestCluster::start(3).await
            };
            let (mut latencies, begun) = (Vec::new(), Instant::now());
            for port in 1..=150 {
                let begun = Instant::now();
                cluster.add(1, 1000 + port).await.unwrap();
                latencies.push(begun.elapsed());
            }
            let alone = 150.0 / begun.elapsed().as_secs_f64();
            latencies.sort_unstable();
            let begun = Instant::now();
            let writers = (0..8).map(async |writer: u16| {
                for port in 0..50 {
                    cluster.add(1, 2000 + writer * 50 + port).await.unwrap();
                }
            });
            join_all(writers).await;
            let together = 400.0 / begun.elapsed().as_secs_f64();
            let at = |part: usize| Duration::as_micros(&latencies[latencies.len() * part / 100]);
            println!(
                "round {round}, {}: one writer {alone:.0}/s, median {} us, p95 {} us; eight writers {together:.0}/s",
                if is_previous { "before" } else { "after" },
                at(50),
                at(95),
            );
        }
    }
}
