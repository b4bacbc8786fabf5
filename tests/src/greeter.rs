//! What the `test-server` binary serves.

use std::{
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    Method, Request, Response,
    body::{Frame, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::json;
use tokio_stream::StreamExt as _;

use crate::serve::{Body, response};

/// The paths, for `--help`.
pub const PATHS: &str = "\
Paths:
  /               Hello World
  /large          about 94 KB of text
  /status/CODE    a response of that status
  /delay/250ms    Hello World, that much later (ms or s, at most 60s)
  /echo           method, target, headers and body of the request as JSON
  /bytes/N        N bytes (at most 1 GiB)
  /stream/N       N chunks of a line each (at most 1000000)
  /health         200; after `PUT /health?status=503` that status, from 200 to 599";

const LONGEST_DELAY: Duration = Duration::from_mins(1);
const MOST_BYTES: u64 = 1 << 30;
const MOST_CHUNKS: u64 = 1_000_000;
const LONGEST_ECHO: usize = 16 << 20;
/// The unit of `/bytes/N`.
const BLOCK: usize = 64 << 10;
const LINES_OF_LARGE: usize = 2000;

/// The state of one test-server.
#[derive(Debug)]
pub struct Greeter {
    health: AtomicU16,
    large: Bytes,
}

impl Default for Greeter {
    fn default() -> Self {
        Self {
            health: AtomicU16::new(200),
            large: large(),
        }
    }
}

/// What is wrong with a path, for the client to read.
type Problem = String;

impl Greeter {
    /// Responds to one request.
    pub async fn greet(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let (first, rest) = match path[1.min(path.len())..].split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (&path[1.min(path.len())..], None),
        };
        let completed = match (first, rest) {
            ("", None) => Ok(text("Hello World")),
            ("large", None) => Ok(text(self.large.clone())),
            ("status", Some(code)) => status(code),
            ("delay", Some(time)) => delay(time).await,
            ("echo", _) => echo(request).await,
            ("bytes", Some(count)) => bytes(count),
            ("stream", Some(count)) => stream(count),
            ("health", None) => self.health(&request),
            _ => return response(404, format!("no such path: {path}\n\n{PATHS}\n")),
        };
        completed.unwrap_or_else(|problem| response(400, problem + "\n"))
    }

    fn health(&self, request: &Request<Incoming>) -> Result<Response<Body>, Problem> {
        if request.method() == Method::PUT {
            let query = request.uri().query().unwrap_or_default();
            let status = query
                .strip_prefix("status=")
                .and_then(|code| code.parse().ok());
            let status: u16 = status
                .filter(|status| (200..=599).contains(status))
                .ok_or_else(|| {
                    format!("{query:?} is not status=CODE with a code from 200 to 599")
                })?;
            self.health.store(status, Relaxed);
            return Ok(text(format!("/health responses {status} from now on\n")));
        }
        let status = self.health.load(Relaxed);
        Ok(response(status, format!("health {status}\n")))
    }
}

fn text(body: impl Into<Bytes>) -> Response<Body> {
    let mut response = response(200, body);
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// Numbered lines, so that a piece that is lost or twice there can be seen.
fn large() -> Bytes {
    let line = |number| format!("line {number:04}: the quick brown fox jumps over them\n");
    (1..=LINES_OF_LARGE).map(line).collect::<String>().into()
}

fn number(given: &str, most: u64) -> Result<u64, Problem> {
    let number = given.parse().ok().filter(|number| *number <= most);
    number.ok_or_else(|| format!("{given:?} is not a number from 0 to {most}"))
}

fn status(code: &str) -> Result<Response<Body>, Problem> {
    match code.parse() {
        Ok(status @ 200..=999) => Ok(response(status, format!("status {status}\n"))),
        _ => Err(format!("{code:?} is not a status from 200 to 999")),
    }
}

async fn delay(time: &str) -> Result<Response<Body>, Problem> {
    let parsed = match (time.strip_suffix("ms"), time.strip_suffix('s')) {
        (Some(millis), _) => millis.parse().ok().map(Duration::from_millis),
        (None, Some(seconds)) => seconds.parse().ok().map(Duration::from_secs),
        (None, None) => None,
    };
    let delay = parsed
        .filter(|delay| *delay <= LONGEST_DELAY)
        .ok_or_else(|| format!("{time:?} is not a time such as 250ms or 2s, at most 60s"))?;
    tokio::time::sleep(delay).await;
    Ok(text("Hello World"))
}

async fn echo(request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    let body = http_body_util::Limited::new(body, LONGEST_ECHO)
        .collect()
        .await;
    let body = body
        .map_err(|error| format!("the body could not be read: {error}"))?
        .to_bytes();
    let fields: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let echoed = json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "headers": fields,
        "body": String::from_utf8_lossy(&body),
    });
    let mut response = response(200, format!("{echoed:#}\n"));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

fn bytes(count: &str) -> Result<Response<Body>, Problem> {
    let count = usize::try_from(number(count, MOST_BYTES)?).map_err(|error| error.to_string())?;
    let block = Bytes::from(vec![b'x'; BLOCK.min(count)]);
    let blocks = (0..count.div_ceil(BLOCK))
        .map(move |index| block.slice(..block.len().min(count - index * BLOCK)));
    let body = StreamBody::new(tokio_stream::iter(blocks).map(|block| Ok(Frame::data(block))));
    let mut response = Response::new(body.boxed_unsync());
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_LENGTH, HeaderValue::from(count));
    Ok(response)
}

