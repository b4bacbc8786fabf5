//! Responses that come before the request was read, to clients that read only when they have written everything.

use std::net::SocketAddr;

use tokio::task::JoinSet;
use weldr_tests::{
    node::TestNode,
    origin::Origin,
    raw::{self, Client},
};

/// More than both kernels and the proxy hold, so that such a client is still writing when the response is out.
const UPLOAD: usize = 16 * 1024 * 1024;
const PIECE: usize = 64 * 1024;

/// Writes a whole upload and only then reads the response.
async fn write_then_read(target: SocketAddr) -> u16 {
    let mut client = Client::connect(target).await;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {UPLOAD}\r\n\r\n");
    client.send(head).await;
    let piece = vec![b'x'; PIECE];
    for _ in 0..UPLOAD / PIECE {
        client.send(&piece).await;
    }
    client.response("POST").await.status
}

/// A server that refuses each upload without reading it. `keeps`: and keeps its connection open.
fn refusing(keeps: bool) -> Origin {
    Origin::script(move |mut conversation| async move {
        conversation.head().await;
        let close = if keeps { "" } else { "Connection: close\r\n" };
        let response = format!("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n{close}\r\nno");
        conversation.write(response).await;
        conversation.stall().await;
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_writes_first_reads_the_refusal_of_a_server() {
    for keeps in [true, false] {
        let origin = refusing(keeps);
        let node = TestNode::before(&[origin.address()]).await;
        let mut uploads = JoinSet::new();
        for _ in 0..8 {
            uploads.spawn(write_then_read(node.proxy()));
        }
        let statuses = uploads.join_all().await;
        assert_eq!(
            statuses, [401; 8],
            "the server keeps its connection: {keeps}"
        );
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_writes_first_reads_that_its_body_is_too_large() {
    let node = TestNode::start_with(|config| config.http.max_body_bytes = Some(1024)).await;
    for _ in 0..4 {
        assert_eq!(write_then_read(node.proxy()).await, 413);
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_management_api_that_writes_first_reads_the_refusal() {
    let node = TestNode::start().await;
    for _ in 0..4 {
        let status = write_then_read(node.management()).await;
        assert!((400..500).contains(&status), "{status}");
    }
    assert_eq!(raw::get(node.management(), "/healthz").await.status, 200);
    node.shutdown().await;
}
