//! One connection of the load.

use std::{net::TcpStream, time::Duration};

use super::{
    response::{Expected, Fault, Reader},
    spec::Shape,
};
use crate::roles::socket::{self, Progress};

/// The bytes of a request, and what is to come back.
#[derive(Debug)]
pub(super) struct Exchange {
    request: Vec<u8>,
    expected: Expected,
}

/// What the connections of a load do.
#[derive(Debug)]
pub(super) struct Script {
    /// Once, on each new connection.
    pub(super) opening: Option<Exchange>,
    /// Again and again.
    pub(super) work: Exchange,
    /// Each on a connection of its own.
    pub(super) reconnects: bool,
}

impl Script {
    pub(super) fn new(shape: Shape, host: &str) -> Self {
        let ask = |bytes, field| {
            let request = format!("GET /bytes/{bytes} HTTP/1.1\r\nHost: {host}\r\n{field}\r\n");
            Exchange {
                request: request.into_bytes(),
                expected: Expected::Response {
                    status: 200,
                    body: bytes,
                },
            }
        };
        let (opening, work) = match shape {
            Shape::Idle => (None, ask(128, "")),
            Shape::Download(bytes) => (None, ask(bytes, "")),
            Shape::Reconnect(bytes) => (None, ask(bytes, "Connection: close\r\n")),
            Shape::Upload(bytes) => (None, upload(bytes, host)),
            Shape::Echo(bytes) => (Some(handshake(host)), message(bytes)),
        };
        Self {
            opening,
            work,
            reconnects: matches!(shape, Shape::Reconnect(_)),
        }
    }
}

fn upload(bytes: usize, host: &str) -> Exchange {
    let head =
        format!("POST /bytes/128 HTTP/1.1\r\nHost: {host}\r\nContent-Length: {bytes}\r\n\r\n");
    let mut request = head.into_bytes();
    request.resize(request.len() + bytes, b'x');
    Exchange {
        request,
        expected: Expected::Response {
            status: 200,
            body: 128,
        },
    }
}

/// Opens a WebSocket with the key of RFC 6455 section 1.3.
fn handshake(host: &str) -> Exchange {
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    Exchange {
        request: request.into_bytes(),
        expected: Expected::Response {
            status: 101,
            body: 0,
        },
    }
}

/// One binary frame (RFC 6455 section 5.2), masked with zeros; the origin sends it back as it is.
fn message(bytes: usize) -> Exchange {
    let length = u16::try_from(bytes).unwrap_or(u16::MAX);
    let mut request = vec![0x82, 0x80 | 0x7e];
    request.extend(length.to_be_bytes());
    request.extend([0; 4]);
    request.resize(request.len() + usize::from(length), b'x');
    let expected = Expected::Bytes(request.len());
    Exchange { request, expected }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    reader: Reader,
    stage: Stage,
    /// Bytes of the request that were sent.
    sent: usize,
    /// When the request was due.
    due: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Free,
    Working,
    /// Waits for the other side to close.
    Leaving,
}

/// What an event came to.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// The connection was opened, or its request completed: it can be used.
    pub(super) free: bool,
    /// When the request was due that is completed now.
    pub(super) completed: Option<Duration>,
    /// The other side closed when nothing more was to come.
    pub(super) left: bool,
}

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the connection was closed before the response was complete")]
    Closed,
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Client {
    /// Takes a new connection into use; its first event is that it can be written to.
    pub(super) fn new(stream: TcpStream, script: &Script) -> Self {
        let stage = match script.opening {
            Some(_) => Stage::Opening,
            None => Stage::Free,
        };
        Self {
            stream,
            reader: Reader::default(),
            stage,
            sent: 0,
            due: Duration::ZERO,
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether the first thing to do is the work.
    pub(super) fn is_free(&self) -> bool {
        self.stage == Stage::Free
    }

    /// Sends the request that was due at `due`.
    pub(super) fn begin(&mut self, script: &Script, due: Duration) -> Result<(), Broken> {
        self.stage = Stage::Working;
        self.sent = 0;
        self.due = due;
        self.send(&script.work)
    }

    fn send(&mut self, exchange: &Exchange) -> Result<(), Broken> {
        while self.sent < exchange.request.len() {
            match socket::write(&self.stream, &exchange.request[self.sent..]) {
                Progress::Moved(moved) => self.sent += moved,
                Progress::Blocked => return Ok(()),
                Progress::Closed => return Err(Broken::Closed),
            }
        }
        Ok(())
    }

    /// Does what an event allows.
    pub(super) fn advance(
        &mut self,
        script: &Script,
        ending: bool,
        chunk: &mut [u8],
    ) -> Result<Step, Broken> {
        let exchange = match (&script.opening, self.stage) {
            (Some(opening), Stage::Opening) => opening,
            _ => &script.work,
        };
        if matches!(self.stage, Stage::Opening | Stage::Working) {
            self.send(exchange)?;
        }
        let mut step = Step::default();
        loop {
            let got = match socket::read(&self.stream, chunk) {
                Progress::Moved(got) => got,
                Progress::Blocked => return Ok(step),
                Progress::Closed if self.stage == Stage::Leaving => {
                    step.left = true;
                    return Ok(step);
                }
                Progress::Closed => return Err(Broken::Closed),
            };
            if matches!(self.stage, Stage::Free | Stage::Leaving) {
                return Err(Fault::Surplus(got).into());
            }
            if self.reader.take(&chunk[..got], exchange.expected)? {
                self.complete(script, &mut step);
            }
            if got < chunk.len() && !ending {
                return Ok(step);
            }
        }
    }

    fn complete(&mut self, script: &Script, step: &mut Step) {
        if self.stage == Stage::Working {
            step.completed = Some(self.due);
        }
        step.free = !script.reconnects;
        self.stage = if script.reconnects {
            Stage::Leaving
        } else {
            Stage::Free
        };
    }
}
