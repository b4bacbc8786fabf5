//! The head of a request: RFC 9112, section 3.

use super::{
    grammar::{is_host, is_target, is_token},
    head::{Field, HeadDefect, HeadLimits, MOST_METHOD, Span, parse_fields, take_line},
};

/// The minor versions of HTTP/1 that make a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    Http10,
    /// Also each later minor version, which is treated like this one: RFC 9110, section 6.2.
    Http11,
}

/// The forms of a request-target: RFC 9112, section 3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetForm {
    /// `/path?query`
    Origin,
    /// `http://authority/path?query`, as its authority and the rest.
    Absolute {
        authority: Span,
        /// Empty, or beginning with `/` or `?`.
        path: Span,
    },
    /// `host:port`, for CONNECT only.
    Authority,
    /// `*`, for OPTIONS only.
    Asterisk,
}

/// A request without its fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestHead {
    pub(crate) method: Span,
    pub(crate) target: Span,
    pub(crate) form: TargetForm,
    pub(crate) version: Version,
}

/// Parses the head of a request, whole as [`end_of_head`](super::end_of_head) found it, and its fields into `fields`.
pub(crate) fn parse_request(
    head: &[u8],
    limits: HeadLimits,
    fields: &mut Vec<Field>,
) -> Result<RequestHead, HeadDefect> {
    let (line, rest) = take_line(head)?;
    let request = parse_request_line(line)?;
    parse_fields(head, rest, limits, fields)?;
    Ok(request)
}

/// Whether the begin of an incomplete head can still become a request. A client that sends something else gets a response
/// at once, not at its deadline.
pub(crate) fn check_begin(begin: &[u8]) -> Result<(), HeadDefect> {
    if let Ok((line, _)) = take_line(begin) {
        return parse_request_line(line).map(drop);
    }
    let is_possible = |byte: &u8| matches!(byte, b' '..0x7f | b'\r');
    if begin.len() > MOST_METHOD && is_token(&begin[..=MOST_METHOD]) {
        Err(HeadDefect::MethodTooLong)
    } else if begin.iter().all(is_possible) {
        Ok(())
    } else {
        Err(HeadDefect::RequestLine)
    }
}

/// `method SP request-target SP HTTP-version`, and no other white space.
fn parse_request_line(line: &[u8]) -> Result<RequestHead, HeadDefect> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadDefect::RequestLine);
    };
    if !is_token(method) {
        return Err(HeadDefect::RequestLine);
    }
    if method.len() > MOST_METHOD {
        return Err(HeadDefect::MethodTooLong);
    }
    let version = parse_version(version, HeadDefect::RequestLine)?;
    if !is_target(target) {
        return Err(HeadDefect::Target);
    }
    let start = method.len() + 1;
    let form = target_form(method, target, start)?;
    Ok(RequestHead {
        method: Span::new(0, method.len()),
        target: Span::new(start, start + target.len()),
        form,
        version,
    })
}

/// `HTTP/1.DIGIT`; another major version is not supported, anything else is `malformed`.
pub(super) fn parse_version(version: &[u8], malformed: HeadDefect) -> Result<Version, HeadDefect> {
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            if *major == b'1' {
                Ok(Version::Http11)
            } else {
                Err(HeadDefect::Version)
            }
        }
        _ => Err(malformed),
    }
}

fn target_form(method: &[u8], target: &[u8], start: usize) -> Result<TargetForm, HeadDefect> {
    if method == b"CONNECT" {
        let has_port = target.contains(&b':');
        return if has_port && is_host(target) {
            Ok(TargetForm::Authority)
        } else {
            Err(HeadDefect::Target)
        };
    }
    if target[0] == b'/' {
        return Ok(TargetForm::Origin);
    }
    if target == b"*" {
        return if method == b"OPTIONS" {
            Ok(TargetForm::Asterisk)
        } else {
            Err(HeadDefect::Target)
        };
    }
    absolute_form(target, start).ok_or(HeadDefect::Target)
}

