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
    time,
};

use super::{Failure, failure::TooLong};
use crate::model::{CheckKind, HealthCheck, HttpCheck};

/// What is read of an answer at most, interim answers (1xx) included.
const MOST_BYTES: u64 = 16 * 1024;

const USER_AGENT: &str = concat!("weldr-health-check/", env!("CARGO_PKG_VERSION"));

/// Checks the server whose traffic goes to `address`. Ends within the check's timeout.
pub(super) async fn probe(address: SocketAddr, check: &HealthCheck) -> Result<(), Failure> {
    let mut target = address;
    if let Some(port) = check.port {
        target.set_port(port);
    }
    time::timeout(check.timeout, attempt(target, &check.kind))
        .await
        .unwrap_or_else(|_elapsed| Err(Failure::timeout(check.timeout)))
}

async fn attempt(target: SocketAddr, kind: &CheckKind) -> Result<(), Failure> {
    let stream = TcpStream::connect(target)
        .await
        .map_err(|error| Failure::from_io(&error))?;
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
