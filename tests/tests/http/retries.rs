//! Retries: once, inside a budget, and only of what may be sent again.

use std::collections::BTreeMap;

use weldr_tests::{
    node::TestNode,
    origin::{Origin, ReservedPort},
    raw::Client,
};

/// Reads a request and closes without a word.
fn cutting() -> Origin {
    Origin::script(|mut conversation| async move {
        conversation.request().await;
    })
}

async fn arrivals(origins: &[Origin]) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for origin in origins {
        for request in origin.requests().await {
            *seen.entry(request.target).or_default() += 1;
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_sent_twice_at_most() {
    let origins = [cutting(), cutting(), cutting()];
    let node = TestNode::start().await;
    for origin in &origins {
        node.add(origin.address()).await;
    }
    let mut client = Client::connect(node.proxy()).await;
    for number in 0..20 {
        let answer = client.get(&format!("/{number}")).await;
        assert_eq!(answer.status, 502, "{answer}");
    }
    for (target, times) in arrivals(&origins).await {
        assert!(times <= 2, "{target} was sent {times} times");
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_idempotent_is_sent_once() {
    let origins = [cutting(), cutting()];
    let node = TestNode::before(&[origins[0].address(), origins[1].address()]).await;
    let mut client = Client::connect(node.proxy()).await;
    for method in ["POST", "PATCH", "LOCK", "get"] {
        for number in 0..5 {
            let target = format!("/{method}-{number}");
            let request = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.exchange(method, request).await.status, 502);
        }
    }
    for (target, times) in arrivals(&origins).await {
        assert_eq!(times, 1, "{target}");
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_gone_is_not_sent_again() {
    let origins = [cutting(), cutting()];
    let node = TestNode::before(&[origins[0].address(), origins[1].address()]).await;
    let mut client = Client::connect(node.proxy()).await;
    for number in 0..5 {
        let chunks = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        let request = format!("PUT /{number} HTTP/1.1\r\nHost: a\r\n{chunks}");
        assert_eq!(client.exchange("PUT", request).await.status, 502);
    }
    for request in arrivals(&origins).await {
        // A proxy may keep a small body to send it again; whole, then, and twice at most.
        assert!(request.1 <= 2, "{request:?}");
    }
    for origin in &origins {
        for request in origin.requests().await {
            assert_eq!(request.body, b"hello");
        }
    }
    node.shutdown().await;
}

/// Servers in trouble do not get a multiple of the traffic just then.
#[tokio::test(flavor = "multi_thread")]
async fn retries_are_a_share_of_the_requests() {
    const WARM: usize = 800;
    const COUNTED: usize = 400;
    let origin = cutting();
    let node = TestNode::start_with(|config| config.workers = 1).await;
    node.add(origin.address()).await;
    let mut client = Client::connect(node.proxy()).await;
    // What a budget has saved is spent first.
    for _ in 0..WARM {
        assert_eq!(client.get("/warm").await.status, 502);
    }
    let before = origin.connections();
    for _ in 0..COUNTED {
        assert_eq!(client.get("/counted").await.status, 502);
    }
    let sent = origin.connections() - before;
    let most = COUNTED + COUNTED / 4;
    assert!(sent <= most, "{COUNTED} requests were sent {sent} times");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_found_no_server_goes_to_another() {
    let origin = Origin::saying("hi");
    let refusing = ReservedPort::new();
    let node = TestNode::before(&[refusing.address(), origin.address()]).await;
    let mut client = Client::connect(node.proxy()).await;
    for number in 0..10 {
        let request = format!(
            "POST /{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        let answer = client.exchange("POST", request).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hi"));
    }
    let seen = arrivals(std::slice::from_ref(&origin)).await;
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    node.shutdown().await;
}

/// An answer that has begun is never replaced by another.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_has_begun_is_not_asked_for_again() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
        conversation.write("HTTP/1.1 200 OK\r\nConte").await;
    });
    let node = TestNode::before(&[origin.address()]).await;
    let mut client = Client::connect(node.proxy()).await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.status, 502);
    }
    assert_eq!(
        origin.connections(),
        5,
        "begun answers were asked for again"
    );
    node.shutdown().await;
}

/// How often each of some requests arrived with `--retries` as given.
async fn arrivals_with(retries: usize) -> BTreeMap<String, usize> {
    let origins = [cutting(), cutting(), cutting(), cutting()];
    let node = TestNode::start_with(|config| config.http.retries = retries).await;
    for origin in &origins {
        node.add(origin.address()).await;
    }
    let mut client = Client::connect(node.proxy()).await;
    for number in 0..5 {
        assert_eq!(client.get(&format!("/{number}")).await.status, 502);
    }
    node.shutdown().await;
    arrivals(&origins).await
}

#[tokio::test(flavor = "multi_thread")]
async fn are_as_many_as_the_option_says() {
    for retries in [0, 1, 2] {
        let seen = arrivals_with(retries).await;
        assert_eq!(seen.len(), 5, "{seen:?}");
        let as_said = seen.values().all(|&times| times == retries + 1);
        assert!(as_said, "{retries} retries: {seen:?}");
    }
}

/// With no retries at all, nothing finds another server either.
#[tokio::test(flavor = "multi_thread")]
async fn none_are_made_for_connect_failures_when_there_are_none() {
    let origin = Origin::saying("hi");
    let refusing = ReservedPort::new();
    let node = TestNode::start_with(|config| {
        config.http.retries = 0;
        config.pool.check.unhealthy_threshold = 10;
    })
    .await;
    node.add(refusing.address()).await;
    node.add(origin.address()).await;
    let mut client = Client::connect(node.proxy()).await;
    let mut failed = 0;
    for _ in 0..4 {
        let answer = client.get("/").await;
        failed += usize::from(answer.status == 502);
    }
    assert!(failed > 0, "a request that found no server was sent again");
    node.shutdown().await;
}
