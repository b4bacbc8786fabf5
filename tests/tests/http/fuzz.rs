//! The cases of the tables, changed at random from a seed: `WELDR_FUZZ_SEED`, or one that is always the same. The
//! binary `fuzz` goes on for longer.

use std::{env, time::Duration};

use weldr_tests::{
    fuzz::{readers, requests, responses},
    node::TestNode,
};

fn seed() -> u64 {
    let given = env::var("WELDR_FUZZ_SEED").ok();
    let seed = given.map_or(1, |seed| seed.parse().expect("WELDR_FUZZ_SEED is a number"));
    println!("WELDR_FUZZ_SEED={seed}");
    seed
}

/// One worker, so that all streams of a round share its connections.
async fn node(server: std::net::SocketAddr) -> TestNode {
    let node = TestNode::start_with(|config| {
        config.workers = 1;
        config.timeouts.response_header = Duration::from_millis(200);
        config.timeouts.stream_idle = Duration::from_millis(200);
    })
    .await;
    node.add(server).await;
    node
}

#[test]
fn the_pure_readers_accept_nothing_that_is_not_strictly_the_same() {
    let tally = readers::run(seed(), 15_000).unwrap_or_else(|why| panic!("{why}"));
    println!("{tally:?}");
    assert!(tally.whole > 1000 && tally.others > 1000, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_clients_stay_apart() {
    let echo = requests::Echo::new();
    let node = node(echo.address()).await;
    let completed = requests::run(node.proxy(), &echo, seed(), 100).await;
    let completed = completed.unwrap_or_else(|why| panic!("{why}"));
    println!("{completed} responses");
    assert!(completed > 500, "{completed} responses");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_of_servers_stay_apart() {
    let player = responses::Player::new();
    let node = node(player.address()).await;
    let whole = responses::run(node.proxy(), &player, seed(), 50).await;
    let whole = whole.unwrap_or_else(|why| panic!("{why}"));
    println!("{whole} whole");
    assert!(whole > 50, "{whole} responses were whole");
    node.shutdown().await;
}
