//! Control characters in the log. What a client or another node names may hold a line break, with which it could forge a
//! line, or a sequence that changes the terminal of whoever reads the log.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
};

use tracing_subscriber::fmt::MakeWriter;

/// Escapes the control characters of each line.
#[derive(Debug, Clone)]
pub(super) struct Escaping<W> {
    pub(super) writer: W,
    /// Whether the log itself sets colours.
    pub(super) colored: bool,
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Escaping<W> {
    type Writer = EscapedLine<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        EscapedLine {
            writer: self.writer.make_writer(),
            colored: self.colored,
        }
    }
}

/// Takes one line.
#[derive(Debug)]
pub(super) struct EscapedLine<W> {
    writer: W,
    colored: bool,
}

impl<W: Write> Write for EscapedLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.writer.write_all(&escaped(line, self.colored))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The line with its control characters as JSON escapes them, except the line break at its end, and except sequences that
/// set a colour if it is `colored`.
fn escaped(line: &[u8], colored: bool) -> Cow<'_, [u8]> {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let Ok(text) = str::from_utf8(text) else {
        // The subscriber formats strings.
        return Cow::Borrowed(line);
    };
    if !text.contains(char::is_control) {
        return Cow::Borrowed(line);
    }
    let mut escaped = String::with_capacity(line.len() + 16);
    let mut rest = text;
    while let Some(found) = rest.find(char::is_control) {
        escaped.push_str(&rest[..found]);
        rest = &rest[found..];
        let color = if colored { color(rest) } else { 0 };
        if color > 0 {
            escaped.push_str(&rest[..color]);
            rest = &rest[color..];
            continue;
        }
        let mut characters = rest.chars();
        // Writing to a string cannot fail.
        let _ = match characters.next() {
            Some('\n') => escaped.write_str("\\n"),
            Some('\t') => escaped.write_str("\\t"),
            Some('\r') => escaped.write_str("\\r"),
            Some(control) => write!(escaped, "\\u{:04x}", u32::from(control)),
            None => Ok(()),
        };
        rest = characters.as_str();
    }
    escaped.push_str(rest);
    escaped.push_str(if text.len() < line.len() { "\n" } else { "" });
    Cow::Owned(escaped.into_bytes())
}

/// The length of the sequence that sets a colour with which `text` begins; 0 if it does not.
fn color(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\u{1b}[") else {
        return 0;
    };
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';');
    match end {
        Some(end) if parameters[end..].starts_with('m') => 2 + end + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, colored: bool) -> String {
        String::from_utf8(escaped(text.as_bytes(), colored).into_owned()).unwrap()
    }

    #[test]
    fn one_line_stays_one_line() {
        assert_eq!(
            line("an ordinary line, äöü\n", false),
            "an ordinary line, äöü\n"
        );
        let forged = "node joins node=a\nERROR forged\r\u{1b}[2J\u{9b}31m\u{7}\t\u{7f}\n";
        assert_eq!(
            line(forged, false),
            "node joins node=a\\nERROR forged\\r\\u001b[2J\\u009b31m\\u0007\\t\\u007f\n"
        );
    }

    #[test]
    fn on_a_terminal_colours_stay_and_nothing_else() {
        let own = "\u{1b}[2m2026\u{1b}[0m \u{1b}[1;32mINFO\u{1b}[0m\n";
        assert_eq!(line(own, true), own);
        assert_eq!(
            line("\u{1b}[2J\u{1b}[\u{1b}", true),
            "\\u001b[2J\\u001b[\\u001b"
        );
    }

    #[test]
    fn a_json_line_stays_json() {
        let json = "{\"node\":\"a\u{9b}b\"}\n";
        let value: serde_json::Value = serde_json::from_str(&line(json, false)).unwrap();
        assert_eq!(value["node"], "a\u{9b}b");
    }
}
