//! `--desync-mode`: strict refuses what has two readings, monitor forwards what has one in a form that has no other.

use weldr::policy::DesyncMode;
use weldr_tests::{node::TestNode, origin::Origin, process::Program, raw::Client};

const TWICE: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello";
const BOTH: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
                    5\r\nhello\r\n0\r\n\r\n";
const TWIN: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer_Encoding: chunked\r\n\r\nhello";

/// Whose meaning is certain, though strict mode refuses them.
const CERTAIN: [&str; 3] = [TWICE, BOTH, TWIN];

/// Which have no certain meaning in any mode, or whose coding is not known: RFC 9112, section 6.1.
const UNCERTAIN: [&str; 6] = [
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello",
];

async fn node(origin: &Origin, mode: DesyncMode) -> TestNode {
    let node = TestNode::start_with(|config| config.http.desync_mode = mode).await;
    node.add(origin.address()).await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_refuses_what_monitor_forwards() {
    let origin = Origin::saying("hi");
    let node = node(&origin, DesyncMode::Strict).await;
    for request in CERTAIN {
        let mut client = Client::connect(node.proxy()).await;
        let response = client.exchange("POST", request).await;
        assert_eq!(response.status, 400, "{request}: {response}");
        client.closed().await;
    }
    assert_eq!(origin.connections(), 0);
    node.shutdown().await;
}

/// RFC 9112, section 6.3: what goes on says once how long it is.
#[tokio::test(flavor = "multi_thread")]
async fn monitor_forwards_in_a_form_that_has_one_reading() {
    for request in CERTAIN {
        let origin = Origin::saying("hi");
        let node = node(&origin, DesyncMode::Monitor).await;
        let mut client = Client::connect(node.proxy()).await;
        let response = client.exchange("POST", request).await;
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "hi"),
            "{request}"
        );
        let seen = origin.only_request().await;
        assert_eq!(seen.body, b"hello", "{request}");
        let lengths = seen.fields.all("content-length").len();
        let codings = seen.fields.all("transfer-encoding").len();
        assert_eq!(lengths + codings, 1, "{request}: {}", seen.fields);
        assert!(
            !seen.fields.has("transfer_encoding"),
            "{request}: {}",
            seen.fields
        );
        node.shutdown().await;
    }
}

/// RFC 9112, section 6.1: a request with both is the last of its connection.
#[tokio::test(flavor = "multi_thread")]
async fn monitor_closes_after_a_length_with_a_coding() {
    let origin = Origin::saying("hi");
    let node = node(&origin, DesyncMode::Monitor).await;
    let mut client = Client::connect(node.proxy()).await;
    client.send(BOTH).await;
    client
        .send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let response = client.response("POST").await;
    assert_eq!(response.status, 200, "{response}");
    assert_eq!(response.fields.get("connection").as_deref(), Some("close"));
    client.closed().await;
    assert_eq!(origin.only_request().await.target, "/");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn monitor_refuses_what_has_no_certain_meaning() {
    let origin = Origin::saying("hi");
    let node = node(&origin, DesyncMode::Monitor).await;
    for request in UNCERTAIN {
        let mut client = Client::connect(node.proxy()).await;
        let response = client.exchange("POST", request).await;
        let status = if request.contains("gzip") { 501 } else { 400 };
        assert_eq!(response.status, status, "{request}: {response}");
        client.closed().await;
    }
    assert_eq!(origin.connections(), 0);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn monitor_logs_why_strict_would_refuse() {
    let origin = Origin::saying("hi");
    let mut weldr = Program::weldr()
        .args([
            "--desync-mode",
            "monitor",
            "--server",
            &origin.address().to_string(),
        ])
        .start();
    let proxy = weldr.proxy_address().await;
    weldr.logs("healthy").await;
    let response = Client::connect(proxy).await.exchange("POST", TWICE).await;
    assert_eq!(response.status, 200, "{response}");
    weldr
        .logs("request forwarded that strict mode would refuse")
        .await;
    weldr.logs("more than one Content-Length").await;
    weldr.terminate().await;
}
