//! What a client is told when no server answered it.

use std::{error::Error as _, io::Write as _};

use http::StatusCode;

use crate::snapshot::Unavailable;

use super::{
    error::ProxyError,
    headers::LocalAnswer,
    http1::{Field, Known, RequestHead, Version},
};

/// How a client wants to be answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) version: Version,
    /// Its method is HEAD: it gets no body.
    pub(super) to_head: bool,
    pub(super) prefers_json: bool,
}

/// Of whom nothing is known: the request could not be read.
impl Default for Asker {
    fn default() -> Self {
        Self {
            version: Version::Http11,
            to_head: false,
            prefers_json: false,
        }
    }
}

impl Asker {
    pub(super) fn of(head: &[u8], request: &RequestHead, fields: &[Field]) -> Self {
        let accept = fields.iter().find(|field| field.known == Known::Accept);
        Self {
            version: request.version,
            to_head: request.method.of(head) == b"HEAD",
            prefers_json: accept.is_some_and(|field| prefers_json(field.value.of(head))),
        }
    }
}

/// Whether JSON is named, and not after plain text or everything.
fn prefers_json(accept: &[u8]) -> bool {
    let at = |wanted: &[u8]| {
        accept
            .windows(wanted.len())
            .position(|part| part.eq_ignore_ascii_case(wanted))
    };
    let Some(json) = at(b"application/json") else {
        return false;
    };
    [&b"text/plain"[..], b"text/html", b"text/*", b"*/*"]
        .into_iter()
        .all(|other| at(other).is_none_or(|other| json < other))
}

/// Appends to `out` the answer to a request that failed with `error`: its status, `Proxy-Status` (RFC 9209), and a
/// sentence.
///
/// What the client reads says what happened and not where: addresses of servers stay in the log.
pub(super) fn write_failure(
    out: &mut Vec<u8>,
    error: &ProxyError,
    asker: Asker,
    close: bool,
    date: &[u8],
) {
    let verdict = error.verdict();
    let sentence = sentence(error);
    let reason = reason(verdict.status);
    let body = if asker.prefers_json {
        let body = serde_json::json!({
            "status": verdict.status,
            "error": verdict.proxy_error,
            "message": sentence,
        });
        format!("{body}\n")
    } else {
        format!("{} {reason}: {sentence}\n", verdict.status)
    };
    let kind = if asker.prefers_json {
        "application/json"
    } else {
        "text/plain; charset=utf-8"
    };
    let details = detail(&sentence);
    let proxy_error = verdict.proxy_error;
    write_head(out, verdict.status, asker, close, date);
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        "Proxy-Status: weldr; error={proxy_error}; details=\"{details}\"\r\nContent-Type: {kind}\r\n\
         Cache-Control: no-store\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    if !asker.to_head {
        out.extend_from_slice(body.as_bytes());
    }
}

/// Appends to `out` an answer of our own.
pub(super) fn write_local(
    out: &mut Vec<u8>,
    answer: &LocalAnswer,
    asker: Asker,
    close: bool,
    date: &[u8],
) {
    write_head(out, 200, asker, close, date);
    let (fields, body) = match answer {
        LocalAnswer::Options => (
            "Allow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, TRACE\r\n",
            &[][..],
        ),
        LocalAnswer::Trace(seen) => ("Content-Type: message/http\r\n", &seen[..]),
    };
    let _ = write!(out, "{fields}Content-Length: {}\r\n\r\n", body.len());
    out.extend_from_slice(body);
}

fn write_head(out: &mut Vec<u8>, status: u16, asker: Asker, close: bool, date: &[u8]) {
    let reason = reason(status);
    let _ = write!(out, "HTTP/1.1 {status} {reason}\r\nDate: ");
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\n");
    if close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if asker.version == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default()
}

/// The first line, as a string of RFC 8941.
fn detail(sentence: &str) -> String {
    let line = sentence.lines().next().unwrap_or_default();
    line.chars()
        .filter(|c| c.is_ascii() && !c.is_ascii_control() && !matches!(c, '"' | '\\'))
        .collect()
}

fn sentence(error: &ProxyError) -> String {
    match error {
        ProxyError::Refused(refusal) => match refusal.source() {
            Some(defect) => format!("{refusal}: {defect}"),
            None => refusal.to_string(),
        },
        ProxyError::NoServer(Unavailable::Empty) => "the pool has no server. Add one:\n\n  \
             weldrctl add IP:PORT\n  curl localhost:8687/servers -d '{\"ip\":\"IP\", \"port\":\"PORT\"}'"
            .to_owned(),
        ProxyError::NoServer(unavailable) => format!("{unavailable}. See: weldrctl list"),
        ProxyError::ServerFull { .. } => "the servers have as many connections as they may have".to_owned(),
        ProxyError::Connect { .. } => "no connection to a server".to_owned(),
        ProxyError::ConnectTimeout { .. } => "connecting to a server took too long".to_owned(),
        ProxyError::ResponseTimeout { .. } => "the server did not answer in time".to_owned(),
        ProxyError::UploadTimeout { .. } => "the server stopped taking the request".to_owned(),
        ProxyError::Closed { .. } => "the server closed the connection before it answered".to_owned(),
        ProxyError::InvalidAnswer { source, .. } => {
            format!("the answer of the server is not valid HTTP: {source}")
        }
        ProxyError::Truncated { .. } => "the server closed the connection in the middle of its answer".to_owned(),
        ProxyError::StreamTimeout { .. } => "the server stopped sending its answer".to_owned(),
        ProxyError::Removed { .. } => "the server was removed while the request ran".to_owned(),
        ProxyError::HeadTimeout
        | ProxyError::BodyTimeout
        | ProxyError::BodyBroken
        | ProxyError::ClientGone
        | ProxyError::ClientStalled => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_preferred_when_it_is_named_first() {
        for (accept, json) in [
            ("application/json", true),
            ("application/json, text/plain", true),
            ("application/json, */*", true),
            ("text/plain, application/json", false),
            ("*/*", false),
            ("", false),
        ] {
            assert_eq!(prefers_json(accept.as_bytes()), json, "{accept}");
        }
    }

    #[test]
    fn a_failure_has_its_status_its_type_and_a_sentence() {
        let mut out = Vec::new();
        let error = ProxyError::NoServer(Unavailable::Empty);
        write_failure(&mut out, &error, Asker::default(), true, b"now");
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(
                "HTTP/1.1 503 Service Unavailable\r\nDate: now\r\nConnection: close\r\n"
            ),
            "{head}"
        );
        assert!(
            head.contains("Proxy-Status: weldr; error=destination_unavailable; details=\"the pool has no server. Add one:\""),
            "{head}"
        );
        assert!(
            head.ends_with(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
        assert!(body.contains("weldrctl add"), "{body}");
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let mut out = Vec::new();
        let asker = Asker {
            to_head: true,
            prefers_json: true,
            version: Version::Http10,
        };
        write_failure(&mut out, &ProxyError::HeadTimeout, asker, false, b"now");
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("application/json") && text.contains("Connection: keep-alive"),
            "{text}"
        );
        assert!(text.ends_with("\r\n\r\n"), "{text}");
    }
}
