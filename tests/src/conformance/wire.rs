//! A strict, pure reading of HTTP/1.1 (RFC 9112) in the bytes that have come so far.
//!
//! It accepts the grammar and none of the leniencies that a recipient may have: no bare LF, no folded field,
//! no space before a colon, no second `Content-Length`, no coding but `chunked`, no request without exactly
//! one valid number of Host fields.

use crate::http1::{Fields, Framing};

/// A message, or as much of it as came.
#[derive(Debug, Clone)]
pub struct Message {
    /// The three parts of the start line.
    pub start: [Vec<u8>; 3],
    /// The fields.
    pub fields: Fields,
    /// How the end of the body is found.
    pub framing: Framing,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The trailer fields of a chunked body.
    pub trailers: Fields,
}

impl Message {
    /// The method of a request.
    pub fn method(&self) -> String {
        self.start[0].escape_ascii().to_string()
    }

    /// The target of a request.
    pub fn target(&self) -> String {
        self.start[1].escape_ascii().to_string()
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        let digits = str::from_utf8(&self.start[1]).ok();
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// The start line as it came.
    pub fn start_line(&self) -> String {
        self.start.join(&b' ').escape_ascii().to_string()
    }

    /// Whether the sender will close the connection after it (RFC 9112, section 9.3).
    pub fn closes(&self) -> bool {
        let options = self.fields.all("connection").join(",").to_ascii_lowercase();
        let has = |wanted| options.split(',').any(|option| option.trim() == wanted);
        let old = self.start[0] == b"HTTP/1.0" || self.start[2] == b"HTTP/1.0";
        has("close") || self.framing == Framing::Close || (old && !has("keep-alive"))
    }
}

/// How far a message has come.
#[derive(Debug, Clone)]
pub enum Reading {
    /// It is complete, and this many bytes long.
    Whole(Box<Message>, usize),
    /// More has to come; the head is there when it was complete.
    Partial(Option<Box<Message>>),
    /// It is not HTTP/1.1.
    Invalid(String),
}

/// How a stream of bytes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In order (FIN).
    Closed,
    /// With RST.
    Reset,
}

/// Reads one request from the start of `bytes`.
pub fn request(bytes: &[u8]) -> Reading {
    match head(bytes).and_then(|head| head.map(request_head).transpose()) {
        Err(why) => Reading::Invalid(why),
        Ok(None) => Reading::Partial(None),
        Ok(Some((message, used))) => body(message, used, bytes, None),
    }
}

/// Reads one response to `method` from the start of `bytes`, whose stream has ended so or not yet.
pub fn response(bytes: &[u8], method: &str, end: Option<End>) -> Reading {
    let read =
        head(bytes).and_then(|head| head.map(|head| response_head(head, method)).transpose());
    match read {
        Err(why) => Reading::Invalid(why),
        Ok(None) => Reading::Partial(None),
        Ok(Some((message, used))) => body(message, used, bytes, end),
    }
}

/// All whole requests at the start of `bytes`, and why there are no more of them.
///
/// One empty line before a request line is passed over (RFC 9112, section 2.2).
pub fn requests(bytes: &[u8]) -> (Vec<Message>, Rest) {
    let mut rest = bytes;
    let mut whole = Vec::new();
    loop {
        if rest.is_empty() {
            return (whole, Rest::Nothing);
        }
        rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        match request(rest) {
            Reading::Whole(message, length) => {
                whole.push(*message);
                rest = &rest[length..];
            }
            Reading::Partial(_) => return (whole, Rest::Partial),
            Reading::Invalid(why) => return (whole, Rest::Invalid(why)),
        }
    }
}

/// What follows the last whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rest {
    /// Nothing.
    Nothing,
    /// The beginning of another.
    Partial,
    /// What is no message.
    Invalid(String),
}

type Head<'a> = ([&'a [u8]; 3], Fields, usize);

fn head(bytes: &[u8]) -> Result<Option<Head<'_>>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        // What is wrong already need not be waited for.
        return match bytes.iter().position(|&byte| byte == b'\n' || byte == 0) {
            Some(at) if at == 0 || bytes[at] == 0 || bytes[at - 1] != b'\r' => {
                Err("bare LF or NUL in a head".into())
            }
            _ => Ok(None),
        };
    };
    let mut lines = lines(&bytes[..end]);
    let start = lines.remove(0);
    let parts: Vec<_> = start.splitn(3, |&byte| byte == b' ').collect();
    let [first, second, third] = parts[..] else {
        return Err(format!("start line {}", start.escape_ascii()));
    };
    let fields = lines.into_iter().map(field).collect::<Result<_, _>>()?;
    Ok(Some(([first, second, third], Fields(fields), end + 4)))
}

