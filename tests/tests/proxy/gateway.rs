//! What a gateway adds to a request, what it takes away, and what it refuses.

use weldr_tests::{
    http1::{Request, Response},
    node::{Config, TestNode},
    origin::Origin,
    raw::Client,
};

/// Sends `request` through a node, and gives its response and what reached the origin.
async fn through(request: &str, response: &'static str) -> (Response, Vec<Request>) {
    through_with(request, response, |_| {}).await
}

/// [`through`] with changes to the configuration.
async fn through_with(
    request: &str,
    response: &'static str,
    change: impl FnOnce(&mut Config),
) -> (Response, Vec<Request>) {
    let origin = Origin::script(move |mut conversation| async move {
        while conversation.request().await.is_some() {
            conversation.write(response).await;
        }
    });
    let node = TestNode::start_with(change).await;
    node.add(origin.address()).await;
    let mut client = Client::connect(node.proxy()).await;
    let response = client.exchange("GET", request).await;
    node.shutdown().await;
    (response, origin.requests().await)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_one_connection_end_at_it() {
    let (_, requests) = through(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Private, keep-alive\r\nX-Private: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers, deflate\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: x\r\nX-Public: 2\r\n\r\n",
        OK,
    )
    .await;
    let fields = &requests[0].fields;
    for name in [
        "x-private",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "http2-settings",
        "transfer-encoding",
    ] {
        assert!(!fields.has(name), "{name} is there:\n{fields}");
    }
    assert_eq!(fields.get("x-public").as_deref(), Some("2"));
    // RFC 9110, section 10.1.4: who sends TE names it in Connection.
    let of_this_hop = (fields.get("te"), fields.get("connection"));
    assert_eq!(
        of_this_hop,
        (Some("trailers".into()), Some("TE".into())),
        "{fields}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_one_connection_of_the_server_end_at_it() {
    let (response, _) = through(
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Private, keep-alive\r\nX-Private: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Public: 2\r\n\r\nok",
    )
    .await;
    for name in [
        "connection",
        "x-private",
        "keep-alive",
        "proxy-connection",
        "upgrade",
    ] {
        assert!(!response.fields.has(name), "{name} is there:\n{response}");
    }
    assert_eq!(response.fields.get("x-public").as_deref(), Some("2"));
    assert_eq!(response.text(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_learns_the_client() {
    let (_, requests) = through("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", OK).await;
    let fields = &requests[0].fields;
    assert_eq!(fields.get("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(fields.get("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(fields.get("x-forwarded-host").as_deref(), Some("a.example"));
    let via = fields.get("via").unwrap_or_default();
    assert!(via.starts_with("1.1 weldr-"), "{via}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_proxy_is_believed_only_when_it_is_trusted() {
    let request =
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nVia: 1.0 b\r\n\r\n";
    for (trusted, expected) in [
        ("127.0.0.0/8", "1.2.3.4, 5.6.7.8, 127.0.0.1"),
        ("10.0.0.0/8", "127.0.0.1"),
    ] {
        let trust =
            |config: &mut Config| config.http.trusted_proxies.push(trusted.parse().unwrap());
        let (_, requests) = through_with(request, OK, trust).await;
        let fields = &requests[0].fields;
        assert_eq!(fields.all("x-forwarded-for").join(", "), expected);
        let via = fields.all("via").join(", ");
        assert!(via.starts_with("1.0 b, 1.1 weldr-"), "{via}");
    }
}

/// Requests that two readers could understand in two ways, and some that nobody understands.
const AMBIGUOUS: &[(&str, &str)] = &[
    (
        "both lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    ),
    (
        "a list of lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 4\r\n\r\nabcd",
    ),
    (
        "a signed length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
    ),
    (
        "a length in hexadecimal",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc",
    ),
    (
        "a negative length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    ),
    (
        "an empty length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
    ),
    (
        "chunked not last",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked in two fields",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "identity before chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "an unknown coding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a coding in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("no Host", "GET / HTTP/1.1\r\n\r\n"),
    ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    (
        "the same Host twice",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    ),
    ("a Host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("a Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    (
        "space before the colon",
        "GET / HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n",
    ),
    (
        "a folded field",
        "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
    ),
    (
        "a field without a name",
        "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    ),
    (
        "NUL in a value",
        "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n",
    ),
    (
        "CR in a value",
        "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n\r\n",
    ),
    ("no version", "GET /\r\nHost: a\r\n\r\n"),
    ("HTTP/2 in words", "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    (
        "a space in the target",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    ("nonsense", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\r\n\r\n"),
];

/// RFC 9112, sections 3.2, 6.1 and 6.3; RFC 9110, section 7.2: what has two meanings is refused with 400,
/// the connection is closed, and no byte of it reaches a server.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_ambiguous_is_refused() {
    let origin = Origin::saying("reached");
    let node = TestNode::before(&[origin.address()]).await;
    let mut wrong = Vec::new();
    for (what, request) in AMBIGUOUS {
        let mut client = Client::connect(node.proxy()).await;
        client.send(request).await;
        match client.try_response("GET").await {
            Ok(response) if matches!(response.status, 400 | 501 | 505) => client.closed().await,
            Ok(response) => wrong.push(format!("{what}: completed {}", response.status)),
            Err(error) => wrong.push(format!("{what}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(origin.received(), [[0_u8; 0]; 0]);
    node.shutdown().await;
}

/// Too much is refused in words that say so (RFC 6585, RFC 9110), not by silence.
#[tokio::test(flavor = "multi_thread")]
async fn too_large_a_head_is_refused() {
    let origin = Origin::saying("reached");
    let node = TestNode::before(&[origin.address()]).await;
    let many = (0..200).fold(String::new(), |fields, n| {
        fields + &format!("X-{n}: {n}\r\n")
    });
    let long = format!("X-Long: {}\r\n", "v".repeat(100_000));
    for fields in [many, long] {
        let mut client = Client::connect(node.proxy()).await;
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        // The rest may come after the refusal.
        let _closed = client.try_send(request).await;
        let response = client.response("GET").await;
        assert_eq!(response.status, 431, "{response}");
    }
    assert_eq!(origin.connections(), 0);
    node.shutdown().await;
}

/// A chunked body that turns out wrong is never passed on as a complete one.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_chunk_does_not_end_a_request_well() {
    for body in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcX\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc",
        "-1\r\nabc\r\n",
        "3 \nabc\n0\n\n",
    ] {
        let origin = Origin::script(|mut conversation| async move {
            if conversation.request().await.is_some() {
                conversation.write(OK).await;
            }
        });
        let node = TestNode::before(&[origin.address()]).await;
        let mut client = Client::connect(node.proxy()).await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{head}{body}")).await;
        match client.try_response("POST").await {
            Ok(response) => assert_eq!(response.status, 400, "{body:?}: {response}"),
            Err(weldr_tests::http1::ReadError::Closed) => {}
            Err(error) => panic!("{body:?}: {error}"),
        }
        client.closed().await;
        let whole = origin.requests().await;
        assert!(whole.is_empty(), "{body:?} reached the server as {whole:?}");
        node.shutdown().await;
    }
}
