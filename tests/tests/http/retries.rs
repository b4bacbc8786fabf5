//! Retries: as many as the option allows, inside a budget, and only of what may be sent again.

use std::collections::BTreeMap;

use weldr_tests::{
    node::TestNode,
    origin::{Origin, ReservedPort},
    raw::{self, Client},
    wait,
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
        let response = client.get(&format!("/{number}")).await;
        assert_eq!(response.status, 502, "{response}");
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
        let response = client.exchange("POST", request).await;
        assert_eq!((response.status, response.text().as_str()), (200, "hi"));
    }
    let seen = arrivals(std::slice::from_ref(&origin)).await;
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    node.shutdown().await;
}

/// A response that has begun is never replaced by another.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_has_begun_is_not_asked_for_again() {
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
        "begun responses were asked for again"
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

/// A pool in which nobody has noticed that most of its servers are gone.
async fn node_that_notices_nothing(retries: usize) -> TestNode {
    TestNode::start_with(|config| {
        config.http.retries = retries;
        config.pool.check.unhealthy_threshold = 100;
    })
    .await
}

/// An attempt of which nothing was sent is no retry: a request goes on to other servers while there are any.
#[tokio::test(flavor = "multi_thread")]
async fn servers_that_refuse_are_passed_over_whatever_the_number_of_retries() {
    let origins = [Origin::saying("hi"), Origin::saying("hi")];
    let refusing: Vec<_> = (0..6).map(|_| ReservedPort::new()).collect();
    for retries in [0, 1] {
        let node = node_that_notices_nothing(retries).await;
        for address in refusing.iter().map(ReservedPort::address) {
            node.add(address).await;
        }
        for origin in &origins {
            node.add(origin.address()).await;
        }
        for number in 0..40 {
            let response = raw::get(node.proxy(), &format!("/{number}")).await;
            assert_eq!(response.status, 200, "{retries} retries: {response}");
        }
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_is_asked_once_when_there_is_no_other() {
    let refusing = [ReservedPort::new(), ReservedPort::new()];
    let node = node_that_notices_nothing(5).await;
    for address in refusing.iter().map(ReservedPort::address) {
        node.add(address).await;
    }
    assert_eq!(raw::get(node.proxy(), "/").await.status, 502);
    let stats = node.stats().await;
    assert_eq!(
        stats.client_detail.unwrap().retries,
        1,
        "from one to the other"
    );
    node.shutdown().await;
}

/// A server at its connection limit is no reason to fail while another has room.
#[tokio::test(flavor = "multi_thread")]
async fn servers_without_room_are_passed_over() {
    let busy: Vec<_> = (0..3)
        .map(|_| {
            Origin::script(|mut conversation| async move {
                conversation.request().await;
                conversation.stall().await;
            })
        })
        .collect();
    let node = TestNode::start_with(|config| {
        config.http.retries = 0;
        config.workers = 1;
        config.limits.server_connections = 1;
    })
    .await;
    let mut waiting = Vec::new();
    for origin in &busy {
        node.add(origin.address()).await;
        // The servers before it are full, so this request finds its way to it.
        let mut client = Client::connect(node.proxy()).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        wait::until("the server to be busy", || async {
            let open = origin.connections();
            if open == 1 { Ok(()) } else { Err(open) }
        })
        .await;
        waiting.push(client);
    }
    let full = raw::get(node.proxy(), "/").await;
    assert_eq!(full.status, 503, "{full}");
    let free = Origin::saying("hi");
    node.add(free.address()).await;
    for _ in 0..10 {
        let response = raw::get(node.proxy(), "/").await;
        assert_eq!(response.status, 200, "{response}");
    }
    drop(waiting);
    node.shutdown().await;
}
