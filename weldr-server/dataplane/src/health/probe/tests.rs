//! Checks of servers that respond in all sorts of ways.
#![allow(clippy::unwrap_used, reason = "a test may fail so")]

use std::{net::Ipv6Addr, time::Duration};

use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
};

use super::*;
use crate::{
    http1::{HeadLimits, Strictness},
    model::{CheckMethod, Reason},
};

const LENIENT: ResponseRules = ResponseRules {
    limits: HeadLimits {
        bytes: 32 * 1024,
        fields: 128,
    },
    strictness: Strictness::Lenient,
};
const STRICT: ResponseRules = ResponseRules {
    strictness: Strictness::Strict,
    ..LENIENT
};

/// Without TLS, and without a header of the PROXY protocol.
const PLAIN: Approach<'_> = (&PoolSecurity::Plain, SendProxyProtocol::Off);

/// Long enough that only a check without an end meets it.
const PATIENT: Duration = Duration::from_secs(20);
/// For servers that never respond.
const SHORT: Duration = Duration::from_millis(50);

fn tcp() -> HealthCheck {
    HealthCheck {
        timeout: PATIENT,
        ..HealthCheck::default()
    }
}

fn http() -> HealthCheck {
    http_as(HttpCheck::default())
}

fn http_as(check: HttpCheck) -> HealthCheck {
    HealthCheck {
        kind: CheckKind::Http(check),
        ..tcp()
    }
}

fn failed(reason: Reason, detail: &str) -> Result<(), Failure> {
    Err(Failure {
        reason,
        detail: detail.to_owned().into(),
        is_ours: false,
    })
}

fn invalid(why: &str) -> Result<(), Failure> {
    let detail = format!("invalid response: {why}");
    failed(Reason::InvalidResponse, &detail)
}

/// A server that takes one connection, reads the head of a request, writes `response` and waits for the
/// end of the connection. Gives the head.
async fn responding_with(response: &'static [u8]) -> (SocketAddr, JoinHandle<String>) {
    let (address, connection) = accepting().await;
    let server = tokio::spawn(async move {
        let mut stream = connection.await.unwrap();
        let head = read_head(&mut stream).await;
        stream.write_all(response).await.unwrap();
        let _ = stream.read(&mut [0]).await;
        head
    });
    (address, server)
}

/// A server that takes one connection.
async fn accepting() -> (SocketAddr, JoinHandle<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = tokio::spawn(async move { listener.accept().await.unwrap().0 });
    (address, accepted)
}

/// A server that writes `part` for as long as it can.
async fn endless(begin: &'static [u8], part: &'static [u8]) -> SocketAddr {
    let (address, connection) = accepting().await;
    tokio::spawn(async move {
        let mut stream = connection.await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(begin).await.unwrap();
        while stream.write_all(part).await.is_ok() {}
    });
    address
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// What an HTTP check makes of `response`.
async fn check_of(response: &'static [u8]) -> Result<(), Failure> {
    let (address, _server) = responding_with(response).await;
    probe(address, &http(), LENIENT, PLAIN).await
}

/// What a check that expects `ready` in the body makes of `response`.
async fn body_check_of(response: &'static [u8]) -> Result<(), Failure> {
    let (address, _server) = responding_with(response).await;
    let check = http_as(HttpCheck {
        body: Some("ready".to_owned()),
        ..HttpCheck::default()
    });
    probe(address, &check, LENIENT, PLAIN).await
}

#[tokio::test]
async fn the_body_must_contain_the_text() {
    for response in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nI am ready."[..],
        // Split by the framing.
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nre\r\n4\r\nady!\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\nready",
    ] {
        assert_eq!(body_check_of(response).await, Ok(()), "{response:?}");
    }
    let detail = "the body does not contain the text that the check expects";
    for response in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nREADY"[..],
        // After the end of the body.
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nready",
        b"HTTP/1.1 200 OK\r\nReady: ready\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ] {
        let refused = body_check_of(response).await;
        assert_eq!(
            refused,
            failed(Reason::ResponseBodyMismatch, detail),
            "{response:?}"
        );
    }
    let status = body_check_of(b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nready").await;
    let expected = "status 500 instead of 200-399";
    assert_eq!(status, failed(Reason::ResponseCodeMismatch, expected));
}

