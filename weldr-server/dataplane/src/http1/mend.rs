//! Corrects responses whose defects leave only one meaning.
//!
//! The bytes are written anew and then read by the strict parser, which finds defects that were not corrected, so the rest
//! of the data path sees only correct messages. This happens only after the strict parser has refused the original bytes,
//! so a correct response costs nothing more.
//!
//! These defects are corrected: more than one space before the status; white space between a name and its colon (RFC 9112, section
//! 5.1); control characters in a reason phrase or a value, which become spaces (RFC 9110, section 5.5); the same
//! Content-Length more than once (RFC 9110, section 8.6); and the transfer coding `identity`, which does nothing
//! (RFC 2616, section 3.6). Never corrected are NUL and line ends, which other parsers may treat as the end of a line or value,
//! and control characters in the fields that decide about the length of a message or the use of its connection.

use super::{
    grammar::{members, parse_decimal, token_length, trim},
    known::Known,
};

/// A head that was written anew.
#[derive(Debug)]
pub(super) struct Mended {
    pub(super) head: Vec<u8>,
    /// Whether there was a Transfer-Encoding, also one that is left out.
    pub(super) had_coding: bool,
}

/// Writes `head`, the head of a response with its empty line, with its defects corrected.
pub(super) fn mended_response(head: &[u8]) -> Mended {
    let line_end = line_length(head);
    let mut mended = Vec::with_capacity(head.len() + 16);
    write_status_line(&mut mended, &head[..line_end]);
    let lines = Lines::of(&head[line_end..]);
    lines.write(&mut mended);
    Mended {
        head: mended,
        had_coding: lines.all.iter().any(Line::is_coding),
    }
}

/// Writes `lines`, the trailer fields of a response with the empty line that ends them, with their defects corrected.
pub(crate) fn mended_trailers(lines: &[u8]) -> Vec<u8> {
    let mut mended = Vec::with_capacity(lines.len());
    Lines::of(lines).write(&mut mended);
    mended
}

/// The length of the first line, with its end.
fn line_length(bytes: &[u8]) -> usize {
    memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1)
}

fn write_status_line(out: &mut Vec<u8>, line: &[u8]) {
    let version_end = line.iter().position(|&byte| byte == b' ');
    let (version, rest) = line.split_at(version_end.unwrap_or(line.len()));
    out.extend_from_slice(version);
    let spaces = rest.iter().take_while(|&&byte| byte == b' ').count();
    if spaces > 0 {
        out.push(b' ');
    }
    write_text(out, &rest[spaces..]);
}

/// Appends `text` with a space in place of each control character, but for NUL and line ends.
fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    let mended = |&byte: &u8| match byte {
        b'\0' | b'\r' | b'\n' | b'\t' => byte,
        0x01..b' ' | 0x7f => b' ',
        _ => byte,
    };
    out.extend(text.iter().map(mended));
}

/// A field line.
struct Line<'a> {
    known: Known,
    name: &'a [u8],
    /// The bytes after the colon, with the end of the line.
    rest: &'a [u8],
}

impl<'a> Line<'a> {
    /// `None`: it does not begin with a name and a colon, with at most white space between them.
    fn of(line: &'a [u8]) -> Option<Self> {
        let (name, rest) = line.split_at(token_length(line));
        let spaces = rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        let rest = rest[spaces..].strip_prefix(b":")?;
        (!name.is_empty()).then_some(Self {
            known: Known::of(name),
            name,
            rest,
        })
    }

    fn value(&self) -> &'a [u8] {
        trim(self.rest.strip_suffix(b"\r\n").unwrap_or(self.rest))
    }

    fn is_coding(&self) -> bool {
        self.known == Known::TransferEncoding
    }

    /// Whether its value decides how long the message is or what becomes of the connection.
    fn is_of_the_connection(&self) -> bool {
        matches!(
            self.known,
            Known::Connection | Known::ContentLength | Known::TransferEncoding | Known::Upgrade
        )
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name);
        out.push(b':');
        if self.is_of_the_connection() {
            out.extend_from_slice(self.rest);
        } else {
            write_text(out, self.rest);
        }
    }
}

/// The field lines of a message.
struct Lines<'a> {
    all: Vec<Line<'a>>,
    /// From the first line that is no field on: the empty line, or what the strict parser will refuse.
    rest: &'a [u8],
    /// The one length that all Content-Length fields have.
    length: Option<u64>,
    coding: Coding,
}

/// The combined value of the Transfer-Encoding fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// No coding, or a value that is left to the strict parser.
    AsItCame,
    /// `identity`, any number of times.
    Identity,
    /// `identity`, any number of times, and then `chunked`.
    IdentityThenChunked,
}

