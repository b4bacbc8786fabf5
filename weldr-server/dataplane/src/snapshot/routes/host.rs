//! The normal form of a host: RFC 3986, section 3.2.2.

use std::{borrow::Cow, net::Ipv6Addr};

/// Why a host has no normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostDefect {
    /// Some servers decode it, and some do not.
    #[error("the host has percent-encoded bytes, which servers read in different ways")]
    Encoded,
}

/// The host of `authority` (`uri-host [ ":" port ]`, already accepted as such) in normal form: without its port, in lower
/// case, without a dot at its end, and an IPv6 address in its shortest form, in brackets.
///
/// # Errors
/// When servers may read it in different ways.
pub fn normal_host(authority: &[u8]) -> Result<Cow<'_, [u8]>, HostDefect> {
    if let Some(inside) = authority.strip_prefix(b"[") {
        let end = inside.iter().position(|&byte| byte == b']');
        let inside = &inside[..end.unwrap_or(inside.len())];
        let parsed = std::str::from_utf8(inside)
            .ok()
            .and_then(|text| text.parse::<Ipv6Addr>().ok());
        return Ok(match parsed {
            Some(ip) => Cow::Owned(bracketed(ip)),
            None => lower(inside),
        });
    }
    let end = authority.iter().position(|&byte| byte == b':');
    let host = &authority[..end.unwrap_or(authority.len())];
    let host = host.strip_suffix(b".").unwrap_or(host);
    if host.contains(&b'%') {
        return Err(HostDefect::Encoded);
    }
    Ok(lower(host))
}

fn bracketed(ip: Ipv6Addr) -> Vec<u8> {
    format!("[{ip}]").into_bytes()
}

fn lower(host: &[u8]) -> Cow<'_, [u8]> {
    if host.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// A host of a condition, in normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPattern {
    /// This host.
    Exact(Box<[u8]>),
    /// All names below this one.
    Below(Box<[u8]>),
}

impl From<&str> for HostPattern {
    fn from(text: &str) -> Self {
        let (name, is_below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let inside = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        let name = match inside.unwrap_or(name).parse::<Ipv6Addr>() {
            Ok(ip) => bracketed(ip),
            Err(_) => name
                .strip_suffix('.')
                .unwrap_or(name)
                .to_ascii_lowercase()
                .into_bytes(),
        };
        let name = name.into_boxed_slice();
        if is_below {
            Self::Below(name)
        } else {
            Self::Exact(name)
        }
    }
}

impl HostPattern {
    /// Whether it matches `host`, which is in normal form.
    pub(super) fn matches(&self, host: &[u8]) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Below(name) => {
                let above = host.strip_suffix(&**name);
                above.is_some_and(|above| above.len() > 1 && above.ends_with(b"."))
                    && !has_empty_label(host)
            }
        }
    }
}

/// Whether a label of `host`, other than the last one, is empty. Such a host is no name, so it is below none.
fn has_empty_label(host: &[u8]) -> bool {
    host.starts_with(b".") || memchr::memmem::find(host, b"..").is_some()
}

/// The first `most` of the names above `host`, from the shortest: `c` and `b.c` for `a.b.c`. A host with an empty label is below
/// none.
pub(super) fn names_above(host: &[u8], most: usize) -> impl Iterator<Item = &[u8]> {
    let most = if has_empty_label(host) { 0 } else { most };
    // From the right, because a client may send thousands of labels.
    let mut dots = memchr::memrchr_iter(b'.', host);
    let names = std::iter::from_fn(move || dots.next())
        .filter(|&dot| dot > 0)
        .map(|dot| &host[dot + 1..]);
    names.take(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_mean_the_same_have_one_normal_form() {
        for (authority, normal) in [
            ("example.com", "example.com"),
            ("EXAMPLE.com:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:", "example.com"),
            ("example.com..", "example.com."),
            ("192.0.2.1:80", "192.0.2.1"),
            ("[::1]", "[::1]"),
            ("[0:0:0:0:0:0:0:1]:80", "[::1]"),
            ("[2001:DB8::A]", "[2001:db8::a]"),
        ] {
            let found = normal_host(authority.as_bytes()).unwrap();
            assert_eq!(found, normal.as_bytes(), "{authority}");
        }
        assert_eq!(normal_host(b"%61.example"), Err(HostDefect::Encoded));
    }

    #[test]
    fn a_pattern_matches_one_host_or_all_below_a_name() {
        for (pattern, host, matches) in [
            ("Example.COM", "example.com", true),
            ("example.com.", "example.com", true),
            ("example.com", "a.example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.Example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "..example.com", false),
            ("*.example.com", "a..example.com", false),
            ("*.example.com", ".a.example.com", false),
            ("*.example.com", "badexample.com", false),
            ("::1", "[::1]", true),
            ("[0:0::1]", "[::1]", true),
        ] {
            let found = HostPattern::from(pattern).matches(host.as_bytes());
            assert_eq!(found, matches, "{pattern} {host}");
        }
    }

    #[test]
    fn names_above_a_host_are_few() {
        let names = |host: &'static str, most| -> Vec<&[u8]> {
            names_above(host.as_bytes(), most).collect()
        };
        assert_eq!(names("a.b.c", 9), [&b"c"[..], b"b.c"]);
        assert_eq!(names("a.b.c", 1), [&b"c"[..]]);
        for no_name in [".c", "..b.c", "a..b.c", ".a.b.c"] {
            assert_eq!(names(no_name, 9), Vec::<&[u8]>::new(), "{no_name}");
        }
        assert_eq!(names("c", 9), Vec::<&[u8]>::new());
    }
}
