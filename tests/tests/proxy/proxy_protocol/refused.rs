//! Connections that are refused because they do not name their client, or may not.

use std::time::Duration;

use tokio::time::timeout;
use weldr::config::Config;
use weldr_tests::{node::TestNode, raw::Client};

use super::{ADDRESSES, GET, LINE, SIGNATURE, binary, requiring, telling};

/// Waits until `count` connections were refused for that reason, and for no other.
async fn refused(node: &TestNode, reason: &str, count: u64) {
    let what = format!("{count} connections that are refused: {reason}");
    node.counts(&what, |stats| {
        let refused = &stats.proxy_protocol_refused;
        refused.len() == 1 && refused.get(reason) == Some(&count)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_may_name_a_client() {
    let origin = telling();
    let node = requiring(&origin, |config| {
        config.http.proxy_protocol_from = vec!["10.0.0.0/8".parse().unwrap()];
    })
    .await;
    // Closed before anything comes.
    Client::connect(node.proxy()).await.closed().await;
    for begin in [LINE, GET] {
        let mut connection = Client::connect(node.proxy()).await;
        // The node may have closed it by now.
        let _ = connection.try_send([begin, GET].concat()).await;
        connection.closed().await;
    }
    refused(&node, "not_allowed", 3).await;
    assert_eq!(origin.requests().await.len(), 0);
    node.shutdown().await;
}

/// Without the setting, a header is a malformed request.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_does_not_ask_accepts_none() {
    let origin = telling();
    let node = TestNode::before(&[origin.address()]).await;
    for header in [LINE.into(), binary(1, 0x11, ADDRESSES)] {
        let mut connection = Client::connect(node.proxy()).await;
        connection
            .send([&header[..], GET.as_bytes()].concat())
            .await;
        assert_eq!(connection.response("GET").await.status, 400);
    }
    assert_eq!(origin.requests().await.len(), 0);
    assert!(node.stats().await.proxy_protocol_refused.is_empty());
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_must_send_a_header() {
    let origin = telling();
    let node = requiring(&origin, |_| {}).await;
    let hello: &[u8] = &[22, 3, 1, 2, 0, 1, 0];
    let begins = [GET.as_bytes(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", hello];
    for begin in begins {
        let mut connection = Client::connect(node.proxy()).await;
        connection.send(begin).await;
        connection.closed().await;
    }
    refused(&node, "missing", begins.len() as u64).await;
    assert_eq!(origin.requests().await.len(), 0);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_must_be_in_order() {
    let origin = telling();
    let node = requiring(&origin, |_| {}).await;
    let long = format!("PROXY UNKNOWN {}\r\n", "a".repeat(100));
    let wrong_sum = [ADDRESSES, &[3, 0, 4, 1, 2, 3, 4]].concat();
    let headers: [Vec<u8>; 8] = [
        "PROXY TCP4 192.0.2.1 198.51.100.2 5000\r\n".into(),
        "PROXY TCP4 2001:db8::1 2001:db8::2 5000 443\r\n".into(),
        "PROXY / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        long.into(),
        binary(2, 0x11, ADDRESSES),
        binary(1, 0x11, b"short"),
        binary(1, 0x11, &wrong_sum),
        [SIGNATURE, &[0x21, 0x11, 0x10, 1]].concat(),
    ];
    for header in &headers {
        let mut connection = Client::connect(node.proxy()).await;
        connection.send([header, GET.as_bytes()].concat()).await;
        connection.closed().await;
    }
    refused(&node, "invalid", headers.len() as u64).await;
    assert_eq!(origin.requests().await.len(), 0);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_must_come_in_time() {
    let origin = telling();
    let in_time = |config: &mut Config| config.timeouts.client_header = Duration::from_millis(200);
    let node = requiring(&origin, in_time).await;
    let mut silent = Client::connect(node.proxy()).await;
    let mut begun = Client::connect(node.proxy()).await;
    begun.send(&LINE[..20]).await;
    silent.closed().await;
    begun.closed().await;
    // However often something comes, the time is that of the whole header.
    let mut dripping = Client::connect(node.proxy()).await;
    dripping.send("PROXY UNKNOWN ").await;
    let pause = Duration::from_millis(10);
    let mut bytes = 0;
    while timeout(pause, dripping.closed()).await.is_err() {
        bytes += 1;
        assert!(bytes < 90, "the header was complete first");
        // It may be closed by now.
        let _ = dripping.try_send("a").await;
    }
    refused(&node, "timeout", 3).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_goes_away_is_counted() {
    let origin = telling();
    let node = requiring(&origin, |_| {}).await;
    let mut half = Client::connect(node.proxy()).await;
    half.send(&LINE[..20]).await;
    half.finish_sending().await;
    half.closed().await;
    drop(Client::connect(node.proxy()).await);
    let reset = Client::connect(node.proxy()).await;
    reset.reset();
    refused(&node, "closed", 3).await;
    node.shutdown().await;
}
