//! One check of a server, bounded in time and in bytes.
//!
//! The response is read with the parser, the limits and the strictness of the traffic, so that a server passes its
//! checks exactly when the head of its response would be passed on, and the part of the body that came with it.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Failure, response::Response};
use crate::{
    clock::within,
    http1::{ResponseRules, is_field_value, is_target},
    model::{CheckKind, HealthCheck, HttpCheck, SendProxyProtocol},
    proxy_protocol::local_header,
    snapshot::PoolSecurity,
};

const USER_AGENT: &str = concat!("weldr-health-check/", env!("CARGO_PKG_VERSION"));

/// How a server is spoken to: how the connection is secured, and what names a client at its begin.
pub(super) type Approach<'a> = (&'a PoolSecurity, SendProxyProtocol);

/// Checks the server whose traffic goes to `address`. Ends within the check's timeout, in which only time counts when this
/// process ran.
pub(super) async fn probe(
    address: SocketAddr,
    check: &HealthCheck,
    rules: ResponseRules,
    (security, mut proxy_protocol): Approach<'_>,
) -> Result<(), Failure> {
    let mut target = address;
    if let Some(port) = check.port {
        target.set_port(port);
        // What listens at another port is not what the traffic goes to.
        if target != address {
            proxy_protocol = SendProxyProtocol::Off;
        }
    }
    let approach = (security, proxy_protocol);
    let (result, running) =
        within(check.timeout, attempt(target, &check.kind, rules, approach)).await;
    let result = result.unwrap_or_else(|| Err(Failure::timeout(check.timeout)));
    if running.was_interrupted() {
        result.map_err(Failure::of_an_interrupted_check)
    } else {
        result
    }
}

async fn attempt(
    target: SocketAddr,
    kind: &CheckKind,
    rules: ResponseRules,
    approach: Approach<'_>,
) -> Result<(), Failure> {
    let stream = TcpStream::connect(target)
        .await
        .map_err(|error| Failure::from_io(&error))?;
    examine(stream, target, kind, rules, approach).await
}

/// The check of a server that accepted.
async fn examine(
    mut stream: TcpStream,
    target: SocketAddr,
    kind: &CheckKind,
    rules: ResponseRules,
    (security, proxy_protocol): Approach<'_>,
) -> Result<(), Failure> {
    if stream.local_addr().is_ok_and(|local| local == target) {
        return Err(Failure::self_connected());
    }
    // A server that expects a header would log each check that comes without one.
    let header = local_header(proxy_protocol);
    let sent = stream.write_all(&header).await;
    sent.map_err(|error| Failure::from_io(&error))?;
    match kind {
        CheckKind::Tcp => Ok(()),
        CheckKind::Http(http) => match security {
            PoolSecurity::Plain => ask(stream, target, http, rules).await,
            PoolSecurity::Tls(tls) => {
                let stream = tls.check(stream, target.ip()).await;
                let stream = stream.map_err(|error| Failure::of_tls(&error))?;
                ask(stream, target, http, rules).await
            }
            PoolSecurity::Unusable(why) => Err(Failure::unusable_tls(why)),
        },
    }
}

/// Sends the request, reads the head of the final response and what is wanted of its body, and drops the connection.
async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    target: SocketAddr,
    check: &HttpCheck,
    rules: ResponseRules,
) -> Result<(), Failure> {
    let request = request(target, check).ok_or_else(Failure::unsendable)?;
    let sent = stream.write_all(&request).await;
    let mut response = Response::of(check);
    // A server that does not read the whole request may have responded all the same.
    let final_head = match (response.read_head(&mut stream, rules).await, sent) {
        (Ok(final_head), _) => final_head,
        (Err(_), Err(error)) => return Err(Failure::from_io(&error)),
        (Err(failure), Ok(())) => return Err(failure),
    };
    if !check.expected_status.contains(final_head.status) {
        let (status, expected) = (final_head.status, &check.expected_status);
        return Err(Failure::status(status, expected));
    }
    match &check.body {
        None => Ok(()),
        Some(text) => {
            response
                .search_body(&mut stream, rules, final_head.framing, text.as_bytes())
                .await
        }
    }
}

/// The request of a check; `None` when its path or its host would not be one line.
fn request(target: SocketAddr, check: &HttpCheck) -> Option<Vec<u8>> {
    // A fragment is no part of a request-target.
    let path = check.path.split('#').next().unwrap_or_default();
    let host = check.host.clone().unwrap_or_else(|| authority(target));
    let sendable = path.starts_with('/')
        && is_target(path.as_bytes())
        && !host.is_empty()
        && is_field_value(host.as_bytes());
    sendable.then(|| {
        let method = check.method.as_str();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n\
             Connection: close\r\n\r\n"
        )
        .into_bytes()
    })
}

/// The address without its zone, which a Host field cannot hold (RFC 9110 section 4.2.3 has only `uri-host`).
fn authority(target: SocketAddr) -> String {
    SocketAddr::new(target.ip(), target.port()).to_string()
}

#[cfg(test)]
mod tests;
