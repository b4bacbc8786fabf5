//! The Location of a redirect, made of parts of the request. Pure.
//!
//! What a client sent cannot break the message, because each byte that a URI may not have is encoded. And it does not lead
//! to another host by accident: what follows the authority of the location begins with one `/`.

/// The text of a Location with its placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location(Box<[Piece]>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<[u8]>),
    Scheme,
    Host,
    Port,
    Path,
    Query,
    Rest,
}

/// The parts of a request that placeholders stand for.
#[derive(Debug, Clone, Copy)]
pub struct LocationParts<'a> {
    /// The scheme by which the client came.
    pub scheme: &'a [u8],
    /// The host, without its port.
    pub host: &'a [u8],
    /// The port.
    pub port: &'a [u8],
    /// The path.
    pub path: &'a [u8],
    /// The query, without its `?`.
    pub query: &'a [u8],
    /// What follows the prefix that matched.
    pub rest: &'a [u8],
}

impl Location {
    /// The location that `text` writes. It is valid: see [`Redirect`](crate::model::Redirect).
    pub fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, end) = after.split_once('}').unwrap_or((after, ""));
            if !before.is_empty() {
                pieces.push(Piece::Text(before.as_bytes().into()));
            }
            pieces.push(match name {
                "scheme" => Piece::Scheme,
                "host" => Piece::Host,
                "port" => Piece::Port,
                "path" => Piece::Path,
                "query" => Piece::Query,
                "rest" => Piece::Rest,
                other => Piece::Text(other.as_bytes().into()),
            });
            rest = end;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.as_bytes().into()));
        }
        Self(pieces.into_boxed_slice())
    }

    /// The location for a request.
    pub fn of(&self, parts: &LocationParts<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => write_encoded(&mut out, text, b""),
                Piece::Scheme => out.extend_from_slice(parts.scheme),
                Piece::Host => write_encoded(&mut out, parts.host, b"/?#@\\"),
                Piece::Port => write_encoded(&mut out, parts.port, b"/?#@\\"),
                Piece::Path => write_path(&mut out, parts.path),
                Piece::Rest => write_path(&mut out, parts.rest),
                // An empty query needs no `?`.
                Piece::Query if parts.query.is_empty() => {
                    if out.last() == Some(&b'?') {
                        out.pop();
                    }
                }
                Piece::Query => write_encoded(&mut out, parts.query, b"#"),
            }
        }
        out
    }
}

/// Writes a part of a path. Where the location has no path yet, it begins with one `/`.
fn write_path(out: &mut Vec<u8>, path: &[u8]) {
    if !has_path(out) {
        out.push(b'/');
    }
    let begin = if out.last() == Some(&b'/') {
        path.iter()
            .position(|byte| !b"/\\".contains(byte))
            .unwrap_or(path.len())
    } else {
        0
    };
    write_encoded(out, &path[begin..], b"?#");
}

/// Whether a location has begun its path: `/a`, `https://host/`.
fn has_path(location: &[u8]) -> bool {
    let behind_scheme = memchr::memmem::find(location, b"://").map(|at| at + 3);
    let rest = match behind_scheme {
        Some(at) => &location[at..],
        None => location.strip_prefix(b"//").unwrap_or(location),
    };
    rest.iter().any(|byte| b"/?#".contains(byte))
}

/// Writes `text`, with what a URI may not have and the bytes `encoded` in encoded form.
fn write_encoded(out: &mut Vec<u8>, text: &[u8], encoded: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        let is_allowed = byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if is_allowed && !encoded.contains(&byte) {
            out.push(byte);
        } else {
            out.push(b'%');
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn located(location: &str, path: &str, rest: &str) -> String {
        let parts = LocationParts {
            scheme: b"http",
            host: b"a.example",
            port: b"8080",
            path: path.as_bytes(),
            query: b"x=1",
            rest: rest.as_bytes(),
        };
        String::from_utf8(Location::new(location).of(&parts)).unwrap()
    }

    #[test]
    fn placeholders_stand_for_parts_of_the_request() {
        for (location, expected) in [
            ("https://{host}{path}", "https://a.example/old/b"),
            (
                "https://{host}:{port}{path}?{query}",
                "https://a.example:8080/old/b?x=1",
            ),
            ("{scheme}://b/new/{rest}", "http://b/new/b"),
            ("/new/{rest}?from={path}", "/new/b?from=/old/b"),
            ("{path}", "/old/b"),
            ("https://b/", "https://b/"),
        ] {
            assert_eq!(located(location, "/old/b", "b"), expected, "{location}");
        }
    }

    #[test]
    fn no_request_leads_to_another_host() {
        for (location, path, rest, expected) in [
            ("{path}", "//evil.example", "", "/evil.example"),
            ("{path}", "/\\evil.example", "", "/evil.example"),
            ("https://b{path}", "//c", "", "https://b/c"),
            ("https://b{rest}", "/x.evil", ".evil", "https://b/.evil"),
            ("https://b{rest}", "/x@evil", "@evil", "https://b/@evil"),
            ("/{rest}", "/old//evil", "/evil", "/evil"),
            ("/{rest}", "/old///evil", "//evil", "/evil"),
            ("//b{rest}", "/x", ".evil", "//b/.evil"),
        ] {
            assert_eq!(located(location, path, rest), expected, "{location} {path}");
        }
    }

    #[test]
    fn an_empty_query_needs_no_question_mark() {
        let parts = LocationParts {
            scheme: b"http",
            host: b"a",
            port: b"80",
            path: b"/",
            query: b"",
            rest: b"",
        };
        let located = Location::new("https://{host}{path}?{query}").of(&parts);
        assert_eq!(located, b"https://a/");
    }

    proptest! {
        #[test]
        fn nothing_breaks_a_message(path: Vec<u8>, query: Vec<u8>, host: Vec<u8>) {
            let parts = LocationParts {
                scheme: b"http", host: &host, port: b"80", path: &path, query: &query, rest: &path,
            };
            let located = Location::new("https://{host}{path}{rest}?{query}").of(&parts);
            prop_assert!(located.iter().all(u8::is_ascii_graphic));
        }
    }
}
