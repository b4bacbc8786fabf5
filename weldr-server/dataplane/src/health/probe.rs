//! One check of a server, bounded in time and in bytes.
//!
//! The response is read with the parser, the limits and the strictness of the traffic, so that a server passes its
//! checks exactly when the head of its response would be passed on, and the part of the body that came with it.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::Failure;
use crate::{
    clock::within,
    http1::{
        Field, MOST_INTERIM, ResponseRules, check_begin_of_body, end_of_response_head,
        is_field_value, is_target, read_response,
    },
    model::{CheckKind, HealthCheck, HttpCheck},
};

const USER_AGENT: &str = concat!("weldr-health-check/", env!("CARGO_PKG_VERSION"));

/// Room for most heads; a longer one grows, up to the limit of a head.
const HEAD: usize = 1024;

/// Checks the server whose traffic goes to `address`. Ends within the check's timeout, in which only time counts when this
/// process ran.
pub(super) async fn probe(
    address: SocketAddr,
    check: &HealthCheck,
    rules: ResponseRules,
) -> Result<(), Failure> {
    let mut target = address;
    if let Some(port) = check.port {
        target.set_port(port);
    }
    let (result, running) = within(check.timeout, attempt(target, &check.kind, rules)).await;
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
) -> Result<(), Failure> {
    let stream = TcpStream::connect(target)
        .await
        .map_err(|error| Failure::from_io(&error))?;
    examine(stream, target, kind, rules).await
}

/// The check of a server that accepted.
async fn examine(
    stream: TcpStream,
    target: SocketAddr,
    kind: &CheckKind,
    rules: ResponseRules,
) -> Result<(), Failure> {
    if stream.local_addr().is_ok_and(|local| local == target) {
        return Err(Failure::self_connected());
    }
    match kind {
        CheckKind::Tcp => Ok(()),
        CheckKind::Http(http) => ask(stream, target, http, rules).await,
    }
}

/// Sends the request, reads the head of the final response and drops the connection.
async fn ask(
    mut stream: TcpStream,
    target: SocketAddr,
    check: &HttpCheck,
    rules: ResponseRules,
) -> Result<(), Failure> {
    let request = request(target, check).ok_or_else(Failure::unsendable)?;
    let sent = stream.write_all(&request).await;
    // A server that does not read the whole request may have responded all the same.
    let status = match (read_status(&mut stream, rules).await, sent) {
        (Ok(status), _) => status,
        (Err(_), Err(error)) => return Err(Failure::from_io(&error)),
        (Err(failure), Ok(())) => return Err(failure),
    };
    if check.expected_status.contains(status) {
        Ok(())
    } else {
        Err(Failure::status(status, &check.expected_status))
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
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n\
             Connection: close\r\n\r\n"
        )
        .into_bytes()
    })
}

/// The address without its zone, which a Host field cannot hold (RFC 9110 section 4.2.3 has only `uri-host`).
fn authority(target: SocketAddr) -> String {
    SocketAddr::new(target.ip(), target.port()).to_string()
}

/// The status of the final response.
async fn read_status(stream: &mut TcpStream, rules: ResponseRules) -> Result<u16, Failure> {
    let mut buffer = Vec::with_capacity(HEAD);
    let mut heads = Heads::default();
    loop {
        if let Some(status) = heads.take(&mut buffer, rules)? {
            return Ok(status);
        }
        match stream.read_buf(&mut buffer).await {
            Ok(0) => return Err(Failure::from_io(&io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(error) => return Err(Failure::from_io(&error)),
        }
    }
}

/// The heads of the responses to one request, as far as they have come.
#[derive(Default)]
struct Heads {
    /// Bytes of the next head that were searched for its end.
    searched: usize,
    interims: u32,
    fields: Vec<Field>,
}

impl Heads {
    /// Takes the heads out of `buffer`; the status of the final one, once it is there.
    fn take(&mut self, buffer: &mut Vec<u8>, rules: ResponseRules) -> Result<Option<u16>, Failure> {
        while let Some(end) = end_of_response_head(buffer, &mut self.searched, rules.limits)
            .map_err(Failure::invalid_response)?
        {
            let response = read_response(&buffer[..end], false, rules, &mut self.fields)
                .map_err(Failure::invalid_response)?;
            if !response.line.is_interim() {
                // What has come of the body shows what clients would get; the rest is not waited for.
                check_begin_of_body(&buffer[end..], response.framing, rules.strictness)
                    .map_err(Failure::invalid_response)?;
                return Ok(Some(response.line.status));
            }
            self.interims += 1;
            if self.interims > MOST_INTERIM {
                let why = format!("more than {MOST_INTERIM} interim responses");
                return Err(Failure::invalid_response(why));
            }
            buffer.drain(..end);
            self.searched = 0;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
