//! What a request means from end to end, whatever protocol carries it.

use std::cmp::Reverse;

use crate::http1::{Field, Known, RequestHead, Version, elements};

/// What a request means from end to end, whatever protocol carries it. The default is for a request that could not be read.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one request"
)]
pub(in crate::proxy) struct RequestFacts {
    /// Whether the method is HEAD: the response has no body.
    pub(in crate::proxy) is_head: bool,
    /// Whether the method is idempotent: RFC 9110, section 9.2.2.
    pub(in crate::proxy) is_idempotent: bool,
    /// Whether a local reply is JSON rather than text.
    pub(in crate::proxy) prefers_json: bool,
    /// Whether the client understands the trailers of a response: RFC 9110, section 10.1.4.
    pub(in crate::proxy) takes_trailers: bool,
    /// Whether the client waits for a 100 before it sends a body: RFC 9110, section 10.1.1.
    pub(in crate::proxy) expects_continue: bool,
}

impl RequestFacts {
    /// The facts about a request of HTTP/1.1 or HTTP/1.0. In the latter, `TE` and `Expect` are ignored.
    pub(in crate::proxy) fn of(head: &[u8], request: &RequestHead, fields: &[Field]) -> Self {
        let mut facts = Self::of_method(request.method.of(head));
        let mut accept = None;
        for field in fields {
            let value = field.value.of(head);
            match field.known {
                Known::Accept => accept = accept.or(Some(value)),
                Known::Te if request.version == Version::Http11 => {
                    facts.takes_trailers |= names_trailers(value);
                }
                Known::Expect if request.version == Version::Http11 => {
                    facts.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
                }
                _ => {}
            }
        }
        facts.prefers_json = accept.is_some_and(prefers_json);
        facts
    }

    fn of_method(method: &[u8]) -> Self {
        Self {
            is_head: method == b"HEAD",
            is_idempotent: matches!(
                method,
                b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE"
            ),
            ..Self::default()
        }
    }
}

/// Whether a value of TE names `trailers`.
fn names_trailers(te: &[u8]) -> bool {
    elements(te).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// Whether JSON is preferred to plain text (RFC 9110, section 12.5.1). Between equals, the type that is named first wins.
fn prefers_json(accept: &[u8]) -> bool {
    let json = weight(accept, b"application", b"json");
    let text = weight(accept, b"text", b"plain");
    json.is_some_and(|json| text.is_none_or(|text| json > text))
}

/// How much a media type is preferred: by its quality in thousandths, then by how precisely it is named, then by how
/// early. `None`: it is not acceptable.
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

/// The value of `q=0.5` in thousandths; a malformed value counts as 0.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{HeadLimits, parse_request};

    fn facts(head: &str) -> RequestFacts {
        let limits = HeadLimits {
            bytes: 1024,
            fields: 20,
        };
        let mut fields = Vec::new();
        let request = parse_request(head.as_bytes(), limits, &mut fields).unwrap();
        RequestFacts::of(head.as_bytes(), &request, &fields)
    }

    #[test]
    fn the_method_says_whether_a_response_has_a_body_and_whether_the_request_can_be_repeated() {
        for (method, is_head, is_idempotent) in [
            ("GET", false, true),
            ("HEAD", true, true),
            ("PUT", false, true),
            ("POST", false, false),
            ("PATCH", false, false),
            ("get", false, false),
        ] {
            let facts = facts(&format!("{method} / HTTP/1.1\r\n\r\n"));
            let found = (facts.is_head, facts.is_idempotent);
            assert_eq!(found, (is_head, is_idempotent), "{method}");
        }
    }

    #[test]
    fn te_and_expect_mean_nothing_in_http_1_0() {
        let fields = "TE: gzip\r\nTE: a, Trailers\r\nExpect: 100-Continue\r\n\r\n";
        for (version, heeded) in [("1.1", true), ("1.0", false)] {
            let facts = facts(&format!("POST / HTTP/{version}\r\n{fields}"));
            let found = (facts.takes_trailers, facts.expects_continue);
            assert_eq!(found, (heeded, heeded), "{version}");
        }
        let facts = facts("POST / HTTP/1.1\r\nTE: gzip\r\nExpect: x\r\n\r\n");
        assert!(!facts.takes_trailers && !facts.expects_continue);
    }

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
}
