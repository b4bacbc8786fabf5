//! One request on one connection to a server, until the response has passed.
//!
//! Both directions move in the task of the client connection: whichever socket is ready, this task is woken and moves all
//! that can be moved. What is read is written before more is read, so each direction holds at most one buffer or one pipe,
//! however slow the other side is.

mod client_wait;
mod head;
mod response;

use std::{
    io::{self, ErrorKind},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use crate::http1::Version;
use crate::model::FieldChanges;
use crate::proxy::{
    attempt_policy::AttemptPolicy,
    batching::DeferredWrite,
    client::Client,
    context::WorkerContext,
    deadline::Reached,
    error::{ProxyError, ResponseDefect},
    flow::{Flow, Moved, Stuck, poll_fill},
    headers::{Refusal, Request},
    http1::{
        client_watch::{ClientWatch, ResponseState},
        response_context::ResponseContext,
    },
    retry::AttemptProgress,
    upstream::Connection,
};

use client_wait::ClientWait;
pub(super) use response::{Behind, Response};

/// How long after the last progress the exchange begins to watch whether the client is still there. Watching costs a
/// registration, and most responses are complete before a client would give up.
const UNWATCHED: Duration = Duration::from_millis(50);

/// A request and its response on one connection to a server.
pub(super) struct Exchange<'a> {
    context: &'a WorkerContext,
    client: &'a mut Client,
    to: ResponseContext,
    request: &'a Request,
    upload: &'a mut Flow,
    server: &'a mut Connection,
    response: &'a mut Response,
    policy: &'a AttemptPolicy,
    /// How the route changes the fields of the response.
    changes: Option<&'a FieldChanges>,
    /// Whether the server no longer reads the request. It may still have sent a response.
    refused: bool,
    /// The write of the head that comes next: the request's, then the response's.
    deferred: DeferredWrite,
    waits: Option<Waits>,
    pace: ClientWait,
    watch: Watch,
    client_watch: &'a mut ClientWatch,
}

/// What the exchange waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// The client sends more of its body.
    ClientSends,
    /// The server takes more of it.
    ServerTakes,
    /// The server sends a head.
    Head,
    /// The server sends more of its body.
    ServerSends,
    /// The client takes more of it.
    ClientTakes,
}

/// Whether the exchange watches that the client is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    Off,
    /// From the deadline on.
    Soon,
    On,
}

