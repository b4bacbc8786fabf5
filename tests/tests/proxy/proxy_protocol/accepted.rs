//! Headers that name a client, however they come.

use weldr_tests::raw::Client;

use super::{ADDRESSES, GET, LINE, binary, requiring, telling};

/// Headers, and the clients that they name.
fn headers() -> Vec<(Vec<u8>, &'static str)> {
    let v6 = "PROXY TCP6 2001:db8::1 2001:db8::2 5000 443\r\n";
    let name = [ADDRESSES, &[2, 0, 1, b'a']].concat();
    vec![
        (LINE.into(), "192.0.2.1"),
        (v6.into(), "2001:db8::1"),
        ("PROXY UNKNOWN\r\n".into(), "127.0.0.1"),
        ("PROXY UNKNOWN whatever it says\r\n".into(), "127.0.0.1"),
        (binary(1, 0x11, ADDRESSES), "192.0.2.1"),
        (binary(1, 0x11, &name), "192.0.2.1"),
        (binary(1, 0, b""), "127.0.0.1"),
        (binary(0, 0, b""), "127.0.0.1"),
        // The sender speaks for itself, and what it carries is skipped.
        (binary(0, 0x11, ADDRESSES), "127.0.0.1"),
        (binary(0, 0, &[b'\n'; 4096]), "127.0.0.1"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_and_a_request_come_in_one_packet() {
    let origin = telling();
    let node = requiring(&origin, |_| {}).await;
    for (header, client) in headers() {
        let mut connection = Client::connect(node.proxy()).await;
        let both = [&header[..], GET.as_bytes()].concat();
        let response = connection.exchange("GET", both).await;
        assert_eq!(response.text(), client, "{}", header.escape_ascii());
        // The header is for the connection, not for its first request.
        assert_eq!(connection.get("/").await.text(), client);
    }
    assert!(node.stats().await.proxy_protocol_refused.is_empty());
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_comes_byte_by_byte() {
    let origin = telling();
    let node = requiring(&origin, |_| {}).await;
    for (header, client) in headers() {
        if header.len() > 200 {
            continue;
        }
        let mut connection = Client::connect(node.proxy()).await;
        for byte in &header {
            connection.send([*byte]).await;
        }
        assert_eq!(connection.get("/").await.text(), client);
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_is_cut_anywhere() {
    let origin = telling();
    let node = requiring(&origin, |_| {}).await;
    let header = [&binary(1, 0x11, ADDRESSES)[..], GET.as_bytes()].concat();
    for cut in 1..header.len() {
        let mut connection = Client::connect(node.proxy()).await;
        connection.send(&header[..cut]).await;
        connection.send(&header[cut..]).await;
        let response = connection.response("GET").await;
        assert_eq!(response.text(), "192.0.2.1", "cut at {cut}");
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_a_row_come_behind_a_header() {
    let origin = telling();
    let node = requiring(&origin, |_| {}).await;
    let mut connection = Client::connect(node.proxy()).await;
    connection.send([LINE, GET, GET].concat()).await;
    for _ in 0..2 {
        assert_eq!(connection.response("GET").await.text(), "192.0.2.1");
    }
    node.shutdown().await;
}

/// A second header would name a client whom no proxy has named.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_header_is_no_request() {
    let origin = telling();
    let node = requiring(&origin, |_| {}).await;
    let mut connection = Client::connect(node.proxy()).await;
    connection.send([LINE, LINE, GET].concat()).await;
    assert_eq!(connection.response("GET").await.status, 400);
    assert_eq!(origin.requests().await.len(), 0);
    node.shutdown().await;
}
