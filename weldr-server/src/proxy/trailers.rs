//! Which trailers go on: RFC 9110, section 6.5. Pure.
//!
//! They are never made header fields: whoever checks a head must be able to rely on it.

use super::http1::{ChunkDefect, HeadLimits, Known, SpaceBeforeColon, parse_fields};

const LIMITS: HeadLimits = HeadLimits {
    bytes: usize::MAX,
    fields: 64,
};

/// Fields that must not be trailers, besides those that the proxy knows: they say who asks, what is asked for, or how
/// to treat what has passed already.
const FORBIDDEN: [&[u8]; 14] = [
    b"age",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"expires",
    b"location",
    b"pragma",
    b"proxy-authenticate",
    b"range",
    b"retry-after",
    b"set-cookie",
    b"vary",
    b"www-authenticate",
];

/// The lines of a request's trailers that go on to the server. One that frames or routes a message is an attack.
pub(super) fn of_request(lines: &[u8]) -> Result<Vec<u8>, ChunkDefect> {
    safe(lines, true)
}

/// The lines of an answer's trailers that go on to the client. What must not be there is left out.
pub(super) fn of_answer(lines: &[u8]) -> Result<Vec<u8>, ChunkDefect> {
    safe(lines, false)
}

fn safe(lines: &[u8], refuses: bool) -> Result<Vec<u8>, ChunkDefect> {
    let mut fields = Vec::new();
    parse_fields(lines, 0, SpaceBeforeColon::Refused, LIMITS, &mut fields)
        .map_err(|_| ChunkDefect::TrailerField)?;
    let mut kept = Vec::new();
    for field in &fields {
        match field.known {
            Known::ContentLength | Known::FramingTwin | Known::Host | Known::TransferEncoding
                if refuses =>
            {
                return Err(ChunkDefect::TrailerField);
            }
            Known::Other | Known::Date => {
                let name = field.name.of(lines).to_ascii_lowercase();
                if !FORBIDDEN.contains(&&name[..]) {
                    kept.extend_from_slice(field.line.of(lines));
                }
            }
            _ => {}
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_safe_goes_on() {
        let lines = b"X-Sum: 1\r\nSet-Cookie: a\r\nAuthorization: b\r\nETag: c\r\n\r\n";
        for kept in [of_request(lines), of_answer(lines)] {
            assert_eq!(kept, Ok(b"X-Sum: 1\r\nETag: c\r\n".to_vec()));
        }
    }

    #[test]
    fn what_frames_or_routes_is_refused_in_requests_and_dropped_from_answers() {
        for line in [
            "Content-Length: 5",
            "Transfer-Encoding: chunked",
            "host: a",
            "Content_Length: 5",
        ] {
            let lines = format!("{line}\r\n\r\n");
            assert_eq!(
                of_request(lines.as_bytes()),
                Err(ChunkDefect::TrailerField),
                "{line}"
            );
            assert_eq!(of_answer(lines.as_bytes()), Ok(Vec::new()), "{line}");
        }
        assert_eq!(of_answer(b"a b: c\r\n\r\n"), Err(ChunkDefect::TrailerField));
    }
}
