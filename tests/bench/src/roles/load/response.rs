//! Finds the end of a response.

use memchr::memmem;

/// The longest head.
const MAX_HEAD: usize = 16 * 1024;

/// What comes back for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// This status, with a body of this length.
    Response { status: u16, body: usize },
    /// So many bytes.
    Bytes(usize),
}

/// Reads one response after the other.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The begin of a head whose end has not come.
    head: Vec<u8>,
    /// What is to come of a body.
    left: Option<usize>,
}

/// What was wrong with a response.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Fault {
    #[error("the head of a response is longer than {MAX_HEAD} bytes")]
    LongHead,
    #[error("expected status {expected} and {length} bytes, got: {head}")]
    Unexpected {
        expected: u16,
        length: usize,
        head: String,
    },
    #[error("{0} bytes follow a response")]
    Surplus(usize),
}

impl Reader {
    /// Takes what came; true when the response is complete.
    pub(super) fn take(&mut self, bytes: &[u8], expected: Expected) -> Result<bool, Fault> {
        let (left, bytes) = match (self.left, expected) {
            (Some(left), _) => (left, bytes.len()),
            (None, Expected::Bytes(count)) => (count, bytes.len()),
            (None, Expected::Response { status, body }) => {
                let Some(rest) = self.take_head(bytes, status, body)? else {
                    return Ok(false);
                };
                (body, rest)
            }
        };
        if bytes > left {
            return Err(Fault::Surplus(bytes - left));
        }
        self.left = (bytes < left).then_some(left - bytes);
        Ok(self.left.is_none())
    }

    /// How many bytes follow the head, when it has ended.
    fn take_head(
        &mut self,
        bytes: &[u8],
        status: u16,
        body: usize,
    ) -> Result<Option<usize>, Fault> {
        let has_begun = !self.head.is_empty();
        if has_begun {
            self.head.extend_from_slice(bytes);
        }
        let all = if has_begun { &self.head } else { bytes };
        let Some(end) = memmem::find(all, b"\r\n\r\n") else {
            if !has_begun {
                self.head.extend_from_slice(bytes);
            }
            let fits = self.head.len() <= MAX_HEAD;
            return if fits { Ok(None) } else { Err(Fault::LongHead) };
        };
        let head = &all[..end + 2];
        if !is_as_expected(head, status, body) {
            return Err(Fault::Unexpected {
                expected: status,
                length: body,
                head: String::from_utf8_lossy(head).into_owned(),
            });
        }
        let rest = all.len() - end - 4;
        self.head.clear();
        Ok(Some(rest))
    }
}

fn is_as_expected(head: &[u8], status: u16, body: usize) -> bool {
    let has_status = head
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| str::from_utf8(rest.get(..3)?).ok()?.parse().ok())
        == Some(status);
    // A response that switches protocols has no body and no length.
    has_status && (status == 101 || content_length(head) == Some(body))
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let mut lines = memmem::find_iter(head, b"\r\n").map(|at| &head[at + 2..]);
    let line = lines
        .find(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME))?;
    let end = memmem::find(line, b"\r\n")?;
    let value = line[NAME.len()..end].trim_ascii();
    str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Expected, Fault, Reader};

    const FIVE: Expected = Expected::Response {
        status: 200,
        body: 5,
    };
    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

    #[test]
    fn a_response_ends_where_its_length_says_however_it_is_cut() {
        for cut in 1..RESPONSE.len() {
            let mut reader = Reader::default();
            assert_eq!(reader.take(&RESPONSE[..cut], FIVE), Ok(false), "{cut}");
            assert_eq!(reader.take(&RESPONSE[cut..], FIVE), Ok(true), "{cut}");
            assert_eq!(reader.take(RESPONSE, FIVE), Ok(true), "the next, {cut}");
        }
    }

    #[test]
    fn bytes_are_counted() {
        let mut reader = Reader::default();
        assert_eq!(reader.take(b"abc", Expected::Bytes(4)), Ok(false));
        assert_eq!(reader.take(b"d", Expected::Bytes(4)), Ok(true));
    }

    #[test]
    fn another_status_or_length_is_a_fault() {
        for response in [
            &b"HTTP/1.1 503 Unavailable\r\nContent-Length: 5\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            let fault = Reader::default().take(response, FIVE).unwrap_err();
            assert!(matches!(fault, Fault::Unexpected { .. }), "{fault}");
        }
    }

    #[test]
    fn bytes_after_a_response_are_a_fault() {
        let surplus = [RESPONSE, b"x"].concat();
        assert_eq!(
            Reader::default().take(&surplus, FIVE),
            Err(Fault::Surplus(1))
        );
    }
}
