//! The changes that a rule makes to the fields of a message, after everything else is written. Pure.

use crate::{http1::Span, model::FieldChanges};

use super::lines::write_field;

/// Makes `changes` to the fields of the head that begins at `begin` in `out`. The names and values are valid, and none of
/// the names frames a message: see [`FieldChanges`].
pub(in crate::proxy) fn change_fields(out: &mut Vec<u8>, begin: usize, changes: &FieldChanges) {
    if changes.is_empty() {
        return;
    }
    let head = out.split_off(begin);
    let mut lines = lines(&head);
    // The first line, and the empty one, are no fields.
    if let Some(first) = lines.next() {
        out.extend_from_slice(first);
    }
    for line in lines {
        if !is_changed(name_of(line), changes) && line != b"\r\n" {
            out.extend_from_slice(line);
        }
    }
    for (name, value) in &changes.set {
        write_field(out, name.as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn is_changed(name: &[u8], changes: &FieldChanges) -> bool {
    let is_it = |changed: &String| changed.as_bytes().eq_ignore_ascii_case(name);
    changes.remove.iter().any(is_it) || changes.set.keys().any(is_it)
}

/// The lines of a head, each with its end.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split_inclusive(|&byte| byte == b'\n')
}

fn name_of(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|&byte| byte == b':');
    &line[..end.unwrap_or(0)]
}

/// Where the value of the first field with this name is in `head`; empty when there is none.
pub(super) fn value_of(head: &[u8], name: &[u8]) -> Span {
    let mut at = 0;
    for line in lines(head) {
        let found = name_of(line);
        if found.eq_ignore_ascii_case(name) {
            let begin = found.len() + 1;
            let value = line[begin..].trim_ascii();
            let blank = line.len() - line[begin..].trim_ascii_start().len();
            return Span::new(at + blank, at + blank + value.len());
        }
        at += line.len();
    }
    Span::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_removed_and_set_in_place_of_all_of_that_name() {
        let changes = FieldChanges {
            remove: vec!["x-a".into()],
            set: [("X-B".to_owned(), "new".to_owned())].into(),
        };
        let mut out = b"HTTP/1.1 103 \r\nX-A: 0\r\n\r\n".to_vec();
        let begin = out.len();
        out.extend_from_slice(
            b"HTTP/1.1 200 x-a: b\r\nX-A: 1\r\nx-b: 1\r\nY: x-a: 2\r\nX-b:2\r\n\r\n",
        );
        change_fields(&mut out, begin, &changes);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "HTTP/1.1 103 \r\nX-A: 0\r\n\r\nHTTP/1.1 200 x-a: b\r\nY: x-a: 2\r\nX-B: new\r\n\r\n"
        );
    }

    #[test]
    fn a_value_is_found() {
        let head = b"GET / HTTP/1.1\r\nA: 1\r\nUser-Agent:  curl x \r\n\r\n";
        assert_eq!(value_of(head, b"user-agent").of(head), b"curl x");
        assert_eq!(value_of(head, b"b").of(head), b"");
    }
}