#[tokio::test]
async fn a_body_without_an_end_is_searched_up_to_a_limit() {
    let address = endless(b"HTTP/1.1 200 OK\r\n\r\n", b"not yet, ").await;
    let check = http_as(HttpCheck {
        body: Some("ready".to_owned()),
        ..HttpCheck::default()
    });
    let refused = probe(address, &check, LENIENT, PLAIN).await.unwrap_err();
    assert_eq!(refused.reason, Reason::ResponseBodyMismatch);
}

#[tokio::test]
async fn the_method_of_a_check_is_sent_and_head_has_no_body() {
    for (method, response) in [
        (
            CheckMethod::Head,
            &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"[..],
        ),
        (CheckMethod::Options, b"HTTP/1.1 204 No Content\r\n\r\n"),
    ] {
        let (address, server) = responding_with(response).await;
        let check = http_as(HttpCheck {
            method,
            ..HttpCheck::default()
        });
        assert_eq!(probe(address, &check, LENIENT, PLAIN).await, Ok(()));
        let head = server.await.unwrap();
        assert!(head.starts_with(method.as_str()), "{head}");
    }
}

/// A port that is bound and refuses connections for as long as the socket lives.
fn refusing() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    (socket.local_addr().unwrap(), socket)
}

#[tokio::test]
async fn a_server_that_refuses_the_connection_fails() {
    let (address, _socket) = refusing();
    for check in [tcp(), http()] {
        assert_eq!(
            probe(address, &check, LENIENT, PLAIN).await,
            failed(Reason::ConnectionRefused, "connection refused")
        );
    }
}

#[tokio::test]
async fn a_server_that_accepts_passes_a_tcp_check() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(host).await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(
            probe(address, &tcp(), LENIENT, PLAIN).await,
            Ok(()),
            "{host}"
        );
    }
}

#[tokio::test]
async fn the_port_of_the_check_is_the_one_that_is_checked() {
    let (traffic, _socket) = refusing();
    let (address, _server) = responding_with(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let check = HealthCheck {
        port: Some(address.port()),
        ..http()
    };
    assert_eq!(probe(traffic, &check, LENIENT, PLAIN).await, Ok(()));
}

#[tokio::test]
async fn the_request_is_what_the_check_says() {
    let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (address, server) = responding_with(ok).await;
    let check = http_as(HttpCheck {
        path: "/health?full=1".into(),
        host: Some("shop.example".into()),
        ..HttpCheck::default()
    });
    assert_eq!(probe(address, &check, LENIENT, PLAIN).await, Ok(()));
    let head = server.await.unwrap();
    assert!(
        head.starts_with("GET /health?full=1 HTTP/1.1\r\n"),
        "{head}"
    );
    for line in [
        "Host: shop.example",
        concat!("User-Agent: weldr-health-check/", env!("CARGO_PKG_VERSION")),
        "Connection: close",
    ] {
        assert_eq!(head.lines().filter(|&l| l == line).count(), 1, "{head}");
    }
}

#[tokio::test]
async fn without_a_host_it_asks_for_the_address() {
    let (address, server) = responding_with(b"HTTP/1.0 200 OK\r\n\r\n").await;
    assert_eq!(probe(address, &http(), LENIENT, PLAIN).await, Ok(()));
    let head = server.await.unwrap();
    assert!(head.contains(&format!("\r\nHost: {address}\r\n")), "{head}");
}

#[test]
fn a_zone_is_no_part_of_the_host() {
    let zoned = std::net::SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, 0, 3);
    assert_eq!(authority(zoned.into()), "[::1]:80");
}

#[tokio::test]
async fn the_status_decides() {
    assert_eq!(check_of(b"HTTP/1.1 302 Found\r\n\r\n").await, Ok(()));
    assert_eq!(
        check_of(b"HTTP/1.1 500 Oh no\r\ncontent-length: 0\r\n\r\n").await,
        failed(
            Reason::ResponseCodeMismatch,
            "status 500 instead of 200-399"
        )
    );
    let (address, _server) = responding_with(b"HTTP/1.1 404 Not Found\r\n\r\n").await;
    let check = http_as(HttpCheck {
        expected_status: "200,404".parse().unwrap(),
        ..HttpCheck::default()
    });
    assert_eq!(probe(address, &check, LENIENT, PLAIN).await, Ok(()));
}

