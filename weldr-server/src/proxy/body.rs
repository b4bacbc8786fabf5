//! Bodies on their way through: counted, bounded in time, and giving back what they hold when they end.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    deadline::{Deadline, Reached},
    tally::{AttemptTally, RequestTally},
    upstream::Connection,
};

/// How the body of a request is getting on, for who waits for the answer.
#[derive(Default)]
pub(super) struct Upload {
    bytes: Cell<u64>,
    moved: Cell<bool>,
    ended: Cell<bool>,
    broken: Cell<bool>,
    waits_for_client: Cell<bool>,
}

impl Upload {
    /// Whether a part has passed since the last call.
    pub(super) fn take_moved(&self) -> bool {
        self.moved.take()
    }

    /// Whether all of it has passed.
    pub(super) fn ended(&self) -> bool {
        self.ended.get()
    }

    /// Whether the client broke it off.
    pub(super) fn broken(&self) -> bool {
        self.broken.get()
    }

    /// Whether the next part has to come from the client; otherwise the server has to take the last one.
    pub(super) fn waits_for_client(&self) -> bool {
        self.waits_for_client.get()
    }

    /// The bytes that passed since the last call.
    pub(super) fn take_bytes(&self) -> u64 {
        self.bytes.take()
    }
}

/// The body of a request on its way to a server.
pub(super) enum RequestBody {
    /// There is none.
    Empty,
    /// The client's.
    Client {
        /// Where it comes from.
        incoming: Incoming,
        /// Who wants to know.
        upload: Rc<Upload>,
    },
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self::Client { incoming, upload } = self.get_mut() else {
            return Poll::Ready(None);
        };
        upload.waits_for_client.set(true);
        let frame = ready!(Pin::new(incoming).poll_frame(cx));
        upload.waits_for_client.set(false);
        upload.moved.set(true);
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                upload.bytes.set(upload.bytes.get() + length as u64);
            }
            Some(Err(_)) => upload.broken.set(true),
            None => upload.ended.set(true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client { incoming, upload } => {
                let ended = incoming.is_end_stream();
                upload.ended.set(upload.ended.get() || ended);
                ended
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client { incoming, .. } => incoming.size_hint(),
        }
    }
}

/// The body of an answer on its way to a client.
pub(super) enum ResponseBody {
    /// Ours, whole; or none.
    Whole {
        /// What is left of it.
        bytes: Option<Bytes>,
        /// Ends with it.
        _request: RequestTally,
    },
    /// A server's.
    Server(Box<ServerBody>),
}

impl ResponseBody {
    /// A body that is here already.
    pub(super) fn whole(bytes: Bytes, request: RequestTally) -> Self {
        Self::Whole {
            bytes: Some(bytes).filter(|bytes| !bytes.is_empty()),
            _request: request,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole { bytes, .. } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Server(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { bytes, .. } => bytes.is_none(),
            Self::Server(body) => body.exchange.is_none() && body.broken.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { bytes, .. } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Server(body) => body.incoming.size_hint(),
        }
    }
}

/// A server's body, and everything that is in use for as long as it runs.
pub(super) struct ServerBody {
    incoming: Incoming,
    exchange: Option<Exchange>,
    /// Why the answer was broken off, until it is told.
    broken: Option<io::Error>,
    idle_timeout: Duration,
}

/// What an answer in progress holds.
pub(super) struct Exchange {
    pub(super) request: RequestTally,
    pub(super) attempt: AttemptTally,
    pub(super) connection: Connection,
    pub(super) deadline: Deadline,
    pub(super) upload: Option<Rc<Upload>>,
}

impl ServerBody {
    /// The body `incoming`, whose parts may be `idle_timeout` apart.
    pub(super) fn new(incoming: Incoming, exchange: Exchange, idle_timeout: Duration) -> Self {
        exchange.deadline.arm(idle_timeout);
        Self {
            incoming,
            exchange: Some(exchange),
            broken: None,
            idle_timeout,
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(exchange) = &mut self.exchange else {
            return Poll::Ready(self.broken.take().map(Err));
        };
        let mut frame = Pin::new(&mut self.incoming).poll_frame(cx);
        if frame.is_pending() {
            // The connection has no task of its own: it moves when its body is asked for.
            exchange.connection.drive(cx);
            frame = Pin::new(&mut self.incoming).poll_frame(cx);
        }
        exchange.count_upload();
        match frame {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                exchange.attempt.counters().bytes_received.add(length);
                exchange.request.counters().bytes_sent.add(length);
                exchange.deadline.arm(self.idle_timeout);
                if self.incoming.is_end_stream() {
                    self.end(cx);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.break_off(error, cx),
            Poll::Ready(None) => {
                self.end(cx);
                Poll::Ready(None)
            }
            Poll::Pending => {
                let reached = ready!(exchange.deadline.poll(cx));
                let why = match reached {
                    Reached::Expired => "the server stopped sending its answer",
                    Reached::Cut => "the server was removed, and its deadline is over",
                };
                self.break_off(why, cx)
            }
        }
    }

    /// The whole answer has passed.
    fn end(&mut self, cx: &mut Context<'_>) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.connection.drive(cx);
            exchange.give_back();
        }
    }

    /// The server's fault: the client sees an answer that is cut short, never one that looks whole.
    ///
    /// hyper throws away what it has not written when a body fails. So the failure is told one turn later: in
    /// between, hyper writes what has come, and the client sees a cut answer instead of none, which it might take
    /// for leave to repeat its request.
    fn break_off(
        &mut self,
        why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.attempt.failed();
            exchange.request.broken_off();
        }
        self.broken = Some(io::Error::other(why));
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Exchange {
    /// Counts what has passed of the request's body.
    pub(super) fn count_upload(&self) {
        if let Some(upload) = &self.upload {
            let bytes = upload.take_bytes();
            self.attempt.counters().bytes_sent.add(bytes);
            self.request.counters().bytes_received.add(bytes);
        }
    }

    /// The answer is complete: lets the next request have the connection, when it is fit for one.
    pub(super) fn give_back(self) -> RequestTally {
        self.count_upload();
        let upstream = Rc::clone(self.attempt.upstream());
        upstream.release(self.connection);
        self.request
    }
}