fn request_head((start, fields, used): Head<'_>) -> Result<(Message, usize), String> {
    let [method, target, version] = start;
    if !is_token(method) {
        return Err(format!("method {}", method.escape_ascii()));
    }
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(format!("target {}", target.escape_ascii()));
    }
    if version != b"HTTP/1.1" && version != b"HTTP/1.0" {
        return Err(format!("version {}", version.escape_ascii()));
    }
    let hosts = fields.all("host").len();
    if hosts > 1 || (hosts == 0 && version == b"HTTP/1.1") {
        return Err(format!("{hosts} Host fields"));
    }
    let declared = declared(&fields)?;
    if version == b"HTTP/1.0" && declared == Some(Framing::Chunked) {
        return Err("Transfer-Encoding in HTTP/1.0".into());
    }
    let framing = declared.unwrap_or(Framing::None);
    Ok((message(start, fields, framing), used))
}

fn response_head(
    (start, fields, used): Head<'_>,
    method: &str,
) -> Result<(Message, usize), String> {
    let [version, status, reason] = start;
    if version != b"HTTP/1.1" && version != b"HTTP/1.0" {
        return Err(format!("version {}", version.escape_ascii()));
    }
    if status.len() != 3 || !status.iter().all(u8::is_ascii_digit) || status[0] == b'0' {
        return Err(format!("status {}", status.escape_ascii()));
    }
    if !reason.iter().all(|&byte| is_value_byte(byte)) {
        return Err(format!("reason {}", reason.escape_ascii()));
    }
    let declared = declared(&fields)?;
    let bodiless = method == "HEAD" || status[0] == b'1' || status == b"204" || status == b"304";
    if declared.is_some() && (status[0] == b'1' || status == b"204") {
        return Err("framing in a response that has no body".into());
    }
    if version == b"HTTP/1.0" && declared == Some(Framing::Chunked) {
        return Err("Transfer-Encoding in HTTP/1.0".into());
    }
    let framing = if bodiless {
        Framing::None
    } else {
        declared.unwrap_or(Framing::Close)
    };
    Ok((message(start, fields, framing), used))
}

fn message(start: [&[u8]; 3], fields: Fields, framing: Framing) -> Message {
    Message {
        start: start.map(<[u8]>::to_vec),
        fields,
        framing,
        body: Vec::new(),
        trailers: Fields::default(),
    }
}

fn declared(fields: &Fields) -> Result<Option<Framing>, String> {
    let lengths = fields.all("content-length");
    let codings = fields.all("transfer-encoding");
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(None),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
            let parsed = length.parse().map(|length| Some(Framing::Length(length)));
            parsed.map_err(|_| format!("Content-Length {length}"))
        }
        _ => Err(format!(
            "Content-Length {lengths:?} with Transfer-Encoding {codings:?}"
        )),
    }
}

fn body(mut message: Message, used: usize, bytes: &[u8], end: Option<End>) -> Reading {
    let rest = &bytes[used..];
    let whole = match message.framing {
        Framing::None => Some(0),
        Framing::Length(length) => {
            message.body = rest[..rest.len().min(length)].to_vec();
            (rest.len() >= length).then_some(length)
        }
        Framing::Chunked => match chunked(rest, &mut message) {
            Ok(whole) => whole,
            Err(why) => return Reading::Invalid(why),
        },
        Framing::Close => {
            message.body = rest.to_vec();
            (end == Some(End::Closed)).then_some(rest.len())
        }
    };
    match whole {
        Some(length) => Reading::Whole(Box::new(message), used + length),
        None => Reading::Partial(Some(Box::new(message))),
    }
}

/// Reads chunks into `message`; the length of all of them when the last is there.
fn chunked(bytes: &[u8], message: &mut Message) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(line) = line(&bytes[at..])? else {
            return Ok(None);
        };
        let size = chunk_size(line)?;
        at += line.len() + 2;
        if size == 0 {
            break;
        }
        let data = &bytes[at..];
        message.body.extend(&data[..data.len().min(size)]);
        match data.get(size..) {
            Some(after) if after.starts_with(b"\r\n") => at += size + 2,
            Some([] | [b'\r']) | None => return Ok(None),
            Some(_) => return Err("chunk without its CRLF".into()),
        }
    }
    loop {
        let Some(line) = line(&bytes[at..])? else {
            return Ok(None);
        };
        at += line.len() + 2;
        if line.is_empty() {
            return Ok(Some(at));
        }
        message.trailers.0.push(field(line)?);
    }
}

