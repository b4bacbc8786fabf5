//! The Combined Log Format. Pure.

use crate::proxy::text::{write_decimal, write_ip};

use super::{escape::write_quoted, line::LogEntry};

impl LogEntry<'_> {
    /// Appends a line of the Combined Log Format, as Apache and nginx write it. Its address is
    /// the client's.
    pub(super) fn write_combined(&self, out: &mut Vec<u8>) {
        let date = &self.date;
        write_ip(out, self.client.ip.to_canonical());
        out.extend_from_slice(b" - - [");
        for part in [
            &date[5..7],
            b"/",
            &date[8..11],
            b"/",
            &date[12..16],
            b":",
            &date[17..25],
        ] {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(b" +0000] \"");
        let without_version = self
            .request_line
            .strip_suffix(b" HTTP/1.1")
            .unwrap_or(self.request_line);
        write_quoted(out, without_version);
        out.push(b' ');
        out.extend_from_slice(self.version_text());
        out.extend_from_slice(b"\" ");
        write_decimal(out, self.status.into());
        out.push(b' ');
        write_decimal(out, self.bytes_sent);
        out.push(b' ');
        for (text, end) in [(self.referer, b' '), (self.user_agent, b'\n')] {
            out.push(b'"');
            write_quoted(out, if text.is_empty() { b"-" } else { text });
            out.extend_from_slice(&[b'"', end]);
        }
    }
}
