//! The ids that a request can be followed by (W3C Trace Context), and how far it may go (RFC 9110, section 7.6.2).

use std::collections::BTreeSet;

use weldr_tests::{http1::Request, node::TestNode, origin::Origin, raw::Client};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn forwarded(fields: &str) -> Request {
    let origin = Origin::saying("hi");
    let node = TestNode::before(&[origin.address()]).await;
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let response = Client::connect(node.proxy())
        .await
        .exchange("GET", request)
        .await;
    assert_eq!(response.status, 200, "{response}");
    node.shutdown().await;
    origin.only_request().await
}

#[track_caller]
fn assert_is_trace(request: &Request) {
    let traces = request.fields.all("traceparent");
    assert_eq!(traces.len(), 1, "{}", request.fields);
    let parts: Vec<_> = traces[0].split('-').collect();
    let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
    assert_eq!(lengths, [2, 32, 16, 2], "{traces:?}");
    assert!(
        parts
            .iter()
            .all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()))
    );
    assert!(
        parts[1..3]
            .iter()
            .all(|part| part.bytes().any(|b| b != b'0'))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_gave_is_kept() {
    let fields = format!("X-Request-Id: mine\r\ntraceparent: {TRACE}\r\ntracestate: a=b\r\n");
    let request = forwarded(&fields).await;
    assert_eq!(request.fields.all("x-request-id"), ["mine"]);
    assert_eq!(request.fields.all("traceparent"), [TRACE]);
    assert_eq!(request.fields.all("tracestate"), ["a=b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_is_made_anew() {
    let long = format!("X-Request-Id: {}\r\n", "x".repeat(5000));
    for fields in [
        "X-Request-Id:\r\n",
        "X-Request-Id: two words\r\n",
        "X-Request-Id: a\r\nX-Request-Id: b\r\n",
        &long,
    ] {
        let request = forwarded(fields).await;
        let ids = request.fields.all("x-request-id");
        assert_eq!(ids.len(), 1, "{fields:?}: {}", request.fields);
        assert_eq!(ids[0].len(), 32, "{fields:?}: {ids:?}");
    }
}

/// Trace Context, sections 2.2 and 3.2: a trace that is not valid ends with its state, and another begins.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_is_not_valid_is_begun_anew_without_its_state() {
    for trace in [
        "",
        "nonsense",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
    ] {
        let request = forwarded(&format!("traceparent: {trace}\r\ntracestate: a=b\r\n")).await;
        assert_is_trace(&request);
        assert_ne!(request.fields.all("traceparent"), [trace]);
        assert!(
            !request.fields.has("tracestate"),
            "{trace}: {}",
            request.fields
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_made_and_no_two_are_alike() {
    const REQUESTS: usize = 200;
    let origin = Origin::saying("hi");
    let node = TestNode::before(&[origin.address()]).await;
    for _ in 0..4 {
        let mut client = Client::connect(node.proxy()).await;
        for _ in 0..REQUESTS / 4 {
            client.get("/").await;
        }
    }
    let requests = origin.requests().await;
    requests.iter().for_each(assert_is_trace);
    let ids: BTreeSet<_> = requests
        .iter()
        .filter_map(|seen| seen.fields.get("x-request-id"))
        .collect();
    let traces: BTreeSet<_> = requests
        .iter()
        .filter_map(|seen| seen.fields.get("traceparent"))
        .collect();
    assert_eq!((ids.len(), traces.len()), (REQUESTS, REQUESTS));
    node.shutdown().await;
}

async fn exchange(node: &TestNode, method: &str, forwards: &str) -> weldr_tests::http1::Response {
    let fields =
        format!("Host: a\r\nMax-Forwards: {forwards}\r\nCookie: secret\r\nX-Seen: yes\r\n");
    let request = format!("{method} /x HTTP/1.1\r\n{fields}\r\n");
    Client::connect(node.proxy())
        .await
        .exchange(method, request)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_forwards_end_here() {
    let origin = Origin::saying("hi");
    let node = TestNode::before(&[origin.address()]).await;
    assert_eq!(exchange(&node, "OPTIONS", "0").await.status, 200);
    let trace = exchange(&node, "TRACE", "0").await;
    assert_eq!(trace.status, 200, "{trace}");
    assert_eq!(
        trace.fields.get("content-type").as_deref(),
        Some("message/http")
    );
    let seen = trace.text();
    assert!(seen.starts_with("TRACE /x HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("X-Seen: yes\r\n"), "{seen}");
    // RFC 9110, section 9.3.8: what is secret is left out.
    assert!(!seen.contains("secret"), "{seen}");
    assert_eq!(origin.connections(), 0);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forwards_count_down_once_at_each_hop() {
    let origin = Origin::saying("hi");
    let inner = TestNode::before(&[origin.address()]).await;
    let outer = TestNode::before(&[inner.proxy()]).await;
    for (method, forwards) in [("OPTIONS", "7"), ("TRACE", "2"), ("OPTIONS", "007")] {
        assert_eq!(exchange(&outer, method, forwards).await.status, 200);
    }
    // The inner one is the last that this may reach.
    assert_eq!(exchange(&outer, "OPTIONS", "1").await.status, 200);
    assert_eq!(exchange(&outer, "GET", "0").await.text(), "hi");
    let requests = origin.requests().await;
    let mut seen: Vec<_> = requests
        .iter()
        .map(|request| request.fields.get("max-forwards").unwrap_or_default())
        .collect();
    // They may have come on several connections, which have no order between them.
    seen.sort();
    assert_eq!(seen, ["0", "0", "5", "5"]);
    for request in &requests {
        let via = request.fields.all("via").join(", ");
        let both = via
            .split(", ")
            .filter(|name| name.starts_with("1.1 weldr-"));
        assert_eq!(both.count(), 2, "{via}");
    }
    outer.shutdown().await;
    inner.shutdown().await;
}