/// The parameters of an exchange.
pub(super) struct ExchangeParts<'a> {
    pub(super) context: &'a WorkerContext,
    pub(super) client: &'a mut Client,
    pub(super) to: ResponseContext,
    pub(super) request: &'a Request,
    pub(super) upload: &'a mut Flow,
    pub(super) server: &'a mut Connection,
    pub(super) response: &'a mut Response,
    pub(super) policy: &'a AttemptPolicy,
    pub(super) changes: Option<&'a FieldChanges>,
    pub(super) client_watch: &'a mut ClientWatch,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(parts: ExchangeParts<'a>) -> Self {
        let ExchangeParts {
            context,
            client,
            to,
            request,
            upload,
            server,
            response,
            policy,
            changes,
            client_watch,
        } = parts;
        Self {
            context,
            client,
            to,
            request,
            upload,
            server,
            response,
            policy,
            changes,
            refused: false,
            deferred: DeferredWrite::default(),
            waits: None,
            pace: ClientWait::default(),
            watch: Watch::Off,
            client_watch,
        }
    }

    /// Ready when the whole response is written to the client, or the exchange has failed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        // A deferred write is polled again at once, without a wakeup or a deadline.
        ready!(self.deferred.poll(cx, &self.context.batching));
        let before = self.progress();
        let mut waits = self.poll_upload(cx)?;
        match self.poll_response(cx)? {
            Progressed::Done => return Poll::Ready(Ok(())),
            Progressed::Deferred => return Poll::Pending,
            Progressed::Waits(reason) => {
                let undecided = reason == Waits::Head && waits.is_some();
                if !undecided {
                    waits = Some(reason);
                }
            }
        }
        let moved = before != self.progress();
        let waits = waits.unwrap_or(Waits::Head);
        loop {
            if self.watch == Watch::On {
                self.poll_client(cx, moved)?;
            }
            self.arm(waits, moved);
            let reached = ready!(self.client.deadline.poll(cx));
            if reached != Reached::Expired || self.watch != Watch::Soon {
                return Poll::Ready(Err(self.reached(reached, waits)));
            }
            self.watch = Watch::On;
            self.waits = None;
        }
    }

    /// Changes whenever something passes, in either direction.
    fn progress(&self) -> (u64, u64) {
        (self.upload.progress(), self.response.progress())
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<Option<Waits>, ProxyError> {
        let head = &self.request.head;
        if self.refused || self.upload.is_over(head) {
            return Ok(None);
        }
        loop {
            let transport = &mut self.server.transport;
            match self
                .upload
                .advance(cx, transport, head, &mut self.client.buffer)
            {
                Poll::Pending => return Ok(Some(Waits::ServerTakes)),
                Poll::Ready(Ok(Moved::Ended)) => return Ok(None),
                Poll::Ready(Ok(Moved::NeedsMore)) => {}
                Poll::Ready(Err(Stuck::Malformed(defect))) => {
                    return Err(Refusal::Chunks(defect).into());
                }
                Poll::Ready(Err(Stuck::TooLarge)) => {
                    let http = &self.client.listener.policy.http;
                    let limit = http.max_body_bytes.unwrap_or(u64::MAX);
                    return Err(Refusal::BodyTooLarge { limit }.into());
                }
                Poll::Ready(Err(Stuck::Closed)) => {
                    // A response may have arrived already. Reading it decides how the exchange ends.
                    self.refused = true;
                    return Ok(None);
                }
            }
            let Client {
                transport, buffer, ..
            } = &mut *self.client;
            let (buffers, pipes) = (&self.context.buffers, &self.context.pipes);
            match self.upload.poll_fill(cx, transport, buffer, buffers, pipes) {
                Poll::Pending => {
                    let asks_first = self.to.request.expects_continue && self.upload.taken() == 0;
                    let waits = if asks_first {
                        Waits::Head
                    } else {
                        Waits::ClientSends
                    };
                    return Ok(Some(waits));
                }
                Poll::Ready(Ok(0)) => return Err(ProxyError::BodyBroken),
                Poll::Ready(Err(_)) => return Err(ProxyError::ClientGone),
                Poll::Ready(Ok(_)) => {}
            }
        }
    }

    fn poll_response(&mut self, cx: &mut Context<'_>) -> Result<Progressed, ProxyError> {
        let (buffers, pipes) = (&self.context.buffers, &self.context.pipes);
        loop {
            let server = &mut *self.server;
            let (from, buffer) = (&mut server.transport, &mut server.buffer);
            let filled = if let Some(body) = &mut self.response.body {
                if self.deferred.poll(cx, &self.context.batching).is_pending() {
                    return Ok(Progressed::Deferred);
                }
                let client = &mut self.client.transport;
                match body.advance(cx, client, &self.response.head, buffer) {
                    Poll::Pending => return Ok(Progressed::Waits(Waits::ClientTakes)),
                    Poll::Ready(Ok(Moved::Ended)) => return Ok(Progressed::Done),
                    Poll::Ready(Ok(Moved::NeedsMore)) => {}
                    Poll::Ready(Err(Stuck::Malformed(defect))) => {
                        return Err(self.invalid(ResponseDefect::Chunks(defect)));
                    }
                    // The body of a response has no size limit.
                    Poll::Ready(Err(Stuck::Closed | Stuck::TooLarge)) => {
                        return Err(ProxyError::ClientGone);
                    }
                }
                body.poll_fill(cx, from, buffer, buffers, pipes)
            } else {
                if self.poll_interim(cx)?.is_pending() {
                    return Ok(Progressed::Waits(Waits::ClientTakes));
                }
                if self.take_head()? {
                    continue;
                }
                let server = &mut *self.server;
                let (from, buffer) = (&mut server.transport, &mut server.buffer);
                poll_fill(cx, from, buffer, buffers)
            };
            match filled {
                Poll::Pending if self.response.is_here() => {
                    return Ok(Progressed::Waits(Waits::ServerSends));
                }
                Poll::Pending => return Ok(Progressed::Waits(Waits::Head)),
                Poll::Ready(Ok(0)) => self.server_ended(ErrorKind::UnexpectedEof.into())?,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Err(self.closed(error)),
            }
        }
    }

    /// Handles the end of the server's stream, which may be the end of the response body.
    fn server_ended(&mut self, error: io::Error) -> Result<(), ProxyError> {
        self.response.server_keeps = false;
        let body = self.response.body.as_mut();
        if body.is_some_and(Flow::ends_with_connection) {
            return Ok(());
        }
        Err(self.closed(error))
    }

    fn closed(&self, source: io::Error) -> ProxyError {
        let server = self.server.address();
        if self.response.is_here() {
            return ProxyError::Truncated { server, source };
        }
        // A part of a head shows that the server has acted on the request, so this is not a missing response.
        if !self.server.buffer.is_empty() || self.response.interims > 0 {
            return ProxyError::Truncated { server, source };
        }
        let progress = if self.upload.is_unsent() {
            AttemptProgress::Unsent
        } else {
            AttemptProgress::Sent
        };
        ProxyError::Closed {
            server,
            progress,
            source,
        }
    }

    fn invalid(&self, source: ResponseDefect) -> ProxyError {
        ProxyError::InvalidResponse {
            server: self.server.address(),
            source,
        }
    }

    /// Checks that the client is still there, and reads what it sends ahead, as far as there is room.
    fn poll_client(&mut self, cx: &mut Context<'_>, moved: bool) -> Result<(), ProxyError> {
        if self.client_watch.has_seen_end() {
            let response = match (self.response.is_here(), moved) {
                (false, _) => ResponseState::Awaited {
                    // Nothing may come between the parts of another interim response.
                    can_be_probed: self.to.version == Version::Http11
                        && !self.response.is_within_interim(),
                },
                (true, true) => ResponseState::Moved,
                (true, false) => ResponseState::Still,
            };
            return self
                .client_watch
                .poll(cx, &mut self.client.transport, response);
        }
        if !self.may_watch() {
            return Ok(());
        }
        // An earlier attempt or an earlier request may have read the end.
        if self.client.half_closed {
            return self.saw_end(cx);
        }
        let buffer = &mut self.client.buffer;
        if !buffer.is_bare() && buffer.is_full() {
            return Ok(());
        }
        match poll_fill(
            cx,
            &mut self.client.transport,
            buffer,
            &self.context.buffers,
        ) {
            Poll::Pending | Poll::Ready(Ok(1..)) => Ok(()),
            Poll::Ready(Ok(0)) => {
                self.client.half_closed = true;
                self.saw_end(cx)
            }
            Poll::Ready(Err(_)) => Err(ProxyError::ClientGone),
        }
    }

    /// Begins to watch a client that has ended its side.
    fn saw_end(&mut self, cx: &mut Context<'_>) -> Result<(), ProxyError> {
        self.client_watch.saw_end(&self.context.deadlines);
        // Not polled before; this poll registers the task.
        let state = ResponseState::Moved;
        self.client_watch
            .poll(cx, &mut self.client.transport, state)
    }

    /// Whether bytes that the client sends now are no longer a part of the request.
    fn may_watch(&self) -> bool {
        self.upload.is_taken() || self.refused
    }

    fn arm(&mut self, waits: Waits, moved: bool) {
        let policy = self.policy;
        let changed = self.waits != Some(waits);
        if self.waits == Some(Waits::ClientSends) && (changed || moved) {
            self.pace.stop(self.client.deadline.running());
        }
        self.waits = Some(waits);
        match waits {
            // Interim responses do not extend the wait for the final response.
            Waits::Head if changed => self.arm_for(policy.response_header),
            Waits::ServerTakes | Waits::ServerSends | Waits::ClientTakes if changed || moved => {
                self.arm_for(policy.stream_idle);
            }
            Waits::ClientSends if changed || moved => {
                let client = &self.client.listener.policy;
                let left = self.pace.left(
                    self.upload.taken(),
                    client.timeouts.client_body,
                    client.http.body_min_rate,
                );
                self.pace.start(self.client.deadline.running());
                self.arm_for(left.min(policy.stream_idle));
            }
            _ => {}
        }
    }

    /// Sets the deadline to `after` from now, or to when watching the client begins.
    fn arm_for(&mut self, after: Duration) {
        let soon = self.watch != Watch::On && self.may_watch() && after > UNWATCHED;
        if soon {
            self.watch = Watch::Soon;
        } else if self.watch == Watch::Soon {
            self.watch = Watch::Off;
        }
        let after = if soon { UNWATCHED } else { after };
        self.client.deadline.arm(after);
    }

    fn reached(&self, reached: Reached, waits: Waits) -> ProxyError {
        let server = self.server.address();
        match (reached, waits) {
            (Reached::Cut, _) => ProxyError::Removed { server },
            (Reached::Expired, Waits::ClientSends) => ProxyError::BodyTimeout,
            (Reached::Expired, Waits::ServerTakes) => ProxyError::UploadTimeout { server },
            (Reached::Expired, Waits::Head) => ProxyError::ResponseTimeout { server },
            (Reached::Expired, Waits::ServerSends) => ProxyError::StreamTimeout { server },
            (Reached::Expired, Waits::ClientTakes) => ProxyError::ClientStalled,
        }
    }

    /// The status of the response and when it arrived, once there is one.
    pub(super) fn response_started(&self) -> Option<(u16, Instant)> {
        Some((self.response.status, self.response.first_byte?))
    }

    /// Whether the client got the response or a part of it.
    pub(super) fn response_is_sent(&self) -> bool {
        self.response.has_begun()
    }

    /// Counts what has passed since the last call: of the request, and of the response.
    pub(super) fn take_uncounted(&mut self) -> (u64, u64) {
        let response = self.response.body.as_mut();
        (
            self.upload.take_uncounted(),
            response.map_or(0, Flow::take_uncounted),
        )
    }
}

/// How much of a response has passed.
enum Progressed {
    Done,
    /// The head is not written yet: other tasks read first.
    Deferred,
    Waits(Waits),
}
