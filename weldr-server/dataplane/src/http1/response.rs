//! The head of a response: RFC 9112, section 4.

use std::borrow::Cow;

use super::{
    framing::{FramingDefect, ResponseFraming, response_framing},
    grammar::is_field_value,
    head::{Field, HeadDefect, HeadLimits, Span, end_of_head, parse_fields, take_line},
    mend::mended_response,
    request::{Version, parse_version},
    strictness::Strictness,
};

/// Maximum number of interim responses before the final one.
pub(crate) const MOST_INTERIM: u32 = 32;

/// The first line of a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseHead {
    /// The status code, from 100 to 599, or to 999 with lenient rules.
    pub(crate) status: u16,
    /// May be empty.
    pub(crate) reason: Span,
    pub(crate) version: Version,
}

impl ResponseHead {
    /// Whether another response follows: RFC 9110, section 15.2. 101 is final, because another protocol follows.
    pub(crate) fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}

/// The rules for reading responses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseRules {
    pub(crate) limits: HeadLimits,
    pub(crate) strictness: Strictness,
}

/// The head of a response, in correct form.
#[derive(Debug)]
pub(crate) struct ReadResponse<'a> {
    /// The bytes to which the spans refer: the received ones, or the corrected ones.
    pub(crate) head: Cow<'a, [u8]>,
    pub(crate) line: ResponseHead,
    pub(crate) framing: ResponseFraming,
    /// Whether the connection must not carry another response: RFC 9112, section 6.1 says so of a Transfer-Encoding in
    /// HTTP/1.0, because the server may not know where this one ends.
    pub(crate) ends_connection: bool,
}

/// Why the head of a response is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResponseHeadDefect {
    #[error(transparent)]
    Head(#[from] HeadDefect),
    #[error(transparent)]
    Framing(#[from] FramingDefect),
}

/// The length of the head of a response at the begin of `bytes`, as [`end_of_head`] finds it. A head that is too long,
/// or that is not one of HTTP, is refused before its end.
pub(crate) fn end_of_response_head(
    bytes: &[u8],
    searched: &mut usize,
    limits: HeadLimits,
) -> Result<Option<usize>, HeadDefect> {
    let is_http = || bytes.starts_with(&b"HTTP/"[..bytes.len().min(5)]);
    match end_of_head(bytes, searched) {
        Err(_) | Ok(None) if !is_http() => Err(HeadDefect::StatusLine),
        Ok(end) if end.unwrap_or(bytes.len()) > limits.bytes => Err(HeadDefect::TooLarge {
            limit: limits.bytes,
        }),
        found => found,
    }
}

/// Reads the head of a response, whole as [`end_of_response_head`] found it, to a request whose method was HEAD or not.
/// `fields` gets its fields.
///
/// # Errors
///
/// The head is malformed or the end of the body is uncertain; with lenient rules, only if that cannot be corrected.
pub(crate) fn read_response<'a>(
    head: &'a [u8],
    to_head: bool,
    rules: ResponseRules,
    fields: &mut Vec<Field>,
) -> Result<ReadResponse<'a>, ResponseHeadDefect> {
    match read_strictly(head, to_head, rules.limits, fields) {
        Ok((line, framing)) => Ok(ReadResponse {
            head: Cow::Borrowed(head),
            line,
            framing,
            ends_connection: false,
        }),
        Err(_) if rules.strictness == Strictness::Lenient => {
            read_leniently(head, to_head, rules.limits, fields)
        }
        Err(defect) => Err(defect),
    }
}

fn read_strictly(
    head: &[u8],
    to_head: bool,
    limits: HeadLimits,
    fields: &mut Vec<Field>,
) -> Result<(ResponseHead, ResponseFraming), ResponseHeadDefect> {
    let line = parse_response(head, b'5', limits, fields)?;
    let framing = response_framing(head, fields, line.version, line.status, to_head)?;
    Ok((line, framing))
}

