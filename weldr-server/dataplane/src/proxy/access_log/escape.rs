//! Texts of clients and servers in a line: nothing in them ends a quote, a value or a line, or controls a terminal.
//! Pure.

use std::io::Write as _;

/// The inside of a JSON string. What is not UTF-8 is read as Latin-1, so that nothing is lost.
#[inline]
pub(super) fn write_json_text(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        out.extend_from_slice(text);
    } else {
        write_escaped(out, text);
    }
}

/// The inside of a JSON string that is not plain.
#[cold]
fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    match std::str::from_utf8(text) {
        Ok(text) => text.chars().for_each(|char| write_char(out, char)),
        Err(_) => text
            .iter()
            .for_each(|&byte| write_escaped_byte(out, byte, "u00")),
    }
}

fn write_char(out: &mut Vec<u8>, char: char) {
    match u8::try_from(char) {
        Ok(byte) if byte.is_ascii() => write_escaped_byte(out, byte, "u00"),
        // Writing to a vector cannot fail, here and below.
        _ if is_unsafe(char) => {
            let _ = write!(out, "\\u{:04x}", u32::from(char));
        }
        _ => {
            let _ = write!(out, "{char}");
        }
    }
}

/// Whether a reader may take `char` for the end of a line, a terminal for a command, or a person for nothing: controls, line
/// separators, and what changes the direction of the text behind it. All are less than U+10000.
fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Appends a visible ASCII character or a space, with a backslash where it needs one; of all other bytes a backslash,
/// `prefix` and two hexadecimal digits.
fn write_escaped_byte(out: &mut Vec<u8>, byte: u8, prefix: &str) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b' '..=b'~' => out.push(byte),
        _ => {
            let _ = write!(out, "\\{prefix}{byte:02x}");
        }
    }
}

/// Between quotes, as Apache writes it.
pub(super) fn write_quoted(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        out.extend_from_slice(text);
        return;
    }
    for &byte in text {
        write_escaped_byte(out, byte, "x");
    }
}

/// A value of logfmt: without quotes if it can be, otherwise a JSON string, as readers of logfmt understand it.
pub(super) fn write_logfmt_value(out: &mut Vec<u8>, text: &[u8]) {
    if !text.is_empty() && all_are(text, bare_byte, &BARE) {
        out.extend_from_slice(text);
    } else {
        out.push(b'"');
        write_json_text(out, text);
        out.push(b'"');
    }
}

/// Whether `text` can stand between quotes as it is, which almost all does.
fn is_plain(text: &[u8]) -> bool {
    all_are(text, plain_byte, &PLAIN)
}

/// Whether all bytes are as `is_so` says, and so does `table`, which is faster for a few.
#[inline]
fn all_are(text: &[u8], is_so: impl Fn(u8) -> bool, table: &[bool; 256]) -> bool {
    // In a part there is no early end: without one, the compiler looks at all of its bytes at once.
    let (parts, rest) = text.as_chunks::<16>();
    let are_so = |part: &[u8; 16]| part.iter().fold(true, |all, &byte| all & is_so(byte));
    parts.iter().all(are_so) && rest.iter().all(|&byte| table[usize::from(byte)])
}

#[expect(
    clippy::needless_bitwise_bool,
    reason = "a branch for each byte would keep it from being many at once"
)]
const fn plain_byte(byte: u8) -> bool {
    (byte >= b' ') & (byte <= b'~') & (byte != b'"') & (byte != b'\\')
}

#[expect(
    clippy::needless_bitwise_bool,
    reason = "a branch for each byte would keep it from being many at once"
)]
const fn bare_byte(byte: u8) -> bool {
    plain_byte(byte) & (byte != b' ') & (byte != b'=')
}

static PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte as usize] = plain_byte(byte);
        byte += 1;
    }
    table
};

static BARE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte as usize] = bare_byte(byte);
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn write_json_string(out: &mut Vec<u8>, text: &[u8]) {
        out.push(b'"');
        write_json_text(out, text);
        out.push(b'"');
    }

    #[test]
    fn what_has_to_be_escaped_is_found_wherever_it_stands() {
        for (length, byte) in (1..40).flat_map(|length| (0..128).map(move |byte| (length, byte))) {
            for at in 0..length {
                let mut text = vec![b'a'; length];
                text[at] = byte;
                let mut out = Vec::new();
                write_json_string(&mut out, &text);
                let read: String = serde_json::from_slice(&out).unwrap();
                assert_eq!(read.as_bytes(), text);
            }
        }
    }

    /// What is written reads back, and holds nothing that a reader, a terminal or a person could misread.
    #[test]
    fn no_character_is_left_that_ends_a_line_or_controls_a_terminal() {
        for char in ('\0'..='\u{ffff}').chain([char::MAX]) {
            let mut out = Vec::new();
            let text = format!("a{char}b");
            write_json_string(&mut out, text.as_bytes());
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            let written = String::from_utf8(out).unwrap();
            let is_harmful =
                |char: char| char.is_control() || "\u{2028}\u{2029}\u{202e}\u{2066}".contains(char);
            assert!(!written.chars().any(is_harmful), "{written:?}");
        }
    }

    #[test]
    fn a_value_of_logfmt_has_quotes_where_it_needs_them() {
        for (text, written) in [
            (&b"/a?b&c"[..], "/a?b&c"),
            (b"", r#""""#),
            (b"a b", r#""a b""#),
            (b"a=b", r#""a=b""#),
            (b"a\"b", r#""a\"b""#),
            (b"a\\nb", r#""a\\nb""#),
            (b"a\nstatus=200", r#""a\u000astatus=200""#),
            (b"\xff", r#""\u00ff""#),
            ("\u{e9}".as_bytes(), "\"\u{e9}\""),
        ] {
            let mut out = Vec::new();
            write_logfmt_value(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), written);
        }
    }
}
