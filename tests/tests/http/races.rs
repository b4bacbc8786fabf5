//! The race of keep-alive: a server may close an idle connection at any moment (RFC 9112, section 9.3.1).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use futures_util::future::join_all;
use weldr_tests::{load::Load, node::TestNode, origin::Origin, raw::Client};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// Responds to a few requests on each connection, and closes it without a word.
fn fickle() -> Origin {
    Origin::script(|mut conversation| async move {
        let turns = 1 + conversation.index % 4;
        for _ in 0..turns {
            if conversation.request().await.is_none() {
                return;
            }
            conversation.write(OK).await;
        }
        if conversation.index % 3 == 0 {
            conversation.reset();
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_sees_a_server_that_closes_idle_connections_under_load() {
    let origin = fickle();
    let node = TestNode::before(&[origin.address()]).await;
    let load = Load::start(node.proxy(), 16, "/");
    load.passes(3000).await;
    load.stop().await.assert_none_failed();
    node.shutdown().await;
}

/// RFC 9110, section 9.2.2: a request that is not idempotent is not repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_post_never_arrives_twice() {
    const CLIENTS: usize = 8;
    const EACH: usize = 50;
    let origins = [fickle(), fickle()];
    let node = TestNode::before(&[origins[0].address(), origins[1].address()]).await;
    let failed = AtomicUsize::new(0);
    let clients = (0..CLIENTS).map(|client| post_each(node.proxy(), client, EACH, &failed));
    join_all(clients).await;

    let mut seen = BTreeMap::<String, usize>::new();
    for origin in &origins {
        for request in origin.requests().await {
            *seen.entry(request.target).or_default() += 1;
        }
    }
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "arrived more than once: {twice:?}");
    // One that was refused may have arrived, or not; one that was completed has.
    let completed = CLIENTS * EACH - failed.load(Relaxed);
    assert!(seen.len() >= completed, "{} of {completed}", seen.len());
    node.shutdown().await;
}

async fn post_each(proxy: SocketAddr, client: usize, each: usize, failed: &AtomicUsize) {
    let mut connection = Client::connect(proxy).await;
    for number in 0..each {
        let target = format!("/{client}-{number}");
        let request =
            format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        let response = connection.exchange("POST", request).await;
        match response.status {
            200 => {}
            502 => {
                failed.fetch_add(1, Relaxed);
            }
            other => panic!("{target} was given {other}"),
        }
    }
}

/// A server that closed before the next request came has said so: nobody is sent there, not even a POST.
#[tokio::test(flavor = "multi_thread")]
async fn a_close_that_has_arrived_is_seen_before_anything_is_sent() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
        conversation.write(OK).await;
    });
    let node = TestNode::start_with(|config| config.workers = 1).await;
    node.add(origin.address()).await;
    let mut client = Client::connect(node.proxy()).await;
    for _ in 0..50 {
        let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(client.exchange("POST", request).await.status, 200);
        weldr_tests::wait::until("the server's close", async || {
            match origin.open_connections() {
                0 => Ok(()),
                open => Err(open),
            }
        })
        .await;
    }
    assert_eq!(origin.requests().await.len(), 50);
    node.shutdown().await;
}

/// The end of a response to HEAD without a length is not proven: the server may close the connection behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_not_reused_after_a_response_to_head_without_a_length() {
    const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab";
    let origin = Origin::script(|mut conversation| async move {
        while let Some(request) = conversation.request().await {
            if request.method == "HEAD" {
                conversation.write("HTTP/1.1 200 OK\r\n\r\n").await;
                // As a server that closes at the moment in which the next request comes.
                conversation.until_end().await;
                return;
            }
            conversation.write(OK).await;
        }
    });
    let node = TestNode::start_with(|config| config.workers = 1).await;
    node.add(origin.address()).await;
    let mut client = Client::connect(node.proxy()).await;
    for _ in 0..5 {
        let head = client
            .exchange("HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        assert_eq!(head.status, 200, "{head}");
        assert_eq!(client.exchange("POST", POST).await.status, 200);
    }
    node.shutdown().await;
}
