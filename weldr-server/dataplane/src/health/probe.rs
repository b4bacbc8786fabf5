//! One check of a server, bounded in time and in bytes.

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take},
    net::TcpStream,
};

use super::{Failure, failure::TooLong};
use crate::{
    clock::within,
    model::{CheckKind, HealthCheck, HttpCheck},
};

/// What is read of an answer at most, interim answers (1xx) included.
const MOST_BYTES: u64 = 16 * 1024;

const USER_AGENT: &str = concat!("weldr-health-check/", env!("CARGO_PKG_VERSION"));

/// Checks the server whose traffic goes to `address`. Ends within the check's timeout, in which only time counts when this
/// process ran.
pub(super) async fn probe(address: SocketAddr, check: &HealthCheck) -> Result<(), Failure> {
    let mut target = address;
    if let Some(port) = check.port {
        target.set_port(port);
    }
    let (result, running) = within(check.timeout, attempt(target, &check.kind)).await;
    let result = result.unwrap_or_else(|| Err(Failure::timeout(check.timeout)));
    if running.was_interrupted() {
        result.map_err(Failure::of_an_interrupted_check)
    } else {
        result
    }
}

async fn attempt(target: SocketAddr, kind: &CheckKind) -> Result<(), Failure> {
    let stream = TcpStream::connect(target)
        .await
        .map_err(|error| Failure::from_io(&error))?;
    examine(stream, target, kind).await
}

/// The check of a server that accepted.
async fn examine(stream: TcpStream, target: SocketAddr, kind: &CheckKind) -> Result<(), Failure> {
    if stream.local_addr().is_ok_and(|local| local == target) {
        return Err(Failure::self_connected());
    }
    match kind {
        CheckKind::Tcp => Ok(()),
        CheckKind::Http(http) => ask(stream, target, http).await,
    }
}

/// Sends the request, reads the head of the final answer and drops the connection.
async fn ask(stream: TcpStream, target: SocketAddr, check: &HttpCheck) -> Result<(), Failure> {
    let request = request(target, check).map_err(|_unsendable| Failure::unsendable())?;
    let from_hyper = |error| Failure::from_hyper(&error);
    let io = TokioIo::new(Bounded(stream.take(MOST_BYTES)));
    let (mut sender, connection) = http1::handshake(io).await.map_err(from_hyper)?;
    let mut connection = pin!(connection);
    let mut answer = pin!(sender.send_request(request));
    let response = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The connection ends after it gave the answer or the error, which waits then.
        _ = &mut connection => answer.await,
    };
    let status = response.map_err(from_hyper)?.status().as_u16();
    if check.expected_status.contains(status) {
        Ok(())
    } else {
        Err(Failure::status(status, &check.expected_status))
    }
}

fn request(target: SocketAddr, check: &HttpCheck) -> http::Result<Request<Empty<Bytes>>> {
    let host = check.host.clone().unwrap_or_else(|| authority(target));
    Request::get(check.path.as_str())
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
}

/// The address without its zone, which a Host field cannot hold (RFC 9110 section 4.2.3 has only `uri-host`).
fn authority(target: SocketAddr) -> String {
    SocketAddr::new(target.ip(), target.port()).to_string()
}