fn stream(count: &str) -> Result<Response<Body>, Problem> {
    let count = number(count, MOST_CHUNKS)?;
    let chunks = (1..=count).map(|number| Bytes::from(format!("chunk {number}\n")));
    let body = StreamBody::new(tokio_stream::iter(chunks).map(|chunk| Ok(Frame::data(chunk))));
    Ok(Response::new(body.boxed_unsync()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{http1::Framing, origin::Origin, raw};

    fn greeter() -> Origin {
        let greeter = Arc::new(Greeter::default());
        Origin::serve(move |request| {
            let greeter = Arc::clone(&greeter);
            async move { greeter.greet(request).await }
        })
    }

    #[tokio::test]
    async fn serves_its_paths() {
        let origin = greeter();
        let get = async |path| raw::get(origin.address(), path).await;
        assert_eq!(get("/").await.text(), "Hello World");
        assert_eq!(get("/large").await.body.len(), 94_000);
        assert_eq!(get("/status/418").await.status, 418);
        assert_eq!(get("/delay/1ms").await.text(), "Hello World");
        assert_eq!(get("/bytes/100000").await.body.len(), 100_000);
        let streamed = get("/stream/3").await;
        assert_eq!(streamed.framing, Framing::Chunked);
        assert_eq!(streamed.text(), "chunk 1\nchunk 2\nchunk 3\n");
        assert_eq!(get("/nowhere").await.status, 404);
        for bad in ["/status/x", "/delay/1h", "/bytes/-1", "/stream/9999999"] {
            assert_eq!(get(bad).await.status, 400, "{bad}");
        }
    }

    #[tokio::test]
    async fn echoes_a_request() {
        let origin = greeter();
        let echo = raw::request(origin.address(), "PATCH", "/echo?a=%20", "text")
            .await
            .json();
        assert_eq!(echo["method"], "PATCH");
        assert_eq!(echo["target"], "/echo?a=%20");
        assert_eq!(echo["body"], "text");
        assert_eq!(echo["headers"][0][0], "host");
    }

    #[tokio::test]
    async fn health_is_what_it_was_set_to() {
        let origin = greeter();
        assert_eq!(raw::get(origin.address(), "/health").await.status, 200);
        let set = async |query| {
            raw::request(origin.address(), "PUT", &format!("/health?{query}"), "")
                .await
                .status
        };
        assert_eq!(set("status=503").await, 200);
        assert_eq!(set("status=99").await, 400);
        assert_eq!(raw::get(origin.address(), "/health").await.status, 503);
    }
}