fn chunk_size(line: &[u8]) -> Result<usize, String> {
    let invalid = || format!("chunk size {}", line.escape_ascii());
    let size = match line.iter().position(|&byte| byte == b';') {
        // RFC 9112, section 7.1.1: before an extension there may be white space.
        Some(extension) => trim_end(&line[..extension]),
        None => line,
    };
    if size.is_empty() || !size.iter().all(u8::is_ascii_hexdigit) {
        return Err(invalid());
    }
    if !line.iter().all(|&byte| is_value_byte(byte)) {
        return Err(invalid());
    }
    let digits = str::from_utf8(size).map_err(|_| invalid())?;
    usize::from_str_radix(digits, 16).map_err(|_| invalid())
}

/// The line at the start of `bytes` without its CRLF, once it is there.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, String> {
    match bytes.iter().position(|&byte| byte == b'\n') {
        None => Ok(None),
        Some(at) if at > 0 && bytes[at - 1] == b'\r' => Ok(Some(&bytes[..at - 1])),
        Some(_) => Err("bare LF".into()),
    }
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = find(rest, b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    lines
}

fn field(line: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
    let invalid = || format!("field {}", line.escape_ascii());
    let colon = line.iter().position(|&byte| byte == b':');
    let (name, value) = line.split_at(colon.ok_or_else(invalid)?);
    let value = trim(&value[1..]);
    if !is_token(name) || !value.iter().all(|&byte| is_value_byte(byte)) {
        return Err(invalid());
    }
    Ok((name.to_vec(), value.to_vec()))
}

/// Without optional whitespace (RFC 9110, section 5.6.3) at its ends.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    trim_end(value)
}

fn trim_end(mut value: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn is_token(name: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_tchar)
}

/// What a value may hold but for what ends a line: no control but the tab (RFC 9110, section 5.5).
fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_whole(bytes: &[u8]) -> bool {
        matches!(request(bytes), Reading::Whole(_, length) if length == bytes.len())
    }

    #[test]
    fn reads_requests_in_turn() {
        let (whole, rest) = requests(
            b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\nT: 1\r\n\r\n\
              \r\nGET /b HTTP/1.1\r\nHost:\r\n\r\nGET /c",
        );
        let targets: Vec<_> = whole.iter().map(Message::target).collect();
        assert_eq!(targets, ["/a", "/b"]);
        assert_eq!(whole[0].body, b"ab");
        assert_eq!(whole[0].trailers.get("t").as_deref(), Some("1"));
        assert_eq!(rest, Rest::Partial);
    }

    #[test]
    fn every_prefix_of_a_request_is_partial() {
        let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab";
        let chunked =
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
        for bytes in [&post[..], chunked] {
            assert!(is_whole(bytes));
            for length in 0..bytes.len() {
                let read = request(&bytes[..length]);
                assert!(matches!(read, Reading::Partial(_)), "{length}: {read:?}");
            }
        }
    }

    #[test]
    fn accepts_no_leniency() {
        for head in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"GET  / HTTP/1.1\r\nHost: a\r\n",
            b"GET / HTTP/1.2\r\nHost: a\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n",
            b"GET / HTTP/1.1\r\nHost: a\nA: b\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n",
            b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
        ] {
            let bytes = [head, b"\r\n0\r\n\r\n"].concat();
            let read = request(&bytes);
            let shown = head.escape_ascii();
            assert!(matches!(read, Reading::Invalid(_)), "{shown}: {read:?}");
        }
    }

    #[test]
    fn a_response_that_ends_with_the_connection_needs_its_end() {
        let bytes = b"HTTP/1.1 200 OK\r\n\r\nabc";
        assert!(matches!(response(bytes, "GET", None), Reading::Partial(_)));
        let reset = response(bytes, "GET", Some(End::Reset));
        assert!(matches!(reset, Reading::Partial(_)));
        let closed = response(bytes, "GET", Some(End::Closed));
        assert!(matches!(closed, Reading::Whole(..)));
    }
}
