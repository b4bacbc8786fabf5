//! How a pool protects its servers: ejection, limits of requests with a queue, and consistent hashing.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::{join_all, select_all};
use weldr_proto::v1::{
    Balancing, HealthReason, HealthState, OutlierEjection, PoolSettings, RequestLimit,
};
use weldr_tests::{
    node::TestNode,
    origin::Origin,
    raw::{self, Client},
    serve, wait,
};

fn lasting(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}

/// An origin that responds with 503 for as long as `fails` is set.
fn failing_while(fails: &Arc<AtomicBool>) -> Origin {
    let fails = Arc::clone(fails);
    Origin::serve(move |_| {
        let status = if fails.load(Relaxed) { 503 } else { 200 };
        async move { serve::response(status, "from the one that fails") }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_responses_fail_in_a_row_is_ejected_and_returns() {
    let fails = Arc::new(AtomicBool::new(true));
    let (bad, good) = (failing_while(&fails), Origin::saying("good"));
    let node = TestNode::before(&[bad.address(), good.address()]).await;
    node.update_pool(PoolSettings {
        outlier: Some(OutlierEjection {
            failures: Some(3),
            time: lasting(Duration::from_millis(500)),
            ..OutlierEjection::default()
        }),
        ..PoolSettings::default()
    })
    .await;
    let ejected = wait::until("the server to be ejected", async || {
        raw::get(node.proxy(), "/").await;
        let server = node.server(bad.address()).await.unwrap_or_default();
        let health = server.health.unwrap_or_default();
        if health.reason() == HealthReason::Ejected {
            Ok(health)
        } else {
            Err(format!("{health:?}"))
        }
    })
    .await;
    assert_eq!(ejected.state(), HealthState::Unhealthy);
    let text = "ejected for 500ms: 3 requests in a row failed";
    assert_eq!(ejected.description, text);
    fails.store(false, Relaxed);
    node.reaches(bad.address(), HealthState::Healthy).await;
    wait::until("the server to get requests again", async || {
        let response = raw::get(node.proxy(), "/").await;
        match response.text().as_str() {
            "from the one that fails" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_server_is_not_ejected() {
    let fails = Arc::new(AtomicBool::new(true));
    let bad = failing_while(&fails);
    let node = TestNode::before(&[bad.address()]).await;
    node.update_pool(PoolSettings {
        outlier: Some(OutlierEjection {
            failures: Some(1),
            share_percent: Some(100),
            ..OutlierEjection::default()
        }),
        ..PoolSettings::default()
    })
    .await;
    for _ in 0..5 {
        let response = raw::get(node.proxy(), "/").await;
        assert_eq!(response.text(), "from the one that fails", "{response}");
    }
    let server = node.server(bad.address()).await.unwrap_or_default();
    let health = server.health.unwrap_or_default();
    assert_eq!(health.state(), HealthState::Healthy, "{health:?}");
    node.shutdown().await;
}

/// Two workers, one server that runs one request, and room for one that waits.
async fn limited(origin: &Origin, queue_timeout: Duration) -> TestNode {
    let node = TestNode::before(&[origin.address()]).await;
    node.update_pool(PoolSettings {
        limit: Some(RequestLimit {
            requests: Some(1),
            queue: Some(1),
            queue_timeout: lasting(queue_timeout),
        }),
        ..PoolSettings::default()
    })
    .await;
    node
}

/// Waits until the server has its first request.
async fn has_first_request(origin: &Origin) {
    wait::until(
        "the first request to be on the server",
        async || match origin.requests().await.len() {
            0 => Err("none"),
            _ => Ok(()),
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_cannot_run_waits_and_what_cannot_wait_is_503() {
    let (origin, passes) = Origin::gated();
    let node = limited(&origin, wait::LIMIT).await;
    let first = tokio::spawn(raw_get(node.proxy(), "/gated"));
    has_first_request(&origin).await;
    // There is room for one of them.
    let more = [(); 2].map(|()| Box::pin(raw_get(node.proxy(), "/gated")));
    let (refused, _, mut waiting) = wait::bounded("one to be refused", select_all(more)).await;
    assert_eq!(refused.0, 503);
    assert_eq!(origin.requests().await.len(), 1, "one at a time");
    passes.add_permits(2);
    assert_eq!(first.await.ok(), Some((200, "hi".to_owned())));
    let waited = waiting.pop().expect("the other one").await;
    assert_eq!(waited, (200, "hi".to_owned()));
    assert_eq!(raw_get(node.proxy(), "/").await.0, 200, "room again");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_no_longer_than_the_queue_timeout() {
    let (origin, passes) = Origin::gated();
    let node = limited(&origin, Duration::from_millis(50)).await;
    let first = tokio::spawn(raw_get(node.proxy(), "/gated"));
    has_first_request(&origin).await;
    assert_eq!(raw_get(node.proxy(), "/").await.0, 503);
    passes.add_permits(1);
    assert_eq!(first.await.ok(), Some((200, "hi".to_owned())));
    node.shutdown().await;
}

async fn raw_get(proxy: std::net::SocketAddr, target: &'static str) -> (u16, String) {
    let response = raw::get(proxy, target).await;
    (response.status, response.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_one_cookie_go_to_one_server() {
    let origins = ["a", "b", "c"].map(Origin::saying);
    let node = TestNode::before(&origins.each_ref().map(Origin::address)).await;
    node.update_pool(PoolSettings {
        balancing: Balancing::ConsistentHash.into(),
        hash_key: Some("cookie:SID".to_owned()),
        ..PoolSettings::default()
    })
    .await;
    let server_of = async |session: usize| {
        let mut client = Client::connect(node.proxy()).await;
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: x=y; SID={session}\r\n\r\n");
        client.exchange("GET", request).await.text()
    };
    let first = join_all((0..60).map(&server_of)).await;
    let again = join_all((0..60).map(&server_of)).await;
    assert_eq!(first, again);
    let used: BTreeSet<_> = first.iter().collect();
    assert_eq!(used.len(), 3, "{used:?}");
    node.shutdown().await;
}
