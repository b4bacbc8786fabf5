//! How long a body is: RFC 9112, section 6.

use super::{
    grammar::{is_token, members, parse_decimal, trim},
    head::Field,
    known::Known,
    request::Version,
};

/// Where the body of a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
}

/// Where the body of a response ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResponseFraming {
    /// There is none. `odd`: the fields promise one all the same, so what comes next on the connection is unknown.
    None { odd: bool },
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// Why the end of a body is uncertain, or why two recipients could see it in different places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FramingDefect {
    #[error("the Content-Length is not a number")]
    Length,
    #[error("more than one Content-Length")]
    Lengths,
    #[error("more than one Content-Length, with different values")]
    DifferentLengths,
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    #[error("the Transfer-Encoding is malformed")]
    Coding,
    #[error("more than one Transfer-Encoding")]
    Codings,
    #[error("a transfer coding other than chunked")]
    UnknownCoding,
    #[error("a Transfer-Encoding in HTTP/1.0")]
    CodingInHttp10,
    #[error("a field whose name is that of a framing field with an underscore")]
    Twin,
}

/// The framing of a request, and why a strict reader would refuse it though its meaning is certain.
pub(crate) type Judged = (Framing, Option<FramingDefect>);

/// The framing of a request: RFC 9112, section 6.3, and without its leniency towards codings and lists.
pub(crate) fn request_framing(
    head: &[u8],
    fields: &[Field],
    version: Version,
) -> Result<Judged, FramingDefect> {
    let Stated {
        length,
        chunked,
        objection,
        ..
    } = stated(head, fields, version)?;
    Ok(match (chunked, length) {
        (true, Some(_)) => (Framing::Chunked, Some(FramingDefect::LengthAndCoding)),
        (true, None) => (Framing::Chunked, objection),
        // A body of no bytes is not the same as none: a server may ask for the field.
        (false, Some(length)) => (Framing::Length(length), objection),
        (false, None) => (Framing::None, objection),
    })
}

/// The framing of a response to a request whose method was HEAD or not.
pub(super) fn response_framing(
    head: &[u8],
    fields: &[Field],
    version: Version,
    status: u16,
    to_head: bool,
) -> Result<ResponseFraming, FramingDefect> {
    let never_has_a_body = to_head || status < 200 || status == 204 || status == 304;
    let stated = match stated(head, fields, version) {
        Ok(stated) => stated,
        // What such a response says of its length is not passed on, so it cannot mislead a client.
        Err(_) if status < 200 || status == 204 => return Ok(ResponseFraming::None { odd: true }),
        Err(defect) => return Err(defect),
    };
    if stated.objection == Some(FramingDefect::Lengths) {
        return Err(FramingDefect::Lengths);
    }
    if never_has_a_body {
        // A response to HEAD, and a 304, say how long another response would be.
        let may_say = to_head || status == 304;
        if may_say && stated.chunked && stated.length.is_some() {
            return Err(FramingDefect::LengthAndCoding);
        }
        let odd = !may_say && (stated.chunked || stated.length.is_some_and(|length| length > 0));
        return Ok(ResponseFraming::None { odd });
    }
    match (stated.chunked, stated.length) {
        (true, Some(_)) => Err(FramingDefect::LengthAndCoding),
        (true, None) => Ok(ResponseFraming::Chunked),
        (false, Some(length)) => Ok(ResponseFraming::Length(length)),
        (false, None) => Ok(ResponseFraming::UntilClose),
    }
}

/// What the fields of a message say of its length.
struct Stated {
    length: Option<u64>,
    chunked: bool,
    objection: Option<FramingDefect>,
}

