//! The changes that a rule makes to the fields of a message, after everything else is written. Pure.

use crate::{http1::Span, model::FieldChanges, stickiness::without_cookie};

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

/// Takes the cookie of that name out of a head. A Cookie field without another one goes as well.
pub(super) fn remove_cookie(out: &mut Vec<u8>, cookie: &str) {
    let head = std::mem::take(out);
    for line in lines(&head) {
        let name = name_of(line);
        if !name.eq_ignore_ascii_case(b"cookie") {
            out.extend_from_slice(line);
        } else if let Some(others) = without_cookie(line[name.len() + 1..].trim_ascii(), cookie) {
            write_field(out, name, &others);
        }
    }
}

/// Appends one more field to the head at the end of `out`.
pub(in crate::proxy) fn add_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.truncate(out.len() - b"\r\n".len());
    write_field(out, name, value);
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
    fn a_cookie_is_removed_and_the_others_stay() {
        let head =
            "GET /?SRV=1 HTTP/1.1\r\nCookie: a=b; SRV=1;c=d\r\nX: SRV=1\r\ncookie:SRV=2\r\n\r\n";
        let mut out = head.as_bytes().to_vec();
        remove_cookie(&mut out, "SRV");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "GET /?SRV=1 HTTP/1.1\r\nCookie: a=b; c=d\r\nX: SRV=1\r\n\r\n"
        );
    }

    #[test]
    fn a_field_is_added_behind_the_others() {
        let mut out = b"HTTP/1.1 200 OK\r\nA: 1\r\n\r\n".to_vec();
        add_field(&mut out, b"B", b"2");
        assert_eq!(out, b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n\r\n");
    }

    #[test]
    fn a_value_is_found() {
        let head = b"GET / HTTP/1.1\r\nA: 1\r\nUser-Agent:  curl x \r\n\r\n";
        assert_eq!(value_of(head, b"user-agent").of(head), b"curl x");
        assert_eq!(value_of(head, b"b").of(head), b"");
    }
}
