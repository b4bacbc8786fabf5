//! Writes a local reply as an HTTP/1.1 response.

use std::io::Write as _;

use crate::http1::Version;

use crate::proxy::{
    http1::response_context::ResponseContext,
    local_reply::{LocalReply, reason_phrase},
};

/// Appends the head of `reply` to `out`. `close`: whether the connection closes after it; `date`: the current time in the form of a Date field.
pub(super) fn write_reply(
    out: &mut Vec<u8>,
    reply: &LocalReply,
    to: ResponseContext,
    close: bool,
    date: &[u8],
) {
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 {} {}\r\nDate: ",
        reply.status,
        reason_phrase(reply.status)
    );
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\n");
    if close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if to.version == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    for (name, value) in &reply.fields {
        let _ = write!(out, "{name}: {value}\r\n");
    }
    // RFC 9110, section 8.6: a 204 has none.
    if reply.may_have_body() {
        let _ = write!(out, "Content-Length: {}\r\n", reply.body.len());
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{proxy::message::RequestFacts, stats::LocalReplyReason};

    fn written(to: ResponseContext, close: bool) -> String {
        let reply = LocalReply {
            status: 503,
            reason: LocalReplyReason::FixedResponse,
            fields: vec![("Cache-Control", "no-store".into())],
            body: b"sorry".to_vec(),
        };
        let mut out = Vec::new();
        write_reply(&mut out, &reply, to, close, b"now");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_reply_is_framed_by_its_length() {
        assert_eq!(
            written(ResponseContext::default(), true),
            "HTTP/1.1 503 Service Unavailable\r\nDate: now\r\nConnection: close\r\nCache-Control: no-store\r\n\
             Content-Length: 5\r\n\r\n"
        );
    }

    #[test]
    fn a_reply_to_head_has_no_body_and_http_1_0_is_told_that_the_connection_stays() {
        let request = RequestFacts {
            is_head: true,
            ..RequestFacts::default()
        };
        let version = Version::Http10;
        let text = written(ResponseContext { request, version }, false);
        assert!(text.contains("\r\nConnection: keep-alive\r\n"), "{text}");
        assert!(text.ends_with("Content-Length: 5\r\n\r\n"), "{text}");
    }
}