fn stated(head: &[u8], fields: &[Field], version: Version) -> Result<Stated, FramingDefect> {
    let mut stated = Stated {
        length: None,
        chunked: false,
        objection: None,
    };
    for field in fields {
        let value = field.value.of(head);
        match field.known {
            Known::ContentLength => {
                let length = parse_decimal(value).ok_or(FramingDefect::Length)?;
                match stated.length.replace(length) {
                    Some(before) if before != length => {
                        return Err(FramingDefect::DifferentLengths);
                    }
                    Some(_) => stated.objection = Some(FramingDefect::Lengths),
                    None => {}
                }
            }
            Known::TransferEncoding => {
                if version == Version::Http10 {
                    return Err(FramingDefect::CodingInHttp10);
                }
                if stated.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(wrong_coding(head, fields));
                }
                stated.chunked = true;
            }
            // It must not hide what makes a response refused.
            Known::FramingTwin => _ = stated.objection.get_or_insert(FramingDefect::Twin),
            _ => {}
        }
    }
    Ok(stated)
}

/// What is wrong with the Transfer-Encoding fields, which are not a single `chunked`.
///
/// A coding that is not known is worth another status than a malformed list: RFC 9112, section 6.1.
#[cold]
fn wrong_coding(head: &[u8], fields: &[Field]) -> FramingDefect {
    let mut times_chunked = 0;
    let mut unknown = false;
    let values = fields
        .iter()
        .filter(|field| field.known == Known::TransferEncoding)
        .map(|field| field.value.of(head));
    for coding in values.flat_map(members) {
        let name_end = coding.iter().position(|&byte| byte == b';');
        let name = trim(&coding[..name_end.unwrap_or(coding.len())]);
        if !is_token(name) {
            return FramingDefect::Coding;
        }
        if !name.eq_ignore_ascii_case(b"chunked") {
            unknown = true;
        } else if name_end.is_some() {
            // RFC 9112, section 7.1: chunked has no parameters.
            return FramingDefect::Coding;
        } else {
            times_chunked += 1;
        }
    }
    if unknown {
        FramingDefect::UnknownCoding
    } else if times_chunked > 1 {
        FramingDefect::Codings
    } else {
        FramingDefect::Coding
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::head::{HeadLimits, parse_fields},
        *,
    };

    fn fields(lines: &str) -> (Vec<u8>, Vec<Field>) {
        let head = format!("{lines}\r\n").into_bytes();
        let limits = HeadLimits {
            bytes: 1024,
            fields: 10,
        };
        let mut fields = Vec::new();
        parse_fields(&head, 0, limits, &mut fields).unwrap();
        (head, fields)
    }

    fn request(lines: &str, version: Version) -> Result<Judged, FramingDefect> {
        let (head, fields) = fields(lines);
        request_framing(&head, &fields, version)
    }

    fn response(lines: &str, status: u16, to_head: bool) -> Result<ResponseFraming, FramingDefect> {
        let (head, fields) = fields(lines);
        response_framing(&head, &fields, Version::Http11, status, to_head)
    }

    #[test]
    fn what_a_request_may_say() {
        for (lines, framing) in [
            ("", Framing::None),
            ("Content-Length: 0\r\n", Framing::Length(0)),
            ("content-length: 0042\r\n", Framing::Length(42)),
            ("Transfer-Encoding: chunked\r\n", Framing::Chunked),
            ("transfer-encoding: CHUNKED\r\n", Framing::Chunked),
        ] {
            assert_eq!(
                request(lines, Version::Http11),
                Ok((framing, None)),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn what_has_no_certain_meaning_is_a_defect() {
        for (lines, defect) in [
            ("Content-Length: \r\n", FramingDefect::Length),
            ("Content-Length: +5\r\n", FramingDefect::Length),
            ("Content-Length: 5, 5\r\n", FramingDefect::Length),
            (
                "Content-Length: 5\r\nContent-Length: 6\r\n",
                FramingDefect::DifferentLengths,
            ),
            (
                "Transfer-Encoding: gzip, chunked\r\n",
                FramingDefect::UnknownCoding,
            ),
            ("Transfer-Encoding: gzip\r\n", FramingDefect::UnknownCoding),
            (
                "Transfer-Encoding: chunked, gzip\r\n",
                FramingDefect::UnknownCoding,
            ),
            (
                "Transfer-Encoding: gzip;q=1, chunked\r\n",
                FramingDefect::UnknownCoding,
            ),
            (
                "Transfer-Encoding: identity\r\n",
                FramingDefect::UnknownCoding,
            ),
            (
                "Transfer-Encoding: xchunked\r\n",
                FramingDefect::UnknownCoding,
            ),
            (
                "Transfer-Encoding: chunked, chunked\r\n",
                FramingDefect::Codings,
            ),
            ("Transfer-Encoding: chunked;q=1\r\n", FramingDefect::Coding),
            ("Transfer-Encoding: chunked;\r\n", FramingDefect::Coding),
            ("Transfer-Encoding: chunked,\r\n", FramingDefect::Coding),
            ("Transfer-Encoding: , chunked\r\n", FramingDefect::Coding),
            ("Transfer-Encoding: chunked a\r\n", FramingDefect::Coding),
            ("Transfer-Encoding: \"chunked\"\r\n", FramingDefect::Coding),
            ("Transfer-Encoding: \r\n", FramingDefect::Coding),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                FramingDefect::Codings,
            ),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: \r\n",
                FramingDefect::Coding,
            ),
        ] {
            assert_eq!(request(lines, Version::Http11), Err(defect), "{lines:?}");
        }
        let coding = request("Transfer-Encoding: chunked\r\n", Version::Http10);
        assert_eq!(coding, Err(FramingDefect::CodingInHttp10));
    }

    #[test]
    fn a_repeated_length_in_a_response_is_refused_whatever_else_it_says() {
        for (before, after) in [
            ("", ""),
            ("Content_Length: 5\r\n", ""),
            ("", "Transfer_Encoding: x\r\n"),
        ] {
            let lines = format!("{before}Content-Length: 5\r\nContent-Length: 5\r\n{after}");
            assert_eq!(
                response(&lines, 200, false),
                Err(FramingDefect::Lengths),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn what_is_certain_and_odd_is_an_objection() {
        for (lines, framing, objection) in [
            (
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                Framing::Chunked,
                FramingDefect::LengthAndCoding,
            ),
            (
                "Content-Length: 5\r\nContent-Length: 5\r\n",
                Framing::Length(5),
                FramingDefect::Lengths,
            ),
            ("Content_Length: 5\r\n", Framing::None, FramingDefect::Twin),
        ] {
            assert_eq!(
                request(lines, Version::Http11),
                Ok((framing, Some(objection))),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn responses_by_status_and_method() {
        let length = "Content-Length: 5\r\n";
        let chunked = "Transfer-Encoding: chunked\r\n";
        let none = ResponseFraming::None { odd: false };
        let odd = ResponseFraming::None { odd: true };
        for (lines, status, to_head, framing) in [
            (length, 200, false, ResponseFraming::Length(5)),
            (chunked, 200, false, ResponseFraming::Chunked),
            ("", 200, false, ResponseFraming::UntilClose),
            (length, 200, true, none),
            (chunked, 200, true, none),
            (length, 304, false, none),
            (length, 204, false, odd),
            (chunked, 204, false, odd),
            ("Content-Length: x\r\n", 204, false, odd),
            ("Content-Length: 0\r\n", 204, false, none),
            ("", 204, false, none),
            (length, 103, false, odd),
        ] {
            assert_eq!(
                response(lines, status, to_head),
                Ok(framing),
                "{lines:?} {status}"
            );
        }
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: x\r\n",
            "Transfer-Encoding: gzip\r\n",
        ] {
            for (status, to_head) in [(200, false), (200, true), (304, false)] {
                assert!(
                    response(lines, status, to_head).is_err(),
                    "{lines:?} {status}"
                );
            }
        }
    }
}