/// RFC 9110, section 4.2: an `http` URI with a host, and without user information, which may hide the host.
fn absolute_form(target: &[u8], start: usize) -> Option<TargetForm> {
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
        target
            .get(..scheme.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    })?;
    let rest = &target[scheme.len()..];
    let end = rest
        .iter()
        .position(|byte| b"/?".contains(byte))
        .unwrap_or(rest.len());
    let begin = start + scheme.len();
    is_host(&rest[..end]).then(|| TargetForm::Absolute {
        authority: Span::new(begin, begin + end),
        path: Span::new(begin + end, begin + rest.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 1024,
        fields: 10,
    };

    fn parse(head: &str) -> Result<RequestHead, HeadDefect> {
        parse_request(head.as_bytes(), LIMITS, &mut Vec::new())
    }

    fn form(line: &str) -> Result<TargetForm, HeadDefect> {
        parse(&format!("{line}\r\n\r\n")).map(|request| request.form)
    }

    #[test]
    fn a_request_line_has_three_parts() {
        let head = "PATCH /a?b=%20 HTTP/1.0\r\nHost: a\r\n\r\n";
        let request = parse(head).unwrap();
        assert_eq!(request.method.of(head.as_bytes()), b"PATCH");
        assert_eq!(request.target.of(head.as_bytes()), b"/a?b=%20");
        assert_eq!(request.version, Version::Http10);
        assert_eq!(
            parse("GET / HTTP/1.7\r\n\r\n").unwrap().version,
            Version::Http11
        );
    }

    #[test]
    fn malformed_lines_are_refused() {
        for line in [
            "GET /",
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "GET\t/ HTTP/1.1",
            "GET / http/1.1",
            "GET / HTTP/1",
            "GET / HTTP/1.10",
            "GET / HTTP/x.1",
            "G(T / HTTP/1.1",
            "",
            "GET / HTTP /1.1",
        ] {
            assert_eq!(form(line), Err(HeadDefect::RequestLine), "{line:?}");
        }
        for line in ["GET / HTTP/2.0", "PRI * HTTP/2.0", "GET / HTTP/0.9"] {
            assert_eq!(form(line), Err(HeadDefect::Version), "{line:?}");
        }
    }

    #[test]
    fn a_method_may_be_unknown_but_not_overlong() {
        let line = |length: usize| format!("{} / HTTP/1.1", "A".repeat(length));
        assert_eq!(form(&line(64)), Ok(TargetForm::Origin));
        assert_eq!(form(&line(65)), Err(HeadDefect::MethodTooLong));
        assert_eq!(check_begin(&[b'A'; 64]), Ok(()));
        assert_eq!(check_begin(&[b'A'; 65]), Err(HeadDefect::MethodTooLong));
        let target = format!("GET /{}", "a".repeat(100));
        assert_eq!(check_begin(target.as_bytes()), Ok(()));
    }

    #[test]
    fn what_cannot_become_a_request_is_known_early() {
        for begin in [
            "",
            "GE",
            "GET / HTTP/1.1",
            "GET / HTTP/1.1\r",
            "GET / HTTP/1.1\r\nHo",
        ] {
            assert_eq!(check_begin(begin.as_bytes()), Ok(()), "{begin:?}");
        }
        for begin in [
            "\x16\x03\x01",
            "GET\t/",
            "G\u{e4}",
            "hello\r\n",
            "GET / HTTP/1.1 x\r\nHo",
        ] {
            assert!(check_begin(begin.as_bytes()).is_err(), "{begin:?}");
        }
    }

    #[test]
    fn targets_have_four_forms() {
        assert_eq!(form("GET //a/../b HTTP/1.1"), Ok(TargetForm::Origin));
        assert_eq!(form("OPTIONS * HTTP/1.1"), Ok(TargetForm::Asterisk));
        assert_eq!(form("CONNECT a:443 HTTP/1.1"), Ok(TargetForm::Authority));
        let line = "GET HTTP://a:81?x=1 HTTP/1.1";
        let Ok(TargetForm::Absolute { authority, path }) = form(line) else {
            panic!("{line}");
        };
        assert_eq!(authority.of(line.as_bytes()), b"a:81");
        assert_eq!(path.of(line.as_bytes()), b"?x=1");
    }

    #[test]
    fn other_targets_are_refused() {
        for target in [
            "a",
            "a:80",
            "*",
            "http://",
            "http:///a",
            "http://u@a/",
            "ftp://a/",
            "http:a",
            "/a#b",
            "/\u{e4}",
            "/\u{7f}",
            "http://a:b/",
            "?x",
        ] {
            assert_eq!(
                form(&format!("GET {target} HTTP/1.1")),
                Err(HeadDefect::Target),
                "{target:?}"
            );
        }
        assert_eq!(form("CONNECT / HTTP/1.1"), Err(HeadDefect::Target));
    }
}
