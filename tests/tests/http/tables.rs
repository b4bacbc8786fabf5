//! The tables of `tests/tables`, case by case, through a node.

use std::time::Duration;

use weldr_tests::{
    conformance::{
        Bench, Measure, case,
        recorder::Recorder,
        report::{self, Verdict},
        requests, responses,
    },
    node::TestNode,
};

/// A node with one worker, so that each case uses the connections that the one before it left.
async fn node(origin: &Recorder) -> TestNode {
    let node = TestNode::start_with(|config| {
        config.workers = 1;
        config.timeouts.response_header = Duration::from_millis(500);
        config.timeouts.stream_idle = Duration::from_millis(500);
    })
    .await;
    node.add(origin.address()).await;
    node
}

fn assert_passed(verdicts: &[Verdict]) {
    let summary = report::summary(verdicts);
    println!("{summary}");
    let failed = verdicts.iter().filter(|verdict| !verdict.passed()).count();
    assert_eq!(failed, 0, "of {} cases:\n{summary}", verdicts.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_the_outcome_that_is_required() {
    let origin = Recorder::start().await;
    let node = node(&origin).await;
    let bench = Bench {
        proxy: node.proxy(),
        origin: &origin,
        measure: Measure::Weldr,
    };
    let mut verdicts = Vec::new();
    for (table, cases) in case::requests() {
        for case in &cases {
            verdicts.push(requests::run(&bench, table, case, verdicts.len()).await);
        }
    }
    assert_passed(&verdicts);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_is_seen_as_is_required() {
    let origin = Recorder::start().await;
    let node = node(&origin).await;
    let bench = Bench {
        proxy: node.proxy(),
        origin: &origin,
        measure: Measure::Weldr,
    };
    let mut verdicts = Vec::new();
    for (table, cases) in case::responses() {
        for case in &cases {
            verdicts.push(responses::run(&bench, table, case, verdicts.len()).await);
        }
    }
    assert_passed(&verdicts);
    node.shutdown().await;
}
