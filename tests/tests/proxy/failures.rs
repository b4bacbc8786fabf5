//! What a client sees when servers fail.

use std::time::Duration;

use weldr_tests::{
    http1::Response,
    node::TestNode,
    origin::{Origin, ReservedPort},
    raw::{self, Client},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[track_caller]
fn assert_failed(response: &Response, status: u16, error: &str) {
    assert_eq!(response.status, status, "{response}");
    let proxy_status = response.fields.get("proxy-status").unwrap_or_default();
    let begin = format!("weldr; error={error}; details=\"");
    assert!(proxy_status.starts_with(&begin), "{response}");
    assert_eq!(
        response.fields.get("content-type").as_deref(),
        Some("text/plain; charset=utf-8")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_empty_pool_the_response_names_the_command_that_adds_a_server() {
    let node = TestNode::start().await;
    let mut client = Client::connect(node.proxy()).await;
    for _ in 0..2 {
        let response = client.exchange("GET", GET).await;
        assert_failed(&response, 503, "destination_unavailable");
        assert!(response.text().contains(" add IP:PORT"), "{response}");
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_is_passed_over_and_no_client_sees_it() {
    let origin = Origin::saying("hi");
    let refusing = ReservedPort::new();
    let node = TestNode::before(&[refusing.address(), origin.address()]).await;
    let mut client = Client::connect(node.proxy()).await;
    for method in ["GET", "POST", "PUT", "PATCH"] {
        for _ in 0..4 {
            let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
            let response = client.exchange(method, request).await;
            assert_eq!((response.status, response.text().as_str()), (200, "hi"));
        }
    }
    let bodies: Vec<_> = origin
        .requests()
        .await
        .into_iter()
        .map(|request| request.body)
        .collect();
    assert_eq!(bodies, vec![b"abc".to_vec(); 16]);
    let stats = node.stats().await;
    assert_eq!(stats.client.unwrap().failed, 0);
    assert!(stats.client_detail.unwrap().retries > 0);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_but_servers_that_refuse_the_response_is_502() {
    let refusing = ReservedPort::new();
    let node = TestNode::before(&[refusing.address()]).await;
    let response = raw::get(node.proxy(), "/").await;
    assert_failed(&response, 502, "connection_refused");
    let address = refusing.address().to_string();
    assert!(
        !response.text().contains(&address),
        "addresses are not for clients: {response}"
    );
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_respond_in_time_is_504() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
        conversation.stall().await;
    });
    let node = TestNode::start_with(|config| {
        config.timeouts.response_header = Duration::from_millis(100);
    })
    .await;
    node.add(origin.address()).await;
    for request in [
        GET,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    ] {
        let response = Client::connect(node.proxy())
            .await
            .exchange("GET", request)
            .await;
        assert_failed(&response, 504, "http_response_timeout");
    }
    assert_eq!(
        origin.connections(),
        2,
        "a request that may have been acted on is not sent again"
    );
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closes_before_it_responses_is_502() {
    for reset in [false, true] {
        let origin = Origin::script(move |mut conversation| async move {
            conversation.request().await;
            if reset {
                conversation.reset();
            }
        });
        let node = TestNode::before(&[origin.address()]).await;
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        let response = Client::connect(node.proxy())
            .await
            .exchange("POST", post)
            .await;
        assert_failed(&response, 502, "connection_terminated");
        assert_eq!(
            origin.connections(),
            1,
            "a POST that was sent is not sent again"
        );
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotent_request_that_was_cut_off_is_sent_to_another_server() {
    let closing = Origin::script(|mut conversation| async move {
        conversation.request().await;
    });
    let origin = Origin::saying("hi");
    let node = TestNode::before(&[closing.address(), origin.address()]).await;
    for _ in 0..4 {
        assert_eq!(raw::get(node.proxy(), "/").await.text(), "hi");
    }
    assert!(closing.connections() > 0);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_not_http_is_502() {
    for nonsense in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
    ] {
        let origin = Origin::script(move |mut conversation| async move {
            conversation.request().await;
            conversation.write(nonsense).await;
            conversation.stall().await;
        });
        let node = TestNode::before(&[origin.address()]).await;
        let response = raw::get(node.proxy(), "/").await;
        assert_failed(&response, 502, "http_protocol_error");
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_stops_moving_is_cut() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
        conversation
            .write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
            .await;
        conversation.stall().await;
    });
    let node = TestNode::start_with(|config| {
        config.timeouts.stream_idle = Duration::from_millis(100);
    })
    .await;
    node.add(origin.address()).await;
    let mut client = Client::connect(node.proxy()).await;
    client.send(GET).await;
    let read = client.try_response("GET").await;
    let truncated = matches!(read, Err(weldr_tests::http1::ReadError::Truncated(_)));
    assert!(truncated, "{read:?}");
    node.counts("the broken response to count", |stats| {
        stats.client.unwrap_or_default().failed == 1 && stats.server.unwrap_or_default().failed == 1
    })
    .await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_finish_its_head_is_closed() {
    let node = TestNode::start_with(|config| {
        config.timeouts.client_header = Duration::from_millis(100);
        config.timeouts.client_idle = Duration::from_millis(100);
    })
    .await;
    for begun in ["", "GET / HT"] {
        let mut client = Client::connect(node.proxy()).await;
        client.send(begun).await;
        if let Ok(response) = client.try_response("GET").await {
            assert_eq!(response.status, 408, "{response}");
        }
        client.closed().await;
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_within_its_body_is_told_408() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
    });
    let node = TestNode::start_with(|config| {
        config.timeouts.stream_idle = Duration::from_millis(100);
    })
    .await;
    node.add(origin.address()).await;
    let mut client = Client::connect(node.proxy()).await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc";
    let response = client.exchange("POST", request).await;
    assert_eq!(response.status, 408, "{response}");
    client.closed().await;
    let failed = node.stats().await.server.unwrap_or_default().failed;
    assert_eq!(failed, 0, "the client's fault is not the server's");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_of_each_request_is_counted() {
    let origin = Origin::serve(|request| async move {
        let status = request.uri().path()[1..].parse().unwrap();
        weldr_tests::serve::response(status, "x")
    });
    let node = TestNode::before(&[origin.address()]).await;
    let mut client = Client::connect(node.proxy()).await;
    for (status, times) in [(200, 5), (302, 2), (404, 3), (500, 4), (503, 1)] {
        for _ in 0..times {
            assert_eq!(client.get(&format!("/{status}")).await.status, status);
        }
    }
    let stats = node
        .counts("all requests to be counted", |stats| {
            let client = stats.client.unwrap_or_default();
            client.success + client.failed == 15
        })
        .await;
    let server = &stats.servers[0];
    for outcomes in [stats.client, stats.server, server.outcomes] {
        let outcomes = outcomes.unwrap();
        assert_eq!((outcomes.success, outcomes.failed), (10, 5));
    }
    let statuses = server.statuses.unwrap();
    assert_eq!(statuses, stats.client_detail.unwrap().statuses.unwrap());
    assert_eq!((statuses.success, statuses.redirection), (5, 2));
    assert_eq!((statuses.client_error, statuses.server_error), (3, 5));
    assert_eq!((server.connections, server.connections_total), (1, 1));
    assert_eq!((server.bytes_received, server.bytes_sent), (15, 0));
    assert_eq!(server.latency.unwrap().count, 15);
    assert_eq!(
        (server.in_flight, stats.client_detail.unwrap().in_flight),
        (0, 0)
    );
    node.shutdown().await;
}
