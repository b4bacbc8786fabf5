//! How JSON and logfmt write the same fields. Pure; each function becomes part of the code that writes a line.

use super::escape::{write_json_text, write_logfmt_value};

/// The name of a field, with what precedes its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) json: &'static [u8],
    /// The same in front of a text that needs no escape.
    pub(super) json_text: &'static [u8],
    pub(super) logfmt: &'static [u8],
}

/// Makes a [`Key`] of a name, or of the names of a group of fields and of one in it.
macro_rules! key {
    ($name:literal) => {
        key!(@ concat!(",\"", $name, "\":"), concat!($name, "="))
    };
    // The first field of a group.
    ($group:literal => $name:literal) => {
        key!(@ concat!(",\"", $group, "\":{\"", $name, "\":"), concat!($group, "_", $name, "="))
    };
    // Another one.
    ($group:literal, $name:literal) => {
        key!(@ concat!(",\"", $name, "\":"), concat!($group, "_", $name, "="))
    };
    (@ $json:expr, $logfmt:expr) => {
        const {
            $crate::proxy::access_log::style::Key {
                json: $json.as_bytes(),
                json_text: concat!($json, "\"").as_bytes(),
                logfmt: $logfmt.as_bytes(),
            }
        }
    };
}
pub(super) use key;

/// How a line is written. A line begins where the last one ended.
pub(super) trait Style {
    /// Begins a field whose value is a number or a word.
    fn key(out: &mut Vec<u8>, key: Key);
    /// Begins a field whose value is a text that needs no escape.
    fn begin_text(out: &mut Vec<u8>, key: Key);
    /// Ends that.
    fn end_text(out: &mut Vec<u8>);
    /// A field whose value is any text.
    fn text(out: &mut Vec<u8>, key: Key, text: &[u8]);
    /// A field without a value.
    fn absent(out: &mut Vec<u8>, key: Key);
    /// Ends a group of fields.
    fn end_group(out: &mut Vec<u8>);
    /// Ends the line that begins at `start`.
    fn end_line(out: &mut Vec<u8>, start: usize);
}

/// One JSON object per line.
#[derive(Debug)]
pub(super) struct Json;

impl Style for Json {
    #[inline]
    fn key(out: &mut Vec<u8>, key: Key) {
        out.extend_from_slice(key.json);
    }

    #[inline]
    fn begin_text(out: &mut Vec<u8>, key: Key) {
        out.extend_from_slice(key.json_text);
    }

    #[inline]
    fn end_text(out: &mut Vec<u8>) {
        out.push(b'"');
    }

    #[inline]
    fn text(out: &mut Vec<u8>, key: Key, text: &[u8]) {
        out.extend_from_slice(key.json_text);
        write_json_text(out, text);
        out.push(b'"');
    }

    #[inline]
    fn absent(out: &mut Vec<u8>, key: Key) {
        out.extend_from_slice(key.json);
        out.extend_from_slice(b"null");
    }

    #[inline]
    fn end_group(out: &mut Vec<u8>) {
        out.push(b'}');
    }

    fn end_line(out: &mut Vec<u8>, start: usize) {
        // Each field begins with a comma; in place of the first one, the object begins.
        match out.get_mut(start) {
            Some(first) => *first = b'{',
            None => out.push(b'{'),
        }
        out.extend_from_slice(b"}\n");
    }
}

/// Pairs `name=value`. A field without a value is left out.
#[derive(Debug)]
pub(super) struct Logfmt;

impl Style for Logfmt {
    #[inline]
    fn key(out: &mut Vec<u8>, key: Key) {
        if out.last().is_some_and(|&last| last != b'\n') {
            out.push(b' ');
        }
        out.extend_from_slice(key.logfmt);
    }

    #[inline]
    fn begin_text(out: &mut Vec<u8>, key: Key) {
        Self::key(out, key);
    }

    #[inline]
    fn end_text(_out: &mut Vec<u8>) {}

    #[inline]
    fn text(out: &mut Vec<u8>, key: Key, text: &[u8]) {
        Self::key(out, key);
        write_logfmt_value(out, text);
    }

    #[inline]
    fn absent(_out: &mut Vec<u8>, _key: Key) {}

    #[inline]
    fn end_group(_out: &mut Vec<u8>) {}

    fn end_line(out: &mut Vec<u8>, _start: usize) {
        out.push(b'\n');
    }
}