#[cold]
fn read_leniently(
    head: &[u8],
    to_head: bool,
    limits: HeadLimits,
    fields: &mut Vec<Field>,
) -> Result<ReadResponse<'static>, ResponseHeadDefect> {
    let mended = mended_response(head);
    let line = parse_response(&mended.head, b'9', limits, fields)?;
    // The Transfer-Encoding of an HTTP/1.0 response is decoded; only the connection is not used again.
    let version = Version::Http11;
    let framing = response_framing(&mended.head, fields, version, line.status, to_head)?;
    Ok(ReadResponse {
        head: Cow::Owned(mended.head),
        line,
        framing,
        ends_connection: mended.had_coding && line.version == Version::Http10,
    })
}

/// Parses the head of a response, and its fields into `fields`. Its status begins with a digit up to `highest`.
fn parse_response(
    head: &[u8],
    highest: u8,
    limits: HeadLimits,
    fields: &mut Vec<Field>,
) -> Result<ResponseHead, HeadDefect> {
    let (line, rest) = take_line(head)?;
    let response = parse_status_line(line, highest)?;
    parse_fields(head, rest, limits, fields)?;
    Ok(response)
}

/// `HTTP-version SP status-code SP [ reason-phrase ]`; many servers leave out the second space when there is no
/// reason, which has no second reading.
fn parse_status_line(line: &[u8], highest: u8) -> Result<ResponseHead, HeadDefect> {
    const VERSION: usize = "HTTP/1.1".len();
    const STATUS: usize = VERSION + " 200".len();
    let (Some(version), Some(&[b' ', hundreds, tens, ones])) =
        (line.get(..VERSION), line.get(VERSION..STATUS))
    else {
        return Err(HeadDefect::StatusLine);
    };
    let version = parse_version(version, HeadDefect::StatusLine)?;
    let digits = [hundreds, tens, ones];
    if !(digits.iter().all(u8::is_ascii_digit) && (b'1'..=highest).contains(&hundreds)) {
        return Err(HeadDefect::StatusLine);
    }
    let status = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    let reason = match line[STATUS..].split_first() {
        None => Span::new(STATUS, STATUS),
        Some((b' ', reason)) if is_field_value(reason) => Span::new(STATUS + 1, line.len()),
        Some(_) => return Err(HeadDefect::StatusLine),
    };
    Ok(ResponseHead {
        status,
        reason,
        version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 1024,
        fields: 10,
    };

    fn parse(line: &str) -> Result<(u16, String), HeadDefect> {
        let head = format!("{line}\r\nA: b\r\n\r\n");
        let response = parse_response(head.as_bytes(), b'5', LIMITS, &mut Vec::new())?;
        let reason = response.reason.of(head.as_bytes());
        Ok((
            response.status,
            String::from_utf8_lossy(reason).into_owned(),
        ))
    }

    #[test]
    fn a_reason_is_optional() {
        for (line, status, reason) in [
            ("HTTP/1.1 200 OK", 200, "OK"),
            ("HTTP/1.0 404 ", 404, ""),
            ("HTTP/1.1 599", 599, ""),
            ("HTTP/1.1 100 a b ", 100, "a b "),
        ] {
            assert_eq!(parse(line), Ok((status, reason.to_owned())), "{line:?}");
        }
    }

    #[test]
    fn malformed_lines_are_refused() {
        for line in [
            "",
            "HTTP/1.1",
            "HTTP/1.1 20",
            "HTTP/1.1 2000",
            "HTTP/1.1  200 OK",
            "HTTP/1.1 099 a",
            "HTTP/1.1 600 a",
            "HTTP/1.1 +20 a",
            "HTTP/1.1 200OK",
            "ICY 200 OK",
            "http/1.1 200 OK",
            "HTTP/1.1 200 a\0",
            "HTTP/1.1\t200 OK",
        ] {
            assert_eq!(parse(line), Err(HeadDefect::StatusLine), "{line:?}");
        }
        assert_eq!(parse("HTTP/2.0 200 OK"), Err(HeadDefect::Version));
    }

    fn read(head: &str, strictness: Strictness) -> Result<ReadResponse<'_>, ResponseHeadDefect> {
        let rules = ResponseRules {
            limits: LIMITS,
            strictness,
        };
        read_response(head.as_bytes(), false, rules, &mut Vec::new())
    }

    #[test]
    fn a_correct_response_is_not_copied() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        for strictness in [Strictness::Strict, Strictness::Lenient] {
            let response = read(head, strictness).unwrap();
            assert!(matches!(response.head, Cow::Borrowed(_)));
            assert_eq!(response.framing, ResponseFraming::Length(5));
        }
    }

    #[test]
    fn what_has_one_meaning_is_mended_unless_the_rules_are_strict() {
        for (head, framing, defect) in [
            (
                "HTTP/1.1  200 OK\r\nContent-Length: 5\r\n\r\n",
                ResponseFraming::Length(5),
                HeadDefect::StatusLine.into(),
            ),
            (
                "HTTP/1.1 600 OK\r\nContent-Length: 5\r\n\r\n",
                ResponseFraming::Length(5),
                HeadDefect::StatusLine.into(),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
                ResponseFraming::Length(5),
                HeadDefect::FieldName.into(),
            ),
            (
                "HTTP/1.1 200 OK\r\nA: \x01\r\n\r\n",
                ResponseFraming::UntilClose,
                HeadDefect::FieldValue.into(),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
                ResponseFraming::Length(5),
                FramingDefect::Length.into(),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
                ResponseFraming::Length(5),
                FramingDefect::Lengths.into(),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
                ResponseFraming::UntilClose,
                FramingDefect::UnknownCoding.into(),
            ),
            (
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                ResponseFraming::Chunked,
                FramingDefect::CodingInHttp10.into(),
            ),
        ] {
            let response = read(head, Strictness::Lenient).unwrap();
            assert_eq!(response.framing, framing, "{head:?}");
            assert_eq!(
                response.ends_connection,
                head.starts_with("HTTP/1.0"),
                "{head:?}"
            );
            assert_eq!(
                read(head, Strictness::Strict).unwrap_err(),
                defect,
                "{head:?}"
            );
        }
    }

    #[test]
    fn what_has_no_certain_meaning_is_refused_by_any_rules() {
        for (head, defect) in [
            (
                "HTTP/1.1 099 OK\r\n\r\n",
                ResponseHeadDefect::from(HeadDefect::StatusLine),
            ),
            (
                "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
                HeadDefect::Folded.into(),
            ),
            (
                "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
                HeadDefect::FieldValue.into(),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length : 6\r\n\r\n",
                FramingDefect::DifferentLengths.into(),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n",
                FramingDefect::LengthAndCoding.into(),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                FramingDefect::Codings.into(),
            ),
        ] {
            assert_eq!(
                read(head, Strictness::Lenient).unwrap_err(),
                defect,
                "{head:?}"
            );
            assert!(read(head, Strictness::Strict).is_err(), "{head:?}");
        }
    }

    #[test]
    fn what_is_no_head_of_http_is_refused_before_its_end() {
        let end = |bytes: &[u8]| end_of_response_head(bytes, &mut 0, LIMITS);
        assert_eq!(end(b""), Ok(None));
        assert_eq!(end(b"HTT"), Ok(None));
        assert_eq!(end(b"HTTP/1.1 200 OK\r\n"), Ok(None));
        assert_eq!(end(b"HTTP/1.1 200 OK\r\n\r\nHTTP"), Ok(Some(19)));
        for bytes in [&b"SSH-2.0"[..], b"\x15\x03\x01\0", b"\r\n", b"220 mail\n"] {
            assert_eq!(end(bytes), Err(HeadDefect::StatusLine), "{bytes:?}");
        }
        let long = format!("HTTP/1.1 200 {}", "a".repeat(LIMITS.bytes));
        assert!(matches!(
            end(long.as_bytes()),
            Err(HeadDefect::TooLarge { .. })
        ));
    }
}
