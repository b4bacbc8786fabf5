//! What a client is told when no server answered it.

use std::{cmp::Reverse, error::Error as _, io::Write as _};

use http::StatusCode;

use crate::snapshot::Unavailable;

use super::{
    error::ProxyError,
    headers::LocalAnswer,
    http1::{Field, Known, RequestHead, Version, elements},
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

/// Whether JSON is wanted more than plain text: RFC 9110, section 12.5.1. Between equals, what is named comes first.
fn prefers_json(accept: &[u8]) -> bool {
    let json = weight(accept, b"application", b"json");
    let text = weight(accept, b"text", b"plain");
    json.is_some_and(|json| text.is_none_or(|text| json > text))
}

/// How much a type is wanted: its quality in thousandths, then how precisely it is named, then how early. `None`: not at
/// all.
fn weight(accept: &[u8], kind: &[u8], subtype: &[u8]) -> Option<(u16, u8, Reverse<usize>)> {
    let matching = elements(accept).enumerate().filter_map(|(at, element)| {
        let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let (range_kind, range_subtype) = split_once(parts.next()?, b'/')?;
        let precision = if range_kind == b"*" {
            0
        } else if !range_kind.eq_ignore_ascii_case(kind) {
            return None;
        } else if range_subtype == b"*" {
            1
        } else if range_subtype.eq_ignore_ascii_case(subtype) {
            2
        } else {
            return None;
        };
        let quality = parts.find_map(quality).unwrap_or(1000);
        Some((precision, quality, at))
    });
    // The most precise range decides.
    let (precision, quality, at) =
        matching.max_by_key(|&(precision, _, at)| (precision, Reverse(at)))?;
    (quality > 0).then_some((quality, precision, Reverse(at)))
}

fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == separator)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// `q=0.5` in thousandths; what is malformed counts as nothing.
fn quality(parameter: &[u8]) -> Option<u16> {
    let (name, value) = split_once(parameter, b'=')?;
    if !name.trim_ascii().eq_ignore_ascii_case(b"q") {
        return None;
    }
    let text = std::str::from_utf8(value.trim_ascii()).unwrap_or_default();
    let quality: f32 = text.parse().unwrap_or(0.0);
    // In range, so nothing is cut off.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 1000"
    )]
    Some((quality.clamp(0.0, 1.0) * 1000.0) as u16)
}

/// What an answer of our own says of the node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Here<'a> {
    /// Now, as a Date field has it.
    pub(super) date: &'a [u8],
    /// The commands that add a server to it.
    pub(super) how_to_add: &'a str,
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
    here: Here<'_>,
) {
    let verdict = error.verdict();
    let (sentence, hint) = (sentence(error), hint(error, here.how_to_add));
    let reason = reason(verdict.status);
    let body = if asker.prefers_json {
        let body = serde_json::json!({
            "status": verdict.status,
            "error": verdict.proxy_error,
            "message": format!("{sentence}{hint}"),
        });
        format!("{body}\n")
    } else {
        format!("{} {reason}: {sentence}{hint}\n", verdict.status)
    };
    let kind = if asker.prefers_json {
        "application/json"
    } else {
        "text/plain; charset=utf-8"
    };
    let details = detail(&sentence);
    let proxy_error = verdict.proxy_error;
    write_head(out, verdict.status, asker, close, here.date);
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

/// What can be written as a string of RFC 8941.
fn detail(sentence: &str) -> String {
    sentence
        .chars()
        .filter(|c| c.is_ascii() && !c.is_ascii_control() && !matches!(c, '"' | '\\'))
        .collect()
}

/// What can be done about it.
fn hint(error: &ProxyError, how_to_add: &str) -> String {
    match error {
        ProxyError::NoServer(Unavailable::Empty) => {
            format!(". Add one:\n\n{}", how_to_add.trim_end())
        }
        ProxyError::NoServer(Unavailable::NoneReady | Unavailable::NoneHealthy) => {
            ". See: weldrctl list".to_owned()
        }
        _ => String::new(),
    }
}

fn sentence(error: &ProxyError) -> String {
    match error {
        ProxyError::Refused(refusal) => match refusal.source() {
            Some(defect) => format!("{refusal}: {defect}"),
            None => refusal.to_string(),
        },
        ProxyError::NoServer(unavailable) => unavailable.to_string(),
        ProxyError::ServerFull { .. } => {
            "the servers have as many connections as they may have".to_owned()
        }
        ProxyError::Connect { .. } => "no connection to a server".to_owned(),
        ProxyError::ConnectTimeout { .. } => "connecting to a server took too long".to_owned(),
        ProxyError::ResponseTimeout { .. } => "the server did not answer in time".to_owned(),
        ProxyError::UploadTimeout { .. } => "the server stopped taking the request".to_owned(),
        ProxyError::Closed { .. } => {
            "the server closed the connection before it answered".to_owned()
        }
        ProxyError::InvalidAnswer { source, .. } => {
            format!("the answer of the server is not valid HTTP: {source}")
        }
        ProxyError::Truncated { .. } => {
            "the server closed the connection in the middle of its answer".to_owned()
        }
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

    const HERE: Here<'_> = Here {
        date: b"now",
        how_to_add: "  like this\n",
    };

    #[test]
    fn json_is_preferred_when_it_is_named_first() {
        for (accept, json) in [
            ("application/json", true),
            ("application/json, text/plain", true),
            ("application/json, */*", true),
            ("text/plain;q=0.5, application/json;q=0.9", true),
            ("text/*, application/json;q=0.9", false),
            ("application/json;q=0", false),
            ("application/*", true),
            ("application/json;q=0.2, */*;q=0.1", true),
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
        write_failure(&mut out, &error, Asker::default(), true, HERE);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(
                "HTTP/1.1 503 Service Unavailable\r\nDate: now\r\nConnection: close\r\n"
            ),
            "{head}"
        );
        assert!(
            head.contains("Proxy-Status: weldr; error=destination_unavailable; details=\"the pool has no server\""),
            "{head}"
        );
        assert!(
            head.ends_with(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
        assert!(body.ends_with("Add one:\n\n  like this\n"), "{body}");
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let mut out = Vec::new();
        let asker = Asker {
            to_head: true,
            prefers_json: true,
            version: Version::Http10,
        };
        write_failure(&mut out, &ProxyError::HeadTimeout, asker, false, HERE);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("application/json") && text.contains("Connection: keep-alive"),
            "{text}"
        );
        assert!(text.ends_with("\r\n\r\n"), "{text}");
    }
}
