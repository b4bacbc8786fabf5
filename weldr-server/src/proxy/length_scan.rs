//! Whether the head that is being read has a Content-Length. Pure.
//!
//! A request with both Content-Length and Transfer-Encoding is refused (RFC 9112, section 6.3), and hyper removes
//! the first of them before anybody sees it. So it is looked for in the bytes.
//!
//! Not promised: a head that came in one read with the request before it is not looked at. There the chunked
//! framing wins, the length is not forwarded, and hyper closes the connection after the answer.

const NAME: &[u8] = b"content-length";

/// Looks at the bytes of one head, in parts as they come.
#[derive(Debug, Default)]
pub(super) struct LengthScan {
    line: Line,
    /// Whether a line has come that is not empty: those before the first are no end.
    begun: bool,
    found: bool,
    ended: bool,
}

/// What is known of the line that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// So much of it is the beginning of the name.
    Matches(usize),
    /// It is another.
    Other,
}

impl Default for Line {
    fn default() -> Self {
        Self::Matches(0)
    }
}

impl LengthScan {
    /// Looks at the next part; what comes after the end of the head is ignored.
    pub(super) fn feed(&mut self, mut part: &[u8]) {
        while !self.ended && !self.found {
            if self.line == Line::Other {
                let Some(end) = part.iter().position(|&byte| byte == b'\n') else {
                    return;
                };
                self.line = Line::default();
                part = &part[end + 1..];
            }
            let Some((&byte, rest)) = part.split_first() else {
                return;
            };
            part = rest;
            self.step(byte);
        }
    }

    /// The begin of a line, byte by byte.
    fn step(&mut self, byte: u8) {
        let Line::Matches(matched) = self.line else {
            return;
        };
        match byte {
            b'\n' if matched == 0 => self.ended = self.begun,
            b'\r' if matched == 0 => {}
            _ if byte.to_ascii_lowercase() == NAME[matched] => {
                self.found = matched + 1 == NAME.len();
                self.line = Line::Matches(matched + 1);
                self.begun = true;
            }
            b'\n' => self.line = Line::default(),
            _ => {
                self.line = Line::Other;
                self.begun = true;
            }
        }
    }

    /// Whether a line so far began with the name.
    pub(super) fn found(&self) -> bool {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(parts: &[&str]) -> bool {
        let mut scan = LengthScan::default();
        for part in parts {
            scan.feed(part.as_bytes());
        }
        scan.found()
    }

    #[test]
    fn finds_the_field_in_any_case_and_place() {
        for head in [
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ncONTENT-lENGTH: 3\r\n\r\n",
            "\r\nPOST / HTTP/1.1\nContent-Type: a\nContent-Length: 3\n\n",
        ] {
            assert!(found(&[head]), "{head:?}");
            for cut in 1..head.len() {
                assert!(
                    found(&[&head[..cut], &head[cut..]]),
                    "{head:?} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn finds_nothing_else() {
        for head in [
            "",
            "GET /content-length HTTP/1.1\r\nHost: a\r\nX-A: content-length: 3\r\n\r\n",
            "GET / HTTP/1.1\r\nX-Content-Length: 3\r\nContent-Lengt: 3\r\nContent\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n20\r\ncontent-length: 3\r\n",
        ] {
            assert!(!found(&[head]), "{head:?}");
            for cut in 1..head.len() {
                assert!(
                    !found(&[&head[..cut], &head[cut..]]),
                    "{head:?} cut at {cut}"
                );
            }
        }
    }
}