impl<'a> Lines<'a> {
    fn of(mut lines: &'a [u8]) -> Self {
        let mut all = Vec::new();
        while let Some(line) = Line::of(&lines[..line_length(lines)]) {
            all.push(line);
            lines = &lines[line_length(lines)..];
        }
        Self {
            length: length(&all),
            coding: coding(&all),
            all,
            rest: lines,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut length = self.length;
        let mut chunked = self.coding == Coding::IdentityThenChunked;
        for line in &self.all {
            match line.known {
                Known::ContentLength if self.length.is_some() => {
                    if let Some(length) = length.take() {
                        out.extend_from_slice(b"Content-Length: ");
                        out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
                        out.extend_from_slice(b"\r\n");
                    }
                }
                Known::TransferEncoding if self.coding != Coding::AsItCame => {
                    if std::mem::take(&mut chunked) {
                        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                    }
                }
                _ => line.write(out),
            }
        }
        out.extend_from_slice(self.rest);
    }
}

fn length(lines: &[Line<'_>]) -> Option<u64> {
    let mut lengths = lines
        .iter()
        .filter(|line| line.known == Known::ContentLength)
        .flat_map(|line| members(line.value()))
        .map(parse_decimal);
    let first = lengths.next()??;
    lengths.all(|length| length == Some(first)).then_some(first)
}

fn coding(lines: &[Line<'_>]) -> Coding {
    let mut codings = lines
        .iter()
        .filter(|line| line.is_coding())
        .flat_map(|line| members(line.value()))
        .skip_while(|coding| coding.eq_ignore_ascii_case(b"identity"));
    match (codings.next(), codings.next()) {
        (None, _) => Coding::Identity,
        (Some(last), None) if last.eq_ignore_ascii_case(b"chunked") => Coding::IdentityThenChunked,
        _ => Coding::AsItCame,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(head: &str) -> String {
        String::from_utf8(mended_response(head.as_bytes()).head).unwrap()
    }

    #[test]
    fn each_defect_with_one_meaning_is_mended() {
        for (came, written) in [
            ("HTTP/1.1   200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
            ("HTTP/1.1 200 O\u{1}K\r\n\r\n", "HTTP/1.1 200 O K\r\n\r\n"),
            ("H 2\r\nA \t: b\r\n\r\n", "H 2\r\nA: b\r\n\r\n"),
            (
                "H 2\r\nA: \u{1b}[0m\u{7f}\t\u{e9}\r\n\r\n",
                "H 2\r\nA:  [0m \t\u{e9}\r\n\r\n",
            ),
            (
                "H 2\r\ncontent-length: 5\r\nA: b\r\nContent-Length : 05, 5\r\n\r\n",
                "H 2\r\nContent-Length: 5\r\nA: b\r\n\r\n",
            ),
            (
                "H 2\r\nTransfer-Encoding: Identity\r\nA: b\r\n\r\n",
                "H 2\r\nA: b\r\n\r\n",
            ),
            (
                "H 2\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: CHUNKED\r\n\r\n",
                "H 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            ),
        ] {
            assert_eq!(mended(came), written, "{came:?}");
        }
    }

    #[test]
    fn what_has_no_certain_meaning_stays_as_it_is() {
        for head in [
            "HTTP/1.1\t200 OK\r\n\r\n",
            "HTTP/1.1 200 O\0K\r\n\r\n",
            "H 2\r\nA: b\rc\0\r\n\r\n",
            "H 2\r\n A: b\r\n\r\n",
            "H 2\r\nA: b\r\n c\r\n\r\n",
            "H 2\r\nA b : c\r\n\r\n",
            "H 2\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "H 2\r\nContent-Length: 5,\r\n\r\n",
            "H 2\r\nContent-Length: \u{1}5\r\n\r\n",
            "H 2\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n",
            "H 2\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
            "H 2\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            "H 2\r\nTransfer-Encoding: identity, \r\n\r\n",
            "H 2\r\nTransfer-Encoding: gzip\r\n\r\n",
            "H 2\r\nConnection: a\u{1}\r\n\r\n",
        ] {
            assert_eq!(mended(head), head);
        }
    }

    #[test]
    fn a_coding_is_noted_also_when_it_is_left_out() {
        for (lines, had_coding) in [
            ("Transfer-Encoding : identity\r\n", true),
            ("transfer-encoding: chunked\r\n", true),
            ("TE: chunked\r\n", false),
        ] {
            let head = format!("HTTP/1.0 200 OK\r\n{lines}\r\n");
            assert_eq!(mended_response(head.as_bytes()).had_coding, had_coding);
        }
    }

    #[test]
    fn trailers_are_mended_as_fields_are() {
        assert_eq!(mended_trailers(b"A : b\x01c\r\n\r\n"), b"A: b c\r\n\r\n");
    }
}
