//! Rewrites the head of a server's response for the client.

use super::{
    lines::{ConnectionOptions, copy_lines, write_field},
    via::write_via,
};
use crate::{
    http1::{Field, Known, ResponseFraming, ResponseHead, Version},
    policy::Pseudonym,
    proxy::text::write_decimal,
};

/// The name in the `Via` field of responses. Only servers learn the pseudonym of the node.
const NAME: &[u8] = Pseudonym::PRODUCT.as_bytes();

/// How the body of a response is framed for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum ClientFraming {
    /// The response has no body and no framing fields.
    None,
    /// The server's Content-Length is forwarded, if there is one.
    AsGiven,
    /// The chunked transfer coding.
    Chunked,
    /// The end of the connection: an HTTP/1.0 client does not know the chunked coding.
    UntilClose,
}

impl ClientFraming {
    /// The framing of a response with this status, to a request that was HEAD or not, to a client of this version.
    pub(in crate::proxy) fn of(
        framing: ResponseFraming,
        status: u16,
        to_head: bool,
        client: Version,
    ) -> Self {
        match framing {
            // RFC 9110, section 8.6: neither has a Content-Length, whatever the method was.
            ResponseFraming::None { .. } if status < 200 || status == 204 => Self::None,
            ResponseFraming::None { .. } if to_head || status == 304 => Self::AsGiven,
            ResponseFraming::None { .. } => Self::None,
            ResponseFraming::Length(_) => Self::AsGiven,
            ResponseFraming::Chunked | ResponseFraming::UntilClose => match client {
                Version::Http11 => Self::Chunked,
                Version::Http10 => Self::UntilClose,
            },
        }
    }
}

/// The parameters for rewriting the head of a response.
#[derive(Debug)]
pub(in crate::proxy) struct ResponseRewrite<'a> {
    /// The options of the server's Connection fields.
    pub(in crate::proxy) options: &'a ConnectionOptions<'a>,
    pub(in crate::proxy) framing: ClientFraming,
    /// The HTTP version of the client.
    pub(in crate::proxy) client: Version,
    /// Whether the client connection closes after this response.
    pub(in crate::proxy) close: bool,
    /// Whether the connection becomes a tunnel.
    pub(in crate::proxy) switches: bool,
    /// The current date, for a response without a Date field: RFC 9110, section 6.6.1.
    pub(in crate::proxy) date: Option<&'a [u8]>,
}

/// Appends the final head of a response to `out`.
pub(in crate::proxy) fn write_response(
    out: &mut Vec<u8>,
    head: &[u8],
    response: &ResponseHead,
    fields: &[Field],
    how: &ResponseRewrite<'_>,
) {
    write_status_line(out, head, response);
    let passes_length = how.framing == ClientFraming::AsGiven;
    let passes_trailers = how.framing == ClientFraming::Chunked;
    let passes_upgrade = how.switches || response.status == 426;
    write_end_to_end(out, head, fields, how.options, |field| match field.known {
        Known::ContentLength => passes_length,
        Known::Trailer => passes_trailers,
        _ => true,
    });
    write_via(out, head, fields, response.version, NAME);
    if let Some(date) = how.date {
        write_field(out, b"Date", date);
    }
    if how.framing == ClientFraming::Chunked {
        write_field(out, b"Transfer-Encoding", b"chunked");
    }
    for field in fields {
        if passes_upgrade && field.known == Known::Upgrade {
            out.extend_from_slice(field.line.of(head));
        }
    }
    if let Some(option) = connection_option(passes_upgrade, how) {
        write_field(out, b"Connection", option);
    }
    out.extend_from_slice(b"\r\n");
}

fn connection_option(upgrade: bool, how: &ResponseRewrite<'_>) -> Option<&'static [u8]> {
    match (upgrade, how.close) {
        (true, true) => Some(b"Upgrade, close"),
        (true, false) => Some(b"Upgrade"),
        (false, true) => Some(b"close"),
        (false, false) if how.client == Version::Http10 => Some(b"keep-alive"),
        (false, false) => None,
    }
}

/// Appends the head of a 1xx response to `out`. It has no body, so framing fields are left out.
pub(in crate::proxy) fn write_interim(
    out: &mut Vec<u8>,
    head: &[u8],
    response: &ResponseHead,
    fields: &[Field],
) {
    write_status_line(out, head, response);
    let options = ConnectionOptions::of(head, fields);
    write_end_to_end(out, head, fields, &options, |field| {
        field.known != Known::ContentLength
    });
    write_via(out, head, fields, response.version, NAME);
    out.extend_from_slice(b"\r\n");
}

fn write_status_line(out: &mut Vec<u8>, head: &[u8], response: &ResponseHead) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(out, u64::from(response.status));
    out.push(b' ');
    out.extend_from_slice(response.reason.of(head));
    out.extend_from_slice(b"\r\n");
}