#[tokio::test]
async fn interim_responses_are_not_the_response() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
        HTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(check_of(interim).await, Ok(()));
    assert_eq!(
        check_of(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
            .await,
        failed(
            Reason::ResponseCodeMismatch,
            "status 101 instead of 200-399"
        )
    );
}

#[tokio::test]
async fn what_is_not_http_fails() {
    for (response, why) in [
        (
            &b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..],
            "the first line is not a status-line",
        ),
        (
            b"\x15\x03\x01\x00\x02\x02\x46",
            "the first line is not a status-line",
        ),
        (
            b"HTTP/1.1 abc OK\r\n\r\n",
            "the first line is not a status-line",
        ),
        (
            b"HTTP/2.0 200 OK\r\n\r\n",
            "the version is not one that is spoken here",
        ),
        (
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "a field line has no colon after its name",
        ),
    ] {
        assert_eq!(check_of(response).await, invalid(why), "{response:?}");
    }
}

/// What traffic refuses, and what it passes on.
#[tokio::test]
async fn a_check_judges_as_the_traffic_does() {
    for (response, why) in [
        (
            &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
                [..],
            "more than one Transfer-Encoding",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "both Content-Length and Transfer-Encoding",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "more than one Content-Length, with different values",
        ),
        (
            b"HTTP/1.1 200 OK\nContent-Length: 1\n\n",
            "a line does not end with CR LF",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
            "the size of a chunk is not a hexadecimal number",
        ),
    ] {
        assert_eq!(check_of(response).await, invalid(why), "{response:?}");
    }
    for response in [
        &b"HTTP/1.1  200 OK\r\nContent-Length: 1\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length : 1, 1\r\n\r\n",
    ] {
        assert_eq!(check_of(response).await, Ok(()), "{response:?}");
        let (address, _server) = responding_with(response).await;
        let reason = probe(address, &http(), STRICT, PLAIN)
            .await
            .unwrap_err()
            .reason;
        assert_eq!(reason, Reason::InvalidResponse, "{response:?}");
    }
}

#[tokio::test]
async fn a_head_may_be_as_large_as_that_of_the_traffic() {
    let head = |bytes: usize| {
        let begin = "HTTP/1.1 200 OK\r\nX: ";
        format!("{begin}{}\r\n\r\n", "a".repeat(bytes - begin.len() - 4))
    };
    for (bytes, expected) in [
        (20 * 1024, Ok(())),
        (32 * 1024, Ok(())),
        (32 * 1024 + 1, invalid("the head has more than 32768 bytes")),
    ] {
        let response = head(bytes).into_bytes().leak();
        assert_eq!(check_of(response).await, expected, "{bytes}");
    }
}

#[tokio::test]
async fn a_server_that_sends_before_the_request_fails() {
    let (address, connection) = accepting().await;
    tokio::spawn(async move {
        let mut stream = connection.await.unwrap();
        stream
            .write_all(b"220 mail.example ESMTP\r\n")
            .await
            .unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.read(&mut [0; 1024]).await;
    });
    let reason = probe(address, &http(), LENIENT, PLAIN)
        .await
        .unwrap_err()
        .reason;
    assert_eq!(reason, Reason::InvalidResponse);
}

