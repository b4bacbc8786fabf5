//! Which trailers are forwarded: RFC 9110, section 6.5. Pure.
//!
//! Trailers are never merged into the header fields, because a recipient that has checked a head relies on it.

use crate::http1::{ChunkDefect, HeadLimits, Known, Strictness, mended_trailers, parse_fields};

const LIMITS: HeadLimits = HeadLimits {
    bytes: usize::MAX,
    fields: 64,
};

/// Fields that must not be trailers, besides those that the proxy knows: they authenticate or modify the request, or
/// tell the recipient how to process content that has already passed.
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

/// The rules for the trailers of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trailers {
    /// Trailers of a request go to the server. A trailer that frames or routes a message is an attack and refused.
    OfRequest,
    /// Trailers of a response go to a client that accepts them. Forbidden fields are left out. With lenient rules, a
    /// defect that leaves only one meaning is corrected.
    OfResponse {
        wanted: bool,
        strictness: Strictness,
    },
}

impl Trailers {
    /// The lines to forward, of the received `lines` with the empty line that ends them. The lines are validated even when
    /// nothing is forwarded: malformed ones may be the begin of another response.
    pub(super) fn kept(self, lines: &[u8]) -> Result<Vec<u8>, ChunkDefect> {
        match self {
            Self::OfRequest => safe(lines, true),
            Self::OfResponse { wanted, strictness } => {
                let kept = safe(lines, false).or_else(|defect| match strictness {
                    Strictness::Lenient => safe(&mended_trailers(lines), false),
                    Strictness::Strict => Err(defect),
                })?;
                Ok(if wanted { kept } else { Vec::new() })
            }
        }
    }
}

fn safe(lines: &[u8], refuses: bool) -> Result<Vec<u8>, ChunkDefect> {
    let mut fields = Vec::new();
    parse_fields(lines, 0, LIMITS, &mut fields).map_err(|_| ChunkDefect::TrailerField)?;
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

    const RESPONSE: Trailers = Trailers::OfResponse {
        wanted: true,
        strictness: Strictness::Strict,
    };

    #[test]
    fn safe_trailers_are_forwarded() {
        let lines = b"X-Sum: 1\r\nSet-Cookie: a\r\nAuthorization: b\r\nETag: c\r\n\r\n";
        for trailers in [Trailers::OfRequest, RESPONSE] {
            let kept = trailers.kept(lines);
            assert_eq!(kept, Ok(b"X-Sum: 1\r\nETag: c\r\n".to_vec()));
        }
    }

    #[test]
    fn framing_and_routing_trailers_are_refused_in_requests_and_dropped_from_responses() {
        for line in [
            "Content-Length: 5",
            "Transfer-Encoding: chunked",
            "host: a",
            "Content_Length: 5",
        ] {
            let lines = format!("{line}\r\n\r\n");
            assert_eq!(
                Trailers::OfRequest.kept(lines.as_bytes()),
                Err(ChunkDefect::TrailerField),
                "{line}"
            );
            assert_eq!(RESPONSE.kept(lines.as_bytes()), Ok(Vec::new()), "{line}");
        }
        assert_eq!(
            RESPONSE.kept(b"a b: c\r\n\r\n"),
            Err(ChunkDefect::TrailerField)
        );
    }

    #[test]
    fn trailers_that_are_not_forwarded_are_validated_too() {
        let unwanted = Trailers::OfResponse {
            wanted: false,
            strictness: Strictness::Strict,
        };
        assert_eq!(unwanted.kept(b"A: b\r\n\r\n"), Ok(Vec::new()));
        for lines in [
            "X\r\n\r\n",
            "X : 1\r\n\r\n",
            "X: \0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert!(unwanted.kept(lines.as_bytes()).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn a_defect_with_one_meaning_is_corrected_in_lenient_responses_only() {
        let lenient = Trailers::OfResponse {
            wanted: true,
            strictness: Strictness::Lenient,
        };
        let lines = b"X : 1\x012\r\n\r\n";
        assert_eq!(lenient.kept(lines), Ok(b"X: 1 2\r\n".to_vec()));
        for trailers in [Trailers::OfRequest, RESPONSE] {
            assert_eq!(trailers.kept(lines), Err(ChunkDefect::TrailerField));
        }
        // It is known for what it is.
        assert_eq!(lenient.kept(b"Content-Length : 1\r\n\r\n"), Ok(Vec::new()));
        assert_eq!(
            lenient.kept(b"X: \0\r\n\r\n"),
            Err(ChunkDefect::TrailerField)
        );
    }
}
