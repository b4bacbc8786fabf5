//! A small strict reader of HTTP/1.1 messages (RFC 9112) that keeps the bytes as they came.
//!
//! Written apart from the parser of the proxy on purpose: two readers that agree say more than one that
//! agrees with itself. It accepts no bare LF, no folded field, no second `Content-Length`, and it tells a
//! truncated message from a complete one.

use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest head and the longest line of a chunk that are read.
const LONGEST_HEAD: usize = 1 << 20;
/// The longest body that is read.
const LONGEST_BODY: usize = 256 << 20;

/// Fields in the order in which they came, bytes as they were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(Vec<u8>, Vec<u8>)>);

impl Fields {
    /// The values of `name`, in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    /// The value of `name`, which may be there once at most.
    #[track_caller]
    pub fn get(&self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        assert!(all.len() < 2, "{name} is there {} times: {self}", all.len());
        all.pop()
    }

    /// Whether `name` is there.
    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            writeln!(f, "{}: {}", name.escape_ascii(), value.escape_ascii())?;
        }
        Ok(())
    }
}

/// How the end of a body was found (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// `Content-Length`.
    Length(usize),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The end of the connection.
    Close,
}

/// The start line and the fields of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The three parts of the start line.
    pub line: [String; 3],
    /// The fields.
    pub fields: Fields,
    /// All of it as it came, the empty line included.
    pub raw: Vec<u8>,
}

/// A request that came whole.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The target, byte for byte (what is not UTF-8 is replaced; see `raw_head`).
    pub target: String,
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// The fields.
    pub fields: Fields,
    /// How the body was framed.
    pub framing: Framing,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The trailer fields of a chunked body.
    pub trailers: Fields,
    /// The head as it came.
    pub raw_head: Vec<u8>,
}

/// A response that came whole.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// The fields.
    pub fields: Fields,
    /// How the body was framed.
    pub framing: Framing,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The trailer fields of a chunked body.
    pub trailers: Fields,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.body[..self.body.len().min(1000)];
        writeln!(f, "{} {} {}", self.version, self.status, self.reason)?;
        write!(f, "{}\n{}", self.fields, shown.escape_ascii())
    }
}

