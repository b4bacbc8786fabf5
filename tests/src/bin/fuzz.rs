//! `fuzz`: the cases of the tables, changed at random, for as long as one likes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a harness fails by panicking"
)]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use weldr_tests::{
    cluster::TestCluster,
    fuzz::{cluster::Fuzzer, readers, requests, responses},
    node::TestNode,
    say,
};

/// Change the cases of the tables at random, and look at what the proxy makes of them.
#[derive(Debug, Parser)]
struct Args {
    /// For how long, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,

    /// Where to begin; each turn takes the next seed [default: a random one]
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let first = args.seed.unwrap_or_else(|| fastrand::u64(..1 << 40));
    let deadline = Instant::now() + Duration::from_secs(args.seconds);
    let echo = requests::Echo::new();
    let player = responses::Player::new();
    let (before_echo, before_player) = (node(echo.address()).await, node(player.address()).await);
    let cluster = TestCluster::start(1).await;
    let mut fuzzer = Fuzzer::join(&cluster).await;
    let mut wrong = 0;
    let mut turns = 0;
    while Instant::now() < deadline {
        let seed = first + turns;
        let found = [
            readers::run(seed, 10_000).map(drop),
            requests::run(before_echo.proxy(), &echo, seed, 50)
                .await
                .map(drop),
            fuzzer.run(seed, 200).await.map(drop),
            responses::run(before_player.proxy(), &player, seed, 50)
                .await
                .map(drop),
        ];
        for why in found.into_iter().filter_map(Result::err) {
            wrong += 1;
            say!("{why}\n");
        }
        turns += 1;
    }
    say!(
        "seeds {first} to {}: {wrong} turns with something wrong",
        first + turns - 1
    );
    ExitCode::from(u8::from(wrong > 0))
}

async fn node(server: std::net::SocketAddr) -> TestNode {
    let node = TestNode::start_with(responses_come_soon).await;
    node.add(server).await;
    node
}

fn responses_come_soon(config: &mut weldr_tests::node::Config) {
    config.workers = 1;
    config.timeouts.response_header = Duration::from_millis(200);
    config.timeouts.stream_idle = Duration::from_millis(200);
}