fn write_end_to_end(
    out: &mut Vec<u8>,
    head: &[u8],
    fields: &[Field],
    options: &ConnectionOptions<'_>,
    kept: impl Fn(&Field) -> bool,
) {
    copy_lines(out, head, fields, |field| {
        field.known != Known::Via && !options.ends_here(head, field) && kept(field)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{HeadLimits, ResponseRules, Strictness, read_response};

    fn line_of(raw: &str, fields: &mut Vec<Field>) -> ResponseHead {
        let rules = ResponseRules {
            limits: HeadLimits {
                bytes: 1024,
                fields: 20,
            },
            strictness: Strictness::Strict,
        };
        let response = read_response(raw.as_bytes(), false, rules, fields);
        response.unwrap().line
    }

    fn written(raw: &str, framing: ClientFraming, client: Version, close: bool) -> String {
        let mut fields = Vec::new();
        let response = line_of(raw, &mut fields);
        let how = ResponseRewrite {
            options: &ConnectionOptions::of(raw.as_bytes(), &fields),
            framing,
            client,
            close,
            switches: response.status == 101,
            date: (!raw.contains("Date: ")).then_some(b"now"),
        };
        let mut out = Vec::new();
        write_response(&mut out, raw.as_bytes(), &response, &fields, &how);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn end_to_end_fields_are_forwarded_unchanged() {
        let raw = "HTTP/1.0 200 Fine\r\nSet-Cookie: a=1\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nsEt-cookie:b=2\r\n\
                      Content-Length: 3\r\nKeep-Alive: timeout=5\r\nVia: 1.0 a\r\nDate: then\r\n\r\n";
        assert_eq!(
            written(raw, ClientFraming::AsGiven, Version::Http11, false),
            "HTTP/1.1 200 Fine\r\nSet-Cookie: a=1\r\nsEt-cookie:b=2\r\nContent-Length: 3\r\nDate: then\r\n\
             Via: 1.0 a, 1.0 weldr\r\n\r\n"
        );
    }

    #[test]
    fn the_framing_is_written_anew() {
        let raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\nDate: d\r\n\r\n";
        let chunked = written(raw, ClientFraming::Chunked, Version::Http11, true);
        assert!(chunked.contains("Trailer: x\r\n"), "{chunked}");
        assert!(
            chunked.ends_with("Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"),
            "{chunked}"
        );
        let closed = written(raw, ClientFraming::UntilClose, Version::Http10, true);
        assert!(
            !closed.contains("chunked") && !closed.contains("Trailer"),
            "{closed}"
        );
    }

    #[test]
    fn a_content_length_is_forwarded_only_where_it_is_true() {
        let raw = "HTTP/1.1 204 \r\nContent-Length: 3\r\n\r\n";
        assert_eq!(
            written(raw, ClientFraming::None, Version::Http11, false),
            "HTTP/1.1 204 \r\nVia: 1.1 weldr\r\nDate: now\r\n\r\n"
        );
        let kept = written(raw, ClientFraming::AsGiven, Version::Http10, false);
        assert!(
            kept.contains("Content-Length: 3\r\n") && kept.contains("Connection: keep-alive\r\n")
        );
    }

    #[test]
    fn a_204_says_no_length_even_to_head() {
        let none = ResponseFraming::None { odd: true };
        let of = |status, to_head| ClientFraming::of(none, status, to_head, Version::Http11);
        assert_eq!(of(204, true), ClientFraming::None);
        assert_eq!(of(200, true), ClientFraming::AsGiven);
        assert_eq!(of(304, false), ClientFraming::AsGiven);
    }

    #[test]
    fn an_upgrade_is_forwarded_with_101_and_426_only() {
        for (status, passed) in [(101, true), (426, true), (200, false)] {
            let raw =
                format!("HTTP/1.1 {status} a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
            let text = written(&raw, ClientFraming::AsGiven, Version::Http11, false);
            assert_eq!(
                text.contains("Upgrade: websocket\r\nConnection: Upgrade\r\n"),
                passed,
                "{text}"
            );
        }
    }

    #[test]
    fn an_interim_response_has_no_length() {
        let raw = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut fields = Vec::new();
        let response = line_of(raw, &mut fields);
        let mut out = Vec::new();
        write_interim(&mut out, raw.as_bytes(), &response, &fields);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nVia: 1.1 weldr\r\n\r\n"
        );
    }
}
