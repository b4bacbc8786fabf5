//! How large a body may be, and how slowly it may come.

use std::time::Duration;

use weldr::config::Config;
use weldr_tests::{
    conformance::report::proxy_error, http1::Response, node::TestNode, origin::Origin, raw::Client,
};

const LIMIT: usize = 1000;

async fn node(origin: &Origin, change: impl FnOnce(&mut Config)) -> TestNode {
    let node = TestNode::start_with(change).await;
    node.add(origin.address()).await;
    node
}

fn with_length(length: usize) -> String {
    let body = "x".repeat(length);
    format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn chunked(length: usize) -> String {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("64\r\n{}\r\n", "x".repeat(100));
    let rest = length % 100;
    let last = match rest {
        0 => String::new(),
        _ => format!("{rest:x}\r\n{}\r\n", "x".repeat(rest)),
    };
    format!("{head}{}{last}0\r\n\r\n", chunk.repeat(length / 100))
}

#[track_caller]
fn assert_client_fault(response: &Response, status: u16) {
    assert_eq!(response.status, status, "{response}");
    let said = response.fields.get("proxy-status").unwrap_or_default();
    assert_eq!(proxy_error(&said), Some("http_request_error"), "{response}");
    assert_eq!(response.fields.get("connection").as_deref(), Some("close"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_up_to_the_limit_passes() {
    let origin = Origin::saying("hi");
    let node = node(&origin, |config| {
        config.http.max_body_bytes = Some(LIMIT as u64);
    })
    .await;
    let mut client = Client::connect(node.proxy()).await;
    for request in [
        with_length(LIMIT),
        chunked(LIMIT),
        with_length(0),
        chunked(0),
    ] {
        assert_eq!(client.exchange("POST", request).await.text(), "hi");
    }
    node.shutdown().await;
}

/// RFC 9110, section 15.5.14.
#[tokio::test(flavor = "multi_thread")]
async fn a_length_over_the_limit_is_refused_before_a_server_hears_of_it() {
    let origin = Origin::saying("hi");
    let node = node(&origin, |config| {
        config.http.max_body_bytes = Some(LIMIT as u64);
    })
    .await;
    let heads = [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n",
    ];
    for head in heads {
        let mut client = Client::connect(node.proxy()).await;
        assert_client_fault(&client.exchange("POST", head).await, 413);
        client.closed().await;
    }
    let mut client = Client::connect(node.proxy()).await;
    assert_client_fault(&client.exchange("POST", with_length(LIMIT + 1)).await, 413);
    assert_eq!(origin.connections(), 0);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_over_the_limit_are_refused_and_never_whole_at_the_server() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
    });
    let node = node(&origin, |config| {
        config.http.max_body_bytes = Some(LIMIT as u64);
    })
    .await;
    for length in [LIMIT + 1, 50 * LIMIT] {
        let mut client = Client::connect(node.proxy()).await;
        assert_client_fault(&client.exchange("POST", chunked(length)).await, 413);
        client.closed().await;
    }
    assert!(
        origin.requests().await.is_empty(),
        "a whole request arrived"
    );
    let failed = node.stats().await.servers[0]
        .outcomes
        .unwrap_or_default()
        .failed;
    assert_eq!(failed, 0, "counted against the server");
    node.shutdown().await;
}

/// Sends `part` again and again until the proxy responds.
async fn drip(client: &mut Client, part: &str) -> Option<Response> {
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 0..500 {
        if client.try_send(part).await.is_err() {
            return client.try_response("POST").await.ok();
        }
        if let Ok(read) = tokio::time::timeout(PAUSE, client.try_response("POST")).await {
            return read.ok();
        }
    }
    None
}

fn slow(config: &mut Config) {
    config.timeouts.client_body = Duration::from_millis(300);
    config.timeouts.stream_idle = Duration::from_mins(1);
    config.http.body_min_rate = 1_000_000;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_is_timed_out() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
    });
    let node = node(&origin, slow).await;
    let heads = [
        ("Content-Length: 100000", "x"),
        ("Transfer-Encoding: chunked", "1\r\nx\r\n"),
    ];
    for (framing, part) in heads {
        let mut client = Client::connect(node.proxy()).await;
        client
            .send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"))
            .await;
        let response = drip(&mut client, part).await;
        assert_client_fault(&response.expect("a response in time"), 408);
        client.closed().await;
    }
    assert!(
        origin.requests().await.is_empty(),
        "a whole request arrived"
    );
    node.counts("all to be over", |stats| stats.servers[0].in_flight == 0)
        .await;
    let failed = node.stats().await.servers[0]
        .outcomes
        .unwrap_or_default()
        .failed;
    assert_eq!(failed, 0, "counted against the server");
    node.shutdown().await;
}

/// A client that stops altogether is timed out by the same measure.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_is_timed_out() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
    });
    let node = node(&origin, slow).await;
    let mut client = Client::connect(node.proxy()).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc";
    assert_client_fault(&client.exchange("POST", head).await, 408);
    client.closed().await;
    node.shutdown().await;
}

/// Slow, but quicker than it has to be: bytes earn time.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_above_the_minimum_rate_passes() {
    let origin = Origin::saying("hi");
    let node = node(&origin, |config| {
        slow(config);
        config.http.body_min_rate = 1;
    })
    .await;
    let mut client = Client::connect(node.proxy()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n")
        .await;
    for _ in 0..30 {
        client.send("xx").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.response("POST").await.text(), "hi");
    node.shutdown().await;
}

/// The time that a server takes is not held against its client.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_not_a_slow_client() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        conversation
            .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            .await;
    });
    let node = node(&origin, slow).await;
    let mut client = Client::connect(node.proxy()).await;
    assert_eq!(client.exchange("POST", with_length(10)).await.text(), "hi");
    node.shutdown().await;
}
