//! Where a head ends, and the fields that it is made of.

use std::sync::LazyLock;

use memchr::{memchr, memchr_iter, memmem};

use super::{
    grammar::{is_field_value, token_length},
    known::Known,
};
use crate::policy::Limits;

/// A part of the bytes that a head was parsed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Heads are bounded far below 4 GiB.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a head is bounded by configuration, at 1 MiB"
    )]
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// Where the same part is when `line`, which it is a part of, is copied to `place`.
    pub(crate) fn copied_with(self, line: Self, place: usize) -> Self {
        let start = place + (self.start - line.start) as usize;
        Self::new(start, start + self.range().len())
    }

    /// The bytes, taken from those that were parsed.
    pub(crate) fn of(self, head: &[u8]) -> &[u8] {
        &head[self.start as usize..self.end as usize]
    }

    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One field line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) known: Known,
    pub(crate) name: Span,
    /// Without the white space around it.
    pub(crate) value: Span,
    /// All of it, with the end of the line.
    pub(crate) line: Span,
}

/// Bytes of a method. The longest that is registered has 17; a method that is not known is forwarded.
pub(super) const MOST_METHOD: usize = 64;

/// What is wrong with the lines of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadDefect {
    #[error("a line does not end with CR LF")]
    LineEnd,
    #[error("the first line is not a request-line")]
    RequestLine,
    #[error("the method is longer than {MOST_METHOD} bytes")]
    MethodTooLong,
    #[error("the first line is not a status-line")]
    StatusLine,
    #[error("the version is not one that is spoken here")]
    Version,
    #[error("the request-target is not valid")]
    Target,
    #[error("a field line begins with white space")]
    Folded,
    #[error("a field line has no colon after its name")]
    NoColon,
    #[error("the name of a field is not a token")]
    FieldName,
    #[error("the value of a field has a character that is not allowed")]
    FieldValue,
    #[error("the head has more than {limit} fields")]
    TooManyFields { limit: usize },
    #[error("the head has more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the request-target is too long")]
    TargetTooLong,
}

/// The limits of the head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes, with the empty line that ends it.
    pub bytes: usize,
    /// Field lines.
    pub fields: usize,
}

impl From<&Limits> for HeadLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            bytes: limits.header_bytes,
            fields: limits.headers,
        }
    }
}

/// Where the head at the begin of `bytes` ends, after its empty line. `searched`: how many bytes an earlier call
/// has searched, which is updated. `None` when the end has not arrived.
///
/// A head that can no longer become valid is refused before its end, so that the client gets a response before its
/// deadline.
pub(crate) fn end_of_head(bytes: &[u8], searched: &mut usize) -> Result<Option<usize>, HeadDefect> {
    /// Made once: making it takes longer than the search.
    static END: LazyLock<memmem::Finder<'static>> =
        LazyLock::new(|| memmem::Finder::new(b"\r\n\r\n"));

    let from = searched.saturating_sub(3);
    if let Some(end) = END.find(&bytes[from..]) {
        return Ok(Some(from + end + 4));
    }
    let is_bare = |&end: &usize| end == 0 || bytes[end - 1] != b'\r';
    let bare = memchr_iter(b'\n', &bytes[from..])
        .map(|end| from + end)
        .any(|end| is_bare(&end));
    let has_nul = memchr(0, &bytes[from..]).is_some();
    *searched = bytes.len();
    if bare {
        return Err(HeadDefect::LineEnd);
    }
    if has_nul {
        return Err(HeadDefect::FieldValue);
    }
    Ok(None)
}

/// The first line of a head, or the part of it that there is, for logs.
pub(crate) fn first_line(head: &[u8]) -> &[u8] {
    let end = head.iter().position(|byte| b"\r\n".contains(byte));
    &head[..end.unwrap_or(head.len())]
}

/// Takes the first line of a head: the line, and where the next one begins.
pub(super) fn take_line(head: &[u8]) -> Result<(&[u8], usize), HeadDefect> {
    let end = memchr(b'\n', head).ok_or(HeadDefect::LineEnd)?;
    let line = head[..end].strip_suffix(b"\r").ok_or(HeadDefect::LineEnd)?;
    Ok((line, end + 1))
}