/// Why a message could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// The peer closed before the first byte of a message.
    Closed,
    /// The peer closed, or reset, within a message: what was read of its body (or of its head).
    Truncated(Vec<u8>),
    /// What came is not HTTP/1.1.
    Invalid(String),
    /// The peer reset before the first byte of a message, or the system refused to read.
    Io(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed before the first byte"),
            Self::Truncated(part) => write!(f, "truncated after {} bytes", part.len()),
            Self::Invalid(why) => write!(f, "not HTTP/1.1: {why}"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

/// Reads messages from a stream, and keeps what came after them for the next one.
#[derive(Debug)]
pub struct Reader<R> {
    stream: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// A reader of `stream`.
    pub fn new(stream: R) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// What came and has not been read yet.
    pub fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    /// The stream.
    pub fn get_ref(&self) -> &R {
        &self.stream
    }

    /// The stream. What was read ahead is lost.
    pub fn into_inner(self) -> R {
        self.stream
    }

    /// The stream, to write to.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    /// Reads more into the buffer; 0 at the end of the stream.
    pub async fn fill(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.buffer).await
    }

    /// Reads the head of a message.
    pub async fn head(&mut self) -> Result<Head, ReadError> {
        let raw = self.take_through(b"\r\n\r\n").await?;
        parse_head(raw)
    }

    /// Reads one request whole.
    pub async fn request(&mut self) -> Result<Request, ReadError> {
        let head = self.head().await?;
        let framing = request_framing(&head.fields)?;
        let (body, trailers) = self.body(framing).await?;
        let [method, target, version] = head.line;
        Ok(Request {
            method,
            target,
            version,
            fields: head.fields,
            framing,
            body,
            trailers,
            raw_head: head.raw,
        })
    }

    /// Reads one response to `method` whole; interim ones (1xx) are responses of their own.
    pub async fn response(&mut self, method: &str) -> Result<Response, ReadError> {
        let head = self.head().await?;
        let status = status_of(&head)?;
        let framing = response_framing(method, status, &head.fields)?;
        let (body, trailers) = self.body(framing).await?;
        let [version, _, reason] = head.line;
        Ok(Response {
            status,
            reason,
            version,
            fields: head.fields,
            framing,
            body,
            trailers,
        })
    }

    /// Reads a body that is framed so.
    pub async fn body(&mut self, framing: Framing) -> Result<(Vec<u8>, Fields), ReadError> {
        match framing {
            Framing::None => Ok((Vec::new(), Fields::default())),
            Framing::Length(length) => Ok((self.exactly(length).await?, Fields::default())),
            Framing::Chunked => self.chunked().await,
            Framing::Close => Ok((self.until_end().await?, Fields::default())),
        }
    }

    /// Reads one chunk of a chunked body; an empty one is the last, and its trailers have yet to be read.
    pub async fn chunk(&mut self) -> Result<Vec<u8>, ReadError> {
        let line = self.take_through(b"\r\n").await.map_err(within_message)?;
        let size = str::from_utf8(&line[..line.len() - 2]).unwrap_or("?");
        let size = size.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16)
            .map_err(|_| ReadError::Invalid(format!("chunk size {}", line.escape_ascii())))?;
        if size == 0 {
            return Ok(Vec::new());
        }
        let mut chunk = self.exactly(size + 2).await?;
        if !chunk.ends_with(b"\r\n") {
            return Err(ReadError::Invalid("chunk without its CRLF".into()));
        }
        chunk.truncate(size);
        Ok(chunk)
    }

    async fn chunked(&mut self) -> Result<(Vec<u8>, Fields), ReadError> {
        let mut body = Vec::new();
        loop {
            match self.chunk().await {
                Ok(chunk) if chunk.is_empty() => break,
                Ok(chunk) => body.extend(chunk),
                Err(ReadError::Truncated(part)) => {
                    body.extend(part);
                    return Err(ReadError::Truncated(body));
                }
                Err(error) => return Err(error),
            }
            check_length(body.len())?;
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.take_through(b"\r\n").await.map_err(within_message)?;
            if line == b"\r\n" {
                return Ok((body, Fields(trailers)));
            }
            trailers.push(parse_field(&line[..line.len() - 2])?);
        }
    }

    async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, ReadError> {
        check_length(length)?;
        while self.buffer.len() < length {
            match self.fill().await {
                Ok(1..) => {}
                Ok(0) | Err(_) => {
                    return Err(ReadError::Truncated(std::mem::take(&mut self.buffer)));
                }
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn until_end(&mut self) -> Result<Vec<u8>, ReadError> {
        loop {
            match self.fill().await {
                Ok(0) => return Ok(std::mem::take(&mut self.buffer)),
                Ok(_) => check_length(self.buffer.len())?,
                Err(_) => return Err(ReadError::Truncated(std::mem::take(&mut self.buffer))),
            }
        }
    }

    async fn take_through(&mut self, end: &[u8]) -> Result<Vec<u8>, ReadError> {
        let mut searched = 0;
        loop {
            let found = self.buffer[searched..]
                .windows(end.len())
                .position(|window| window == end);
            if let Some(at) = found {
                return Ok(self.buffer.drain(..searched + at + end.len()).collect());
            }
            searched = self.buffer.len().saturating_sub(end.len() - 1);
            if self.buffer.len() > LONGEST_HEAD {
                return Err(ReadError::Invalid("too long a head or line".into()));
            }
            match self.fill().await {
                Ok(1..) => {}
                Ok(0) if self.buffer.is_empty() => return Err(ReadError::Closed),
                Err(error) if self.buffer.is_empty() => return Err(ReadError::Io(error)),
                Ok(0) | Err(_) => {
                    return Err(ReadError::Truncated(std::mem::take(&mut self.buffer)));
                }
            }
        }
    }
}

/// Within a message the end of the stream is never a clean one.
fn within_message(error: ReadError) -> ReadError {
    match error {
        ReadError::Closed | ReadError::Io(_) => ReadError::Truncated(Vec::new()),
        other => other,
    }
}

fn check_length(length: usize) -> Result<(), ReadError> {
    if length > LONGEST_BODY {
        return Err(ReadError::Invalid(format!("a body of {length} bytes")));
    }
    Ok(())
}

/// The status of a response's head.
pub fn status_of(head: &Head) -> Result<u16, ReadError> {
    let [_, status, _] = &head.line;
    match status.parse() {
        Ok(code @ 100..=999) if status.len() == 3 => Ok(code),
        _ => Err(ReadError::Invalid(format!("status {status:?}"))),
    }
}

fn parse_head(raw: Vec<u8>) -> Result<Head, ReadError> {
    let invalid = |what: &str| ReadError::Invalid(format!("{what}: {}", raw.escape_ascii()));
    let text = &raw[..raw.len() - 4];
    let mut lines = split_crlf(text).into_iter();
    let start = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut parts = start.splitn(3, ' ').map(str::to_owned);
    let (Some(first), Some(second), Some(third)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(invalid("start line of fewer than three parts"));
    };
    let line = [first, second, third];
    if !line.iter().any(|part| part.starts_with("HTTP/1.")) {
        return Err(invalid("start line without a version"));
    }
    let fields = lines.map(parse_field).collect::<Result<_, _>>()?;
    Ok(Head {
        line,
        fields: Fields(fields),
        raw,
    })
}

fn split_crlf(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(2).position(|window| window == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    lines
}

fn parse_field(line: &[u8]) -> Result<(Vec<u8>, Vec<u8>), ReadError> {
    let invalid = |what: &str| ReadError::Invalid(format!("{what}: {}", line.escape_ascii()));
    let colon = line.iter().position(|byte| *byte == b':');
    let colon = colon.ok_or_else(|| invalid("field without a colon"))?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(is_token) {
        return Err(invalid("field name that is not a token"));
    }
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(invalid("field value with CR, LF or NUL"));
    }
    Ok((name.to_vec(), value.to_vec()))
}

fn request_framing(fields: &Fields) -> Result<Framing, ReadError> {
    Ok(declared_framing(fields)?.unwrap_or(Framing::None))
}

/// How the body of a response to `method` is framed.
pub fn response_framing(method: &str, status: u16, fields: &Fields) -> Result<Framing, ReadError> {
    if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) {
        return Ok(Framing::None);
    }
    Ok(declared_framing(fields)?.unwrap_or(Framing::Close))
}

fn declared_framing(fields: &Fields) -> Result<Option<Framing>, ReadError> {
    let lengths = fields.all("content-length");
    let codings = fields.all("transfer-encoding");
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(None),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => length
            .parse()
            .map(|length| Some(Framing::Length(length)))
            .map_err(|_| ReadError::Invalid(format!("Content-Length {length:?}"))),
        _ => Err(ReadError::Invalid(format!(
            "Content-Length {lengths:?} with Transfer-Encoding {codings:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn response(bytes: &[u8]) -> Result<Response, ReadError> {
        Reader::new(bytes).response("GET").await
    }

    #[tokio::test]
    async fn reads_each_framing_and_leaves_the_rest() {
        let mut two = Reader::new(
            &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 404 No\r\n\
               Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nSum: 1\r\n\r\n"[..],
        );
        let first = two.response("GET").await.unwrap();
        assert_eq!((first.status, first.text().as_str()), (200, "ab"));
        let second = two.response("GET").await.unwrap();
        assert_eq!((second.status, second.text().as_str()), (404, "abc"));
        assert_eq!(second.trailers.get("sum").as_deref(), Some("1"));
        assert!(matches!(two.response("GET").await, Err(ReadError::Closed)));

        let to_end = response(b"HTTP/1.1 200 OK\r\n\r\nabc").await.unwrap();
        assert_eq!(
            (to_end.framing, to_end.text().as_str()),
            (Framing::Close, "abc")
        );
    }

    #[tokio::test]
    async fn knows_a_truncated_message() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\nContent-Le"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
        ] {
            let read = response(bytes).await;
            assert!(
                matches!(read, Err(ReadError::Truncated(_))),
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[tokio::test]
    async fn refuses_what_is_ambiguous() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
            b"HTTP/1.1 200 OK\r\nName : value\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\nB: c\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"nonsense\r\n\r\n",
        ] {
            let read = response(bytes).await;
            assert!(
                matches!(read, Err(ReadError::Invalid(_))),
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[tokio::test]
    async fn a_response_to_head_has_no_body() {
        let bytes = &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"[..];
        let head = Reader::new(bytes).response("HEAD").await.unwrap();
        assert_eq!(head.framing, Framing::None);
        assert_eq!(head.fields.get("content-length").as_deref(), Some("5"));
    }
}
