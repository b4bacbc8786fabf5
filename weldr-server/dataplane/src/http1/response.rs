//! The head of an answer: RFC 9112, section 4.

use super::{
    grammar::is_field_value,
    head::{Field, HeadDefect, HeadLimits, Span, parse_fields, take_line},
    request::{Version, parse_version},
};

/// An answer without its fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseHead {
    /// From 100 to 599.
    pub(crate) status: u16,
    /// May be empty.
    pub(crate) reason: Span,
    pub(crate) version: Version,
}

/// Parses the head of an answer, whole as [`end_of_head`](super::end_of_head) found it, and its fields into `fields`.
pub(crate) fn parse_response(
    head: &[u8],
    limits: HeadLimits,
    fields: &mut Vec<Field>,
) -> Result<ResponseHead, HeadDefect> {
    let (line, rest) = take_line(head)?;
    let response = parse_status_line(line)?;
    parse_fields(head, rest, limits, fields)?;
    Ok(response)
}

/// `HTTP-version SP status-code SP [ reason-phrase ]`; many servers leave out the second space when there is no
/// reason, which has no second reading.
fn parse_status_line(line: &[u8]) -> Result<ResponseHead, HeadDefect> {
    const VERSION: usize = "HTTP/1.1".len();
    const STATUS: usize = VERSION + " 200".len();
    let (Some(version), Some(&[b' ', hundreds, tens, ones])) =
        (line.get(..VERSION), line.get(VERSION..STATUS))
    else {
        return Err(HeadDefect::StatusLine);
    };
    let version = parse_version(version, HeadDefect::StatusLine)?;
    let digits = [hundreds, tens, ones];
    if !(digits.iter().all(u8::is_ascii_digit) && (b'1'..=b'5').contains(&hundreds)) {
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

    fn parse(line: &str) -> Result<(u16, String), HeadDefect> {
        let limits = HeadLimits {
            bytes: 1024,
            fields: 10,
        };
        let head = format!("{line}\r\nA: b\r\n\r\n");
        let response = parse_response(head.as_bytes(), limits, &mut Vec::new())?;
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
}