/// Parses the field lines of `head` from `at` to its empty line into `fields`, which is emptied first.
pub(crate) fn parse_fields(
    head: &[u8],
    mut at: usize,
    limits: HeadLimits,
    fields: &mut Vec<Field>,
) -> Result<(), HeadDefect> {
    fields.clear();
    loop {
        let rest = &head[at..];
        let length = memchr(b'\n', rest).ok_or(HeadDefect::LineEnd)?;
        let line = rest[..length]
            .strip_suffix(b"\r")
            .ok_or(HeadDefect::LineEnd)?;
        if line.is_empty() {
            return Ok(());
        }
        if fields.len() == limits.fields {
            return Err(HeadDefect::TooManyFields {
                limit: limits.fields,
            });
        }
        fields.push(parse_field(line, at)?);
        at += length + 1;
    }
}

fn parse_field(line: &[u8], at: usize) -> Result<Field, HeadDefect> {
    let colon = token_length(line);
    if colon == 0 || line.get(colon) != Some(&b':') {
        return Err(no_name(line));
    }
    let name = &line[..colon];
    let mut start = colon + 1;
    let mut end = line.len();
    while start < end && matches!(line[start], b' ' | b'\t') {
        start += 1;
    }
    while end > start && matches!(line[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    if !is_field_value(&line[start..end]) {
        return Err(HeadDefect::FieldValue);
    }
    Ok(Field {
        known: Known::of(name),
        name: Span::new(at, at + name.len()),
        value: Span::new(at + start, at + end),
        line: Span::new(at, at + line.len() + 2),
    })
}

/// Why a line does not begin with the name of a field and a colon.
///
/// With white space before the colon it is no name: RFC 9112, section 5.1. A request with it must be refused, and an
/// response must not be forwarded with it.
#[cold]
fn no_name(line: &[u8]) -> HeadDefect {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        HeadDefect::Folded
    } else if line.contains(&b':') {
        HeadDefect::FieldName
    } else {
        HeadDefect::NoColon
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 1024,
        fields: 3,
    };

    fn parse(lines: &str) -> Result<Vec<(String, String)>, HeadDefect> {
        let mut fields = Vec::new();
        let bytes = lines.as_bytes();
        parse_fields(bytes, 0, LIMITS, &mut fields)?;
        let text = |span: Span| String::from_utf8_lossy(span.of(bytes)).into_owned();
        Ok(fields
            .iter()
            .map(|field| (text(field.name), text(field.value)))
            .collect())
    }

    #[test]
    fn a_head_ends_at_its_empty_line() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n";
        let end = head.len() - b"body\r\n\r\n".len();
        for cut in 0..=head.len() {
            let mut searched = 0;
            let first = end_of_head(&head[..cut], &mut searched).unwrap();
            assert_eq!(first, (cut >= end).then_some(end), "{cut}");
            if first.is_none() {
                assert_eq!(end_of_head(head, &mut searched), Ok(Some(end)), "{cut}");
            }
        }
    }

    #[test]
    fn a_head_that_cannot_become_valid_is_refused_before_its_end() {
        for head in [
            "GET / HTTP/1.1\n",
            "GET / HTTP/1.1\r\nHost: a\n",
            "\n",
            "G\0",
        ] {
            assert!(end_of_head(head.as_bytes(), &mut 0).is_err(), "{head:?}");
        }
    }

    #[test]
    fn fields_are_split_and_trimmed() {
        let fields = parse("Host:a\r\nX-A: \t b c \t\r\nEmpty:\r\n\r\n").unwrap();
        let expected = [("Host", "a"), ("X-A", "b c"), ("Empty", "")];
        assert_eq!(
            fields,
            expected.map(|(name, value)| (name.into(), value.into()))
        );
    }

    #[test]
    fn defects_have_names() {
        for (lines, defect) in [
            (" a: b\r\n\r\n", HeadDefect::Folded),
            ("a: b\r\n\tc\r\n\r\n", HeadDefect::Folded),
            ("a\r\n\r\n", HeadDefect::NoColon),
            ("a : b\r\n\r\n", HeadDefect::FieldName),
            (": b\r\n\r\n", HeadDefect::FieldName),
            ("a: b\0\r\n\r\n", HeadDefect::FieldValue),
            ("a: b\rc\r\n\r\n", HeadDefect::FieldValue),
            ("a: b\n\r\n", HeadDefect::LineEnd),
            ("a: b\r\n\n", HeadDefect::LineEnd),
            ("a: b", HeadDefect::LineEnd),
            (
                "a:1\r\nb:2\r\nc:3\r\nd:4\r\n\r\n",
                HeadDefect::TooManyFields { limit: 3 },
            ),
        ] {
            assert_eq!(parse(lines), Err(defect), "{lines:?}");
        }
    }
}
