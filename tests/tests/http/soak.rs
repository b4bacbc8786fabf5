//! A short soak: the binary `soak` goes on for longer. And the memory that bodies hold which do not move: the binary
//! `stalled` has more and larger ones.

use weldr_tests::{
    soak,
    stalled::{Direction, hold},
};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_accounted_for_and_everything_comes_back() {
    const SEED: u64 = 1;
    println!("seed {SEED}");
    let report = soak::run(2_000, 16, SEED).await;
    println!("{}", report.account);
    let problems = report.problems();
    assert!(problems.is_empty(), "{problems:#?}\n{}", report.account);
    assert!(report.account.sent() >= 2_000);
    assert!(report.account.of(soak::Fate::Responded) > 1_000);
}

/// 32 bodies of 200 MiB: 6.25 GiB that are nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_body_holds_a_bounded_amount_of_memory() {
    const BODIES: u64 = 32;
    for direction in [Direction::Upload, Direction::Download] {
        let held = hold(direction, 32, 200 << 20).await;
        let each = held.then.saturating_sub(held.before) / BODIES;
        assert!(each < MIB / 2, "{direction:?}: {each} bytes for each");
    }
}
