//! What the origin reads of the head of a request. A proxy stands before it, so it is not strict.

use memchr::memmem;

/// The response to an upgrade; key and response are those of RFC 6455 section 1.3.
pub(super) const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// What a request asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// Bytes of the response's body.
    pub(super) response: usize,
    /// Bytes of the request's body.
    pub(super) body: usize,
    /// Wants a WebSocket.
    pub(super) upgrade: bool,
    /// Nothing follows on its connection.
    pub(super) last: bool,
}

/// The origin cannot parse this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The request at the begin of `bytes` and the length of its head; none when the end has not come.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Malformed> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let (line, fields) =
        bytes[..end + 2].split_at(memmem::find(&bytes[..end + 2], b"\r\n").ok_or(Malformed)?);
    let has_body = line.starts_with(b"POST ") || line.starts_with(b"PUT ");
    let body = match has_body.then(|| field(fields, b"content-length")) {
        None => 0,
        Some(value) => number(value.ok_or(Malformed)?)?,
    };
    let request = Request {
        response: response_bytes(line)?,
        body,
        upgrade: field(fields, b"upgrade").is_some(),
        last: memmem::find(fields, b"\r\nConnection: close\r\n").is_some(),
    };
    Ok(Some((request, end + 4)))
}

/// `N` of `/bytes/N`; 2 for any other path.
fn response_bytes(line: &[u8]) -> Result<usize, Malformed> {
    let path = line.split(|&byte| byte == b' ').nth(1).ok_or(Malformed)?;
    path.strip_prefix(b"/bytes/").map_or(Ok(2), number)
}

fn field<'head>(fields: &'head [u8], name: &[u8]) -> Option<&'head [u8]> {
    let lines = memmem::find_iter(fields, b"\r\n").map(|at| &fields[at + 2..]);
    let mut named = lines.filter(|line| {
        line.len() > name.len()
            && line[name.len()] == b':'
            && line[..name.len()].eq_ignore_ascii_case(name)
    });
    let line = named.next()?;
    let end = memmem::find(line, b"\r\n")?;
    Some(line[name.len() + 1..end].trim_ascii())
}

fn number(digits: &[u8]) -> Result<usize, Malformed> {
    let text = str::from_utf8(digits).map_err(|_| Malformed)?;
    text.parse().map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::{Malformed, Request, parse};

    #[test]
    fn a_head_that_has_not_ended_is_no_request() {
        assert_eq!(parse(b"GET /bytes/128 HTTP/1.1\r\nHost: x\r\n"), Ok(None));
    }

    #[test]
    fn the_path_says_how_long_the_response_is() {
        let head = b"GET /bytes/128 HTTP/1.1\r\nHost: x\r\n\r\nGET";
        let request = Request {
            response: 128,
            ..Request::default()
        };
        assert_eq!(parse(head), Ok(Some((request, head.len() - 3))));
    }

    #[test]
    fn a_body_has_a_length() {
        let head = b"POST /bytes/1 HTTP/1.1\r\ncontent-LENGTH:  77 \r\n\r\n";
        let (request, _) = parse(head).unwrap().unwrap();
        assert_eq!((request.body, request.response), (77, 1));
        assert_eq!(parse(b"POST / HTTP/1.1\r\nTE: x\r\n\r\n"), Err(Malformed));
    }

    #[test]
    fn upgrades_and_last_requests_are_seen() {
        let head = b"GET /ws HTTP/1.1\r\nupgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        assert!(parse(head).unwrap().unwrap().0.upgrade);
        let head = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
        assert!(parse(head).unwrap().unwrap().0.last);
    }
}
