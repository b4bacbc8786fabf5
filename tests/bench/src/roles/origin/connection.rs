//! One connection to the origin.

use std::{net::TcpStream, rc::Rc};

use super::{
    Responses,
    request::{self, Request},
};
use crate::roles::{
    poller::Ready,
    socket::{self, Progress},
};

/// The longest head of a request.
const MAX_HEAD: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// The begin of a head whose end has not come.
    head: Vec<u8>,
    stage: Stage,
    /// What is being sent, and how much of it was.
    sending: Option<(Rc<[u8]>, usize)>,
    /// Ends when everything is sent.
    last: bool,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// The head of a request is next.
    Head,
    /// So much of a body is to come, and then a response of so many bytes is due.
    Body { left: usize, response: usize },
    /// What comes is sent back.
    Echo,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            head: Vec::new(),
            stage: Stage::Head,
            sending: None,
            last: false,
        }
    }

    /// Does what can be done; false when the connection is over.
    pub(super) fn advance(
        &mut self,
        ready: Ready,
        responses: &mut Responses,
        chunk: &mut [u8],
    ) -> bool {
        let had_to_wait = self.sending.is_some();
        if had_to_wait && !self.send() {
            return false;
        }
        // What came while this connection could not send was left in the socket.
        if !(ready.readable || had_to_wait) {
            return true;
        }
        while self.sending.is_none() {
            let got = match socket::read(&self.stream, chunk) {
                Progress::Moved(got) => got,
                Progress::Blocked => return true,
                Progress::Closed => return false,
            };
            if !self.take(&chunk[..got], responses) {
                return false;
            }
            // A short read has emptied the socket.
            if got < chunk.len() && !ready.ending {
                return true;
            }
        }
        true
    }

    fn take(&mut self, mut bytes: &[u8], responses: &mut Responses) -> bool {
        while !bytes.is_empty() {
            match &mut self.stage {
                Stage::Echo => return self.response(bytes.into()),
                Stage::Body { left, response } => {
                    let taken = bytes.len().min(*left);
                    bytes = &bytes[taken..];
                    *left -= taken;
                    let (left, response) = (*left, *response);
                    if left == 0 {
                        self.stage = Stage::Head;
                        if !self.response(responses.of(response)) {
                            return false;
                        }
                    }
                }
                Stage::Head => match self.take_head(bytes) {
                    Ok(Some((request, rest))) => {
                        bytes = &bytes[bytes.len() - rest..];
                        if !self.begin(request, responses) {
                            return false;
                        }
                    }
                    Ok(None) => return true,
                    Err(_) => return false,
                },
            }
        }
        true
    }

    /// The request whose head ends in `bytes`, and how many bytes follow it.
    fn take_head(&mut self, bytes: &[u8]) -> Result<Option<(Request, usize)>, request::Malformed> {
        let parsed = if self.head.is_empty() {
            request::parse(bytes)?
        } else {
            self.head.extend_from_slice(bytes);
            request::parse(&self.head)?
        };
        let Some((request, length)) = parsed else {
            if self.head.is_empty() {
                self.head.extend_from_slice(bytes);
            }
            let fits = self.head.len() <= MAX_HEAD;
            return if fits {
                Ok(None)
            } else {
                Err(request::Malformed)
            };
        };
        let all = self.head.len().max(bytes.len());
        self.head.clear();
        Ok(Some((request, all - length)))
    }

    fn begin(&mut self, request: Request, responses: &mut Responses) -> bool {
        self.last = request.last;
        if request.upgrade {
            self.stage = Stage::Echo;
            return self.response(request::SWITCHING.into());
        }
        if request.body == 0 {
            return self.response(responses.of(request.response));
        }
        self.stage = Stage::Body {
            left: request.body,
            response: request.response,
        };
        true
    }

    /// Sends, after what is still being sent.
    fn response(&mut self, bytes: Rc<[u8]>) -> bool {
        self.sending = Some(match self.sending.take() {
            None => (bytes, 0),
            Some((before, sent)) => ([&before[sent..], &bytes].concat().into(), 0),
        });
        self.send()
    }

    fn send(&mut self) -> bool {
        while let Some((bytes, sent)) = &mut self.sending {
            match socket::write(&self.stream, &bytes[*sent..]) {
                Progress::Moved(moved) => *sent += moved,
                Progress::Blocked => return true,
                Progress::Closed => return false,
            }
            if *sent == bytes.len() {
                self.sending = None;
                return !self.last;
            }
        }
        true
    }
}
