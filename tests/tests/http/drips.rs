//! Clients that send a byte now and then hold a connection for the deadline and no longer.

use std::time::Duration;

use weldr_tests::{conformance::report::proxy_error, node::TestNode, origin::Origin, raw::Client};

const DEADLINE: Duration = Duration::from_millis(400);
/// Far shorter than the deadline: each byte comes while the deadline of the one before would run.
const PAUSE: Duration = Duration::from_millis(20);

async fn node(origin: &Origin) -> TestNode {
    let node = TestNode::start_with(|config| {
        config.timeouts.client_header = DEADLINE;
        config.timeouts.client_idle = Duration::from_mins(1);
        config.timeouts.stream_idle = Duration::from_mins(1);
    })
    .await;
    node.add(origin.address()).await;
    node
}

/// Sends `bytes` one by one, again and again, until the proxy responds or closes.
async fn drip(client: &mut Client, bytes: &'static [u8]) -> Option<u16> {
    for byte in bytes.iter().cycle() {
        if client.try_send([*byte]).await.is_err() {
            break;
        }
        let waited = tokio::time::timeout(PAUSE, client.try_response("GET")).await;
        match waited {
            Ok(Ok(response)) => {
                let status = response.fields.get("proxy-status").unwrap_or_default();
                assert_eq!(
                    proxy_error(&status),
                    Some("http_request_error"),
                    "{response}"
                );
                client.closed().await;
                return Some(response.status);
            }
            Ok(Err(_)) => break,
            Err(_still_waiting) => {}
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn within_a_request_line() {
    let origin = Origin::saying("hi");
    let node = node(&origin).await;
    let mut client = Client::connect(node.proxy()).await;
    client.send("GET /").await;
    assert_eq!(drip(&mut client, b"a").await, Some(408));
    assert_eq!(origin.connections(), 0);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn within_the_fields() {
    let origin = Origin::saying("hi");
    let node = node(&origin).await;
    let mut client = Client::connect(node.proxy()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    assert_eq!(drip(&mut client, b"X: y\r\n").await, Some(408));
    assert_eq!(origin.connections(), 0);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn within_the_second_request_of_a_connection() {
    let origin = Origin::saying("hi");
    let node = node(&origin).await;
    let mut client = Client::connect(node.proxy()).await;
    assert_eq!(client.get("/").await.text(), "hi");
    client.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    assert_eq!(drip(&mut client, b"X: y\r\n").await, Some(408));
    node.shutdown().await;
}

/// A head that comes slowly but in time is served.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_in_pieces_that_is_in_time_is_served() {
    let origin = Origin::saying("hi");
    let node = TestNode::before(&[origin.address()]).await;
    let mut client = Client::connect(node.proxy()).await;
    for piece in ["GET ", "/ HT", "TP/1.1\r", "\nHost", ": a\r\n\r", "\n"] {
        client.send(piece).await;
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!(client.response("GET").await.text(), "hi");
    node.shutdown().await;
}