#[tokio::test]
async fn a_server_that_closes_before_the_response_fails() {
    let closed = failed(
        Reason::ConnectionClosed,
        "connection closed before the response",
    );
    for part in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-"] {
        let (address, connection) = accepting().await;
        tokio::spawn(async move {
            let mut stream = connection.await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(part).await.unwrap();
        });
        assert_eq!(
            probe(address, &http(), LENIENT, PLAIN).await,
            closed,
            "{part:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_closes_at_once_fails() {
    // The request meets a closed connection: an end or a reset, whichever the system reports first.
    let (address, connection) = accepting().await;
    tokio::spawn(async move { drop(connection.await) });
    let reason = probe(address, &http(), LENIENT, PLAIN)
        .await
        .unwrap_err()
        .reason;
    assert_eq!(reason, Reason::ConnectionClosed);
}

#[tokio::test]
async fn a_server_that_resets_fails() {
    let (address, connection) = accepting().await;
    tokio::spawn(async move {
        let mut stream = connection.await.unwrap();
        read_head(&mut stream).await;
        stream.set_zero_linger().unwrap();
    });
    assert_eq!(
        probe(address, &http(), LENIENT, PLAIN).await,
        failed(Reason::ConnectionClosed, "connection reset")
    );
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let (address, _server) = responding_with(b"").await;
    let check = HealthCheck {
        timeout: SHORT,
        ..http()
    };
    assert_eq!(
        probe(address, &check, LENIENT, PLAIN).await,
        failed(Reason::Timeout, "no response within 50ms")
    );
}

#[tokio::test]
async fn a_server_that_sends_single_bytes_times_out() {
    let (address, connection) = accepting().await;
    tokio::spawn(async move {
        let mut stream = connection.await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        while stream.write_all(b"a: b\r\n").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    let check = HealthCheck {
        timeout: SHORT,
        ..http()
    };
    let reason = probe(address, &check, LENIENT, PLAIN)
        .await
        .unwrap_err()
        .reason;
    assert_eq!(reason, Reason::Timeout);
}

#[tokio::test]
async fn a_head_without_an_end_is_cut() {
    let header = b"HTTP/1.1 200 OK\r\nendless: ";
    for (address, why) in [
        (
            endless(header, &[b'x'; 1000]).await,
            "the head has more than 32768 bytes",
        ),
        (
            endless(b"HTTP/1.1 200 ", &[b'x'; 1000]).await,
            "the head has more than 32768 bytes",
        ),
        (
            endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n").await,
            "more than 32 interim responses",
        ),
    ] {
        assert_eq!(probe(address, &http(), LENIENT, PLAIN).await, invalid(why));
    }
}

#[tokio::test]
async fn a_body_without_an_end_is_not_read() {
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let address = endless(head, b"3\r\nabc\r\n").await;
    assert_eq!(probe(address, &http(), LENIENT, PLAIN).await, Ok(()));
}

#[tokio::test]
async fn a_check_that_cannot_be_sent_fails() {
    let (address, _accepted) = accepting().await;
    let check = http_as(HttpCheck {
        host: Some("two\r\nlines".into()),
        ..HttpCheck::default()
    });
    assert_eq!(
        probe(address, &check, LENIENT, PLAIN).await,
        Err(Failure::unsendable())
    );
}

/// What a server gets before a request, if there is one; `length` bytes.
async fn announced(check: &HealthCheck, version: SendProxyProtocol, length: usize) -> Vec<u8> {
    let (address, connection) = accepting().await;
    let has_request = check.kind != CheckKind::Tcp;
    let server = tokio::spawn(async move {
        let mut stream = connection.await.unwrap();
        let mut header = vec![0; length];
        stream.read_exact(&mut header).await.unwrap();
        if has_request {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        }
        header
    });
    let approach = (&PoolSecurity::Plain, version);
    assert_eq!(probe(address, check, LENIENT, approach).await, Ok(()));
    server.await.unwrap()
}

#[tokio::test]
async fn a_check_says_that_it_has_no_client() {
    const LINE: &[u8] = b"PROXY UNKNOWN\r\n";
    const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for check in [tcp(), http()] {
        let line = announced(&check, SendProxyProtocol::V1, LINE.len()).await;
        assert_eq!(line, LINE);
        let local = announced(&check, SendProxyProtocol::V2, LOCAL.len()).await;
        assert_eq!(local, LOCAL);
    }
}

#[tokio::test]
async fn a_check_of_another_port_sends_no_header() {
    let (address, server) = responding_with(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let check = HealthCheck {
        port: Some(address.port()),
        ..http()
    };
    let traffic = SocketAddr::new(address.ip(), 1);
    let approach = (&PoolSecurity::Plain, SendProxyProtocol::V1);
    assert_eq!(probe(traffic, &check, LENIENT, approach).await, Ok(()));
    assert!(server.await.unwrap().starts_with("GET / "));
}

/// Loopback alone can do this, and only when the two ports meet: so the meeting is arranged.
#[tokio::test]
async fn a_probe_that_connects_to_itself_is_refused() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    let stream = socket.connect(address).await.unwrap();
    assert_eq!(
        examine(stream, address, &CheckKind::Tcp, LENIENT, PLAIN).await,
        failed(Reason::ConnectionRefused, "connection refused")
    );
}
