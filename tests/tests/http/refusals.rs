//! Refusals and failures explain themselves (RFC 9209), in the words that the client accepts.

use weldr_tests::{
    conformance::report::proxy_error, http1::Response, node::TestNode, origin::Origin, raw::Client,
};

fn assert_json(response: &Response) {
    let content = response.fields.get("content-type").unwrap_or_default();
    assert!(content.starts_with("application/json"), "{response}");
    let body = response.json();
    assert!(body.is_object(), "{response}");
}

fn assert_text(response: &Response) {
    let content = response.fields.get("content-type").unwrap_or_default();
    assert!(content.starts_with("text/plain"), "{response}");
    assert!(!response.body.is_empty(), "{response}");
}

#[tokio::test(flavor = "multi_thread")]
async fn are_json_for_a_client_that_prefers_it() {
    let node = TestNode::start().await;
    for (accept, json) in [
        ("application/json", true),
        ("Application/JSON", true),
        ("application/json, text/plain;q=0.5", true),
        ("text/plain;q=0.5, application/json;q=0.9", true),
        ("text/html, text/plain", false),
        ("*/*", false),
        ("application/json;q=0, text/plain", false),
        ("text/plain, application/json;q=0.1", false),
        ("nonsense;;,,q=", false),
    ] {
        let mut client = Client::connect(node.proxy()).await;
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n");
        let response = client.exchange("GET", request).await;
        assert_eq!(response.status, 503, "{response}");
        let status = response.fields.get("proxy-status").unwrap_or_default();
        assert_eq!(proxy_error(&status), Some("destination_unavailable"));
        println!("{accept}");
        if json {
            assert_json(&response);
        } else {
            assert_text(&response);
        }
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn are_json_even_where_framing_is_refused() {
    let origin = Origin::saying("reached");
    let node = TestNode::before(&[origin.address()]).await;
    let mut client = Client::connect(node.proxy()).await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\
                   Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let response = client.exchange("POST", request).await;
    assert_eq!(response.status, 400, "{response}");
    assert_json(&response);
    client.closed().await;
    assert_eq!(origin.connections(), 0);
    node.shutdown().await;
}

/// RFC 9110, section 9.3.2: a response to HEAD has no body, whoever wrote it.
#[tokio::test(flavor = "multi_thread")]
async fn have_no_body_for_head() {
    let node = TestNode::start().await;
    let mut client = Client::connect(node.proxy()).await;
    for _ in 0..3 {
        let response = client
            .exchange("HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        assert_eq!(response.status, 503, "{response}");
    }
    node.shutdown().await;
}

/// A fault of the client's own is not counted against the server that was chosen for it.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_broken_body_are_not_the_servers_fault() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
    });
    let node = TestNode::before(&[origin.address()]).await;
    for body in ["zz\r\n", "3\r\nabcX", "3\r\nabc\r\n0\r\nX : y\r\n\r\n"] {
        let mut client = Client::connect(node.proxy()).await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let response = client.exchange("POST", format!("{head}{body}")).await;
        assert_eq!(response.status, 400, "{body:?}: {response}");
        client.closed().await;
    }
    // The client leaves in the middle of its body.
    let mut client = Client::connect(node.proxy()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nabc")
        .await;
    client.reset();
    node.counts("all to be over", |stats| stats.servers[0].in_flight == 0)
        .await;
    let failed = node.stats().await.servers[0]
        .outcomes
        .unwrap_or_default()
        .failed;
    assert_eq!(failed, 0, "counted against the server");
    node.shutdown().await;
}

/// The body of a refusal names no address of ours and no server's.
#[tokio::test(flavor = "multi_thread")]
async fn name_no_address() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
    });
    let node = TestNode::before(&[origin.address()]).await;
    let response = Client::connect(node.proxy()).await.get("/").await;
    assert_eq!(response.status, 502, "{response}");
    let shown = response.to_string();
    assert!(!shown.contains("127.0.0.1"), "{shown}");
    node.shutdown().await;
}
