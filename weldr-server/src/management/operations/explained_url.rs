//! The URL of a request that is explained. It is read as the proxy reads a request, so that what the proxy refuses is refused
//! for the same reason.

use std::fmt::Display;

use crate::model::Invalid;

const ACCEPTED: &str = "a URL such as http://host/path?query";

/// The most bytes of a URL.
const MOST_BYTES: usize = 64 * 1024;

/// The parts of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExplainedUrl<'u> {
    /// The host, and the port if there is one.
    pub(super) authority: &'u str,
    /// The port to which a client would connect.
    pub(super) port: u16,
    pub(super) path: &'u str,
    /// What follows the `?`.
    pub(super) query: &'u str,
}

impl<'u> ExplainedUrl<'u> {
    /// The parts of `text`.
    pub(super) fn read(text: &'u str) -> Result<Self, Invalid> {
        let refused = |accepted: &dyn Display| Invalid::new("url", text, accepted.to_string());
        if text.len() > MOST_BYTES {
            let accepted = format!("a URL of at most {MOST_BYTES} bytes");
            return Err(refused(&accepted));
        }
        if text.contains('#') {
            let accepted =
                "a URL without `#`: no client sends what follows it. In a path, it is %23";
            return Err(refused(&accepted));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let accepted = "visible ASCII characters: encode others as %XX, as a client does";
            return Err(refused(&accepted));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| refused(&ACCEPTED))?;
        let default_port = match scheme.to_ascii_lowercase().as_str() {
            "http" => 80,
            "https" => 443,
            _ => return Err(refused(&ACCEPTED)),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let port = port_of(authority, default_port).ok_or_else(|| refused(&ACCEPTED))?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Self {
            authority,
            port,
            path: if path.is_empty() { "/" } else { path },
            query,
        })
    }
}

/// The port of an authority that a request may have: without user information, and with a host that is not empty.
fn port_of(authority: &str, default: u16) -> Option<u16> {
    let is_of_host = |c: char| c.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=".contains(c);
    let (is_host, rest) = if let Some(inside) = authority.strip_prefix('[') {
        let (ip, rest) = inside.split_once(']')?;
        (ip.parse::<std::net::Ipv6Addr>().is_ok(), rest)
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        let (host, rest) = authority.split_at(end);
        (!host.is_empty() && host.chars().all(is_of_host), rest)
    };
    let port = match rest {
        "" | ":" => Some(default),
        rest => rest.strip_prefix(':')?.parse().ok(),
    };
    port.filter(|_| is_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_parts() {
        for (text, authority, port, path, query) in [
            ("http://a", "a", 80, "/", ""),
            ("HTTPS://a", "a", 443, "/", ""),
            ("http://a:81/b?c=d?e", "a:81", 81, "/b", "c=d?e"),
            ("http://a?b", "a", 80, "/", "b"),
            ("http://[::1]:82//x\\y", "[::1]:82", 82, "//x\\y", ""),
            ("http://%61pi/%zz", "%61pi", 80, "/%zz", ""),
        ] {
            let url = ExplainedUrl::read(text).unwrap();
            let found = (url.authority, url.port, url.path, url.query);
            assert_eq!(found, (authority, port, path, query), "{text}");
        }
    }

    #[test]
    fn what_no_client_sends_is_refused() {
        let long = format!("http://a/{}", "x".repeat(MOST_BYTES));
        for text in [
            "",
            "x",
            "ftp://a/",
            "http://",
            "http:///b",
            "http://:80/",
            "http://a:b/",
            "http://a:65536/",
            "http://user@a/",
            "http://[::1/",
            "http://a/b#c",
            "http://a/b c",
            "http://a/\u{e4}",
            &long,
        ] {
            let refused = ExplainedUrl::read(text).unwrap_err();
            assert_eq!(refused.field, "url", "{text}");
        }
        let told = ExplainedUrl::read("http://a/#b").unwrap_err();
        assert!(told.accepted.contains("without `#`"), "{told}");
    }
}