/// A connection of which only so much can be read: reading more is an error, not an end.
struct Bounded(Take<TcpStream>);

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0.limit() == 0 {
            return Poll::Ready(Err(io::Error::other(TooLong)));
        }
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.0.get_mut()).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.get_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail so")]

    use std::{net::Ipv6Addr, time::Duration};

    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpSocket},
        task::JoinHandle,
    };

    use super::*;
    use crate::model::Reason;

    /// Long enough that only a check without an end meets it.
    const PATIENT: Duration = Duration::from_secs(20);
    /// For servers that never answer.
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

    /// A server that takes one connection, reads the head of a request, writes `answer` and waits for the
    /// end of the connection. Gives the head.
    async fn answering(answer: &'static [u8]) -> (SocketAddr, JoinHandle<String>) {
        let (address, connection) = accepting().await;
        let server = tokio::spawn(async move {
            let mut stream = connection.await.unwrap();
            let head = read_head(&mut stream).await;
            stream.write_all(answer).await.unwrap();
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

    /// What an HTTP check makes of `answer`.
    async fn check_of(answer: &'static [u8]) -> Result<(), Failure> {
        let (address, _server) = answering(answer).await;
        probe(address, &http()).await
    }

    /// A port that is bound and refuses connections for as long as the socket lives.
    fn refusing() -> (SocketAddr, TcpSocket) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        (socket.local_addr().unwrap(), socket)
    }

    #[tokio::test]
    async fn who_refuses_fails() {
        let (address, _socket) = refusing();
        for check in [tcp(), http()] {
            assert_eq!(
                probe(address, &check).await,
                failed(Reason::ConnectionRefused, "connection refused")
            );
        }
    }

    #[tokio::test]
    async fn who_accepts_passes_a_tcp_check() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(host).await.unwrap();
            let address = listener.local_addr().unwrap();
            assert_eq!(probe(address, &tcp()).await, Ok(()), "{host}");
        }
    }

    #[tokio::test]
    async fn the_port_of_the_check_is_the_one_that_is_checked() {
        let (traffic, _socket) = refusing();
        let (address, _server) = answering(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        let check = HealthCheck {
            port: Some(address.port()),
            ..http()
        };
        assert_eq!(probe(traffic, &check).await, Ok(()));
    }

    #[tokio::test]
    async fn the_request_is_what_the_check_says() {
        let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let (address, server) = answering(ok).await;
        let check = http_as(HttpCheck {
            path: "/health?full=1".into(),
            host: Some("shop.example".into()),
            ..HttpCheck::default()
        });
        assert_eq!(probe(address, &check).await, Ok(()));
        let head = server.await.unwrap();
        assert!(
            head.starts_with("GET /health?full=1 HTTP/1.1\r\n"),
            "{head}"
        );
        for line in [
            "host: shop.example",
            concat!("user-agent: weldr-health-check/", env!("CARGO_PKG_VERSION")),
            "connection: close",
        ] {
            assert_eq!(head.lines().filter(|&l| l == line).count(), 1, "{head}");
        }
    }

    #[tokio::test]
    async fn without_a_host_it_asks_for_the_address() {
        let (address, server) = answering(b"HTTP/1.0 200 OK\r\n\r\n").await;
        assert_eq!(probe(address, &http()).await, Ok(()));
        let head = server.await.unwrap();
        assert!(head.contains(&format!("\r\nhost: {address}\r\n")), "{head}");
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
        let (address, _server) = answering(b"HTTP/1.1 404 Not Found\r\n\r\n").await;
        let check = http_as(HttpCheck {
            expected_status: "200,404".parse().unwrap(),
            ..HttpCheck::default()
        });
        assert_eq!(probe(address, &check).await, Ok(()));
    }

    #[tokio::test]
    async fn interim_answers_are_not_the_answer() {
        let interim =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
            HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(check_of(interim).await, Ok(()));
        assert_eq!(
            check_of(
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
            )
            .await,
            failed(
                Reason::ResponseCodeMismatch,
                "status 101 instead of 200-399"
            )
        );
    }

    #[tokio::test]
    async fn what_is_not_http_fails() {
        for answer in [
            &b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..],
            b"\x15\x03\x01\x00\x02\x02\x46",
            b"HTTP/1.1 abc OK\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        ] {
            assert_eq!(
                check_of(answer).await,
                failed(Reason::InvalidResponse, "the answer is not HTTP/1.1"),
                "{answer:?}"
            );
        }
    }

    #[tokio::test]
    async fn who_speaks_before_it_is_asked_fails() {
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
        let reason = probe(address, &http()).await.unwrap_err().reason;
        assert_eq!(reason, Reason::InvalidResponse);
    }

    #[tokio::test]
    async fn who_closes_before_the_answer_fails() {
        let closed = failed(
            Reason::ConnectionClosed,
            "connection closed before the answer",
        );
        for part in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-"] {
            let (address, connection) = accepting().await;
            tokio::spawn(async move {
                let mut stream = connection.await.unwrap();
                read_head(&mut stream).await;
                stream.write_all(part).await.unwrap();
            });
            assert_eq!(probe(address, &http()).await, closed, "{part:?}");
        }
    }

    #[tokio::test]
    async fn who_closes_at_once_fails() {
        // The request meets a closed connection: an end or a reset, whichever the system reports first.
        let (address, connection) = accepting().await;
        tokio::spawn(async move { drop(connection.await) });
        let reason = probe(address, &http()).await.unwrap_err().reason;
        assert_eq!(reason, Reason::ConnectionClosed);
    }

    #[tokio::test]
    async fn who_resets_fails() {
        let (address, connection) = accepting().await;
        tokio::spawn(async move {
            let mut stream = connection.await.unwrap();
            read_head(&mut stream).await;
            stream.set_zero_linger().unwrap();
        });
        assert_eq!(
            probe(address, &http()).await,
            failed(Reason::ConnectionClosed, "connection reset")
        );
    }

    #[tokio::test]
    async fn who_is_silent_runs_out_of_time() {
        let (address, _server) = answering(b"").await;
        let check = HealthCheck {
            timeout: SHORT,
            ..http()
        };
        assert_eq!(
            probe(address, &check).await,
            failed(Reason::Timeout, "no answer within 50ms")
        );
    }

    #[tokio::test]
    async fn who_drips_runs_out_of_time() {
        let (address, connection) = accepting().await;
        tokio::spawn(async move {
            let mut stream = connection.await.unwrap();
            while stream.write_all(b"\r\n").await.is_ok() {
                tokio::time::sleep(SHORT / 10).await;
            }
        });
        let check = HealthCheck {
            timeout: SHORT,
            ..http()
        };
        let reason = probe(address, &check).await.unwrap_err().reason;
        assert_eq!(reason, Reason::Timeout);
    }

    #[tokio::test]
    async fn a_head_without_an_end_is_cut() {
        let header = b"HTTP/1.1 200 OK\r\nendless: ";
        for address in [
            endless(header, &[b'x'; 1000]).await,
            endless(b"HTTP/1.1 200 ", &[b'x'; 1000]).await,
            endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n").await,
        ] {
            assert_eq!(
                probe(address, &http()).await,
                failed(Reason::InvalidResponse, "head of the answer too long")
            );
        }
    }

    #[tokio::test]
    async fn a_body_without_an_end_is_not_read() {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let address = endless(head, b"3\r\nabc\r\n").await;
        assert_eq!(probe(address, &http()).await, Ok(()));
    }

    #[tokio::test]
    async fn a_check_that_cannot_be_sent_fails() {
        let (address, _accepted) = accepting().await;
        let check = http_as(HttpCheck {
            host: Some("two\r\nlines".into()),
            ..HttpCheck::default()
        });
        assert_eq!(probe(address, &check).await, Err(Failure::unsendable()));
    }

    /// Loopback alone can do this, and only when the two ports meet: so the meeting is arranged.
    #[tokio::test]
    async fn a_probe_that_connects_to_itself_is_refused() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let stream = socket.connect(address).await.unwrap();
        assert_eq!(
            examine(stream, address, &CheckKind::Tcp).await,
            failed(Reason::ConnectionRefused, "connection refused")
        );
    }
}
