//! What happens to connections, on both sides.

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::Notify;
use weldr_tests::{http1::Framing, node::TestNode, origin::Origin, raw::Client, serve, wait};

use super::both;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_many_requests() {
    let origin = Origin::saying("hi");
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        for _ in 0..20 {
            assert_eq!(client.get("/").await.text(), "hi");
        }
    })
    .await;
    // One bare, one through Weldr.
    assert_eq!(origin.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_close_is_honoured() {
    let origin = Origin::saying("hi");
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let response = client.exchange("GET", request).await;
        assert_eq!(response.text(), "hi");
        assert_eq!(response.fields.get("connection").as_deref(), Some("close"));
        client.closed().await;
    })
    .await;
}

/// Closing a socket with something unread resets the connection, and a reset can overtake the response.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_behind_a_last_request_does_not_cost_its_response() {
    let more_is_sent = Arc::new(Notify::new());
    let gate = Arc::clone(&more_is_sent);
    let origin = Origin::script(move |mut conversation| {
        let gate = Arc::clone(&gate);
        async move {
            conversation.request().await;
            gate.notified().await;
            conversation
                .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                .await;
        }
    });
    let node = TestNode::start().await;
    node.add(origin.address()).await;
    let mut client = Client::connect(node.proxy()).await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    counts("the request to arrive", 1, || origin.connections()).await;
    client.send("and more").await;
    more_is_sent.notify_one();
    let all = client.until_end().await.expect("an end, and no reset");
    assert!(all.ends_with(b"\r\n\r\nhi"), "{all:?}");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http_1_0_gets_an_response_that_it_understands() {
    let origin = Origin::script(|mut conversation| async move {
        while let Some(request) = conversation.request().await {
            if request.version == "HTTP/1.0" {
                conversation
                    .write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc")
                    .await;
                return;
            }
            let chunks = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
            conversation
                .write(format!("HTTP/1.1 200 OK\r\n{chunks}"))
                .await;
        }
    });
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        // Without Host, which HTTP/1.0 does not ask for.
        let response = client.exchange("GET", "GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(
            (response.framing, response.text().as_str()),
            (Framing::Close, "abc")
        );
        assert!(!response.fields.has("transfer-encoding"), "{response}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http_1_0_can_keep_its_connection() {
    let origin = Origin::saying("hi");
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        let request = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
        for _ in 0..3 {
            let response = client.exchange("GET", request).await;
            assert_eq!(response.text(), "hi");
            let connection = response.fields.get("connection").unwrap_or_default();
            assert!(connection.eq_ignore_ascii_case("keep-alive"), "{response}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_get_responses_in_their_order() {
    let origin =
        Origin::serve(
            |request| async move { serve::response(200, request.uri().path().to_owned()) },
        );
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        let request = |n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.send((1..=10).map(request).collect::<String>()).await;
        for n in 1..=10 {
            assert_eq!(client.response("GET").await.text(), format!("/{n}"));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_may_be_framed_in_turn() {
    use http_body_util::BodyExt as _;
    let origin = Origin::serve(|request| async move {
        let body = request.into_body().collect().await.unwrap();
        serve::response(200, body.to_bytes())
    });
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        let with_length = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none";
        let chunks = "Transfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n";
        let chunked = format!("POST / HTTP/1.1\r\nHost: a\r\n{chunks}");
        client
            .send(format!("{with_length}{chunked}{with_length}{chunked}"))
            .await;
        for expected in ["one", "two", "one", "two"] {
            assert_eq!(client.response("POST").await.text(), expected);
        }
        for request in [with_length, &chunked, with_length] {
            assert_eq!(client.exchange("POST", request).await.status, 200);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_come_byte_by_byte() {
    let origin = Origin::saying("hi");
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        for byte in GET.bytes() {
            client.send([byte]).await;
        }
        assert_eq!(client.response("GET").await.text(), "hi");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_expects_100_is_told_to_continue() {
    use http_body_util::BodyExt as _;
    let origin = Origin::serve(|request| async move {
        let body = request.into_body().collect().await.unwrap();
        serve::response(200, body.to_bytes())
    });
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        let head =
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        let interim = client.exchange("POST", head).await;
        assert_eq!(interim.status, 100, "{interim}");
        client.send("hello").await;
        assert_eq!(client.response("POST").await.text(), "hello");
        assert_eq!(client.get("/").await.text(), "");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_expects_100_may_be_refused_before_it_sends() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.head().await;
        conversation
            .write("HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno")
            .await;
        conversation.stall().await;
    });
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        let head =
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        let mut response = client.exchange("POST", head).await;
        if response.status == 100 {
            // Weldr may invite the body: it speaks for a server that would.
            response = client.response("POST").await;
        }
        assert_eq!((response.status, response.text().as_str()), (417, "no"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_cancels_its_request_at_the_server() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
        conversation.stall().await;
    });
    both(&origin, async |target| {
        for reset in [false, true] {
            let (connections, abandoned) = (origin.connections(), origin.abandoned());
            let mut client = Client::connect(target).await;
            client.send(GET).await;
            counts("the request to arrive", connections + 1, || {
                origin.connections()
            })
            .await;
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            counts("its end to arrive", abandoned + 1, || origin.abandoned()).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_within_an_response_cancels_it_at_the_server() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
        conversation
            .write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
            .await;
        conversation.stall().await;
    });
    both(&origin, async |target| {
        let abandoned = origin.abandoned();
        let mut client = Client::connect(target).await;
        client.send(GET).await;
        client.head().await;
        drop(client);
        counts("its end to arrive", abandoned + 1, || origin.abandoned()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_at_once() {
    let origin = Origin::saying("hi");
    both(&origin, async |target| {
        let clients = (0..100).map(async |_| {
            let mut client = Client::connect(target).await;
            for _ in 0..5 {
                assert_eq!(client.get("/").await.text(), "hi");
            }
        });
        futures_util::future::join_all(clients).await;
    })
    .await;
}

/// A server may close a connection that nobody uses; no client learns of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closes_idle_connections_is_not_seen() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
        conversation
            .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            .await;
    });
    let node = TestNode::before(&[origin.address()]).await;
    let mut client = Client::connect(node.proxy()).await;
    for n in 1..=20 {
        // POST: one that was begun could not be repeated.
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
        let response = client.exchange("POST", post).await;
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "hi"),
            "request {n}"
        );
        counts("the server's close", 0, || origin.open_connections()).await;
    }
    assert_eq!(origin.connections(), 20);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_to_close_is_not_asked_again_on_that_connection() {
    let origin = Origin::script(|mut conversation| async move {
        while conversation.request().await.is_some() {
            let fields = "Connection: close\r\nContent-Length: 2";
            conversation
                .write(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nhi"))
                .await;
        }
    });
    let node = TestNode::before(&[origin.address()]).await;
    let mut client = Client::connect(node.proxy()).await;
    for _ in 0..3 {
        let response = client.get("/").await;
        assert_eq!(response.text(), "hi");
        assert!(
            !response.fields.has("connection"),
            "the server's wish is not the client's: {response}"
        );
    }
    assert_eq!(origin.connections(), 3);
    node.shutdown().await;
}

/// Bytes after a response belong to no request: the connection that brought them is not used again.
#[tokio::test(flavor = "multi_thread")]
async fn stray_bytes_after_an_response_reach_nobody() {
    let origin = Origin::script(|mut conversation| async move {
        while conversation.request().await.is_some() {
            let stray = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray";
            let response = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi{stray}");
            conversation.write(response).await;
        }
    });
    let node = TestNode::before(&[origin.address()]).await;
    let mut client = Client::connect(node.proxy()).await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.text(), "hi");
    }
    node.shutdown().await;
}

async fn counts(what: &str, goal: usize, count: impl Fn() -> usize) {
    wait::until(what, async || match count() {
        there if there == goal => Ok(()),
        other => Err(other),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_works_on_both_sides() {
    let node = TestNode::start_with(|config| {
        config.listen = vec![SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0))];
    })
    .await;
    let origin = Origin::saying("hi");
    node.add(origin.address()).await;
    let response = Client::connect(node.proxy()).await.get("/").await;
    assert_eq!(response.text(), "hi");
    let seen = origin.only_request().await;
    assert_eq!(seen.fields.get("x-forwarded-for").as_deref(), Some("::1"));
    node.shutdown().await;
}
