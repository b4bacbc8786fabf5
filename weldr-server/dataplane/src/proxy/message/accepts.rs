//! What the client of a request accepts in return.

use std::cmp::Reverse;

use crate::http1::{Field, Known, RequestHead, Version, elements};

/// What the client of a request accepts in return. The default is for a request that could not be read.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct ClientAccepts {
    /// The version whose framing, persistence and interim responses the client understands.
    pub(in crate::proxy) version: Version,
    /// Whether the method is HEAD: the response has no body.
    pub(in crate::proxy) is_head: bool,
    /// Whether a local reply is JSON rather than text.
    pub(in crate::proxy) prefers_json: bool,
}

impl Default for ClientAccepts {
    fn default() -> Self {
        Self {
            version: Version::Http11,
            is_head: false,
            prefers_json: false,
        }
    }
}

impl ClientAccepts {
    pub(in crate::proxy) fn of(head: &[u8], request: &RequestHead, fields: &[Field]) -> Self {
        let accept = fields.iter().find(|field| field.known == Known::Accept);
        Self {
            version: request.version,
            is_head: request.method.of(head) == b"HEAD",
            prefers_json: accept.is_some_and(|field| prefers_json(field.value.of(head))),
        }
    }
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
