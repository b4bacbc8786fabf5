//! One request on one connection to a server, until the answer has passed.
//!
//! Both directions move in the task of the client's connection: whatever socket has something, this task is woken and
//! moves all that can be moved. What is read is written before more is read, so each direction holds one buffer at the
//! most, however slow the other side is.

mod answer;
mod half_closed;
mod head;
mod pace;

use std::{
    io::{self, ErrorKind},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use super::{
    bursts::Turn,
    connection::Client,
    deadline::Reached,
    error::{AnswerDefect, ProxyError},
    flow::{Flow, Moved, Stuck, grow_for, poll_fill},
    headers::{Refusal, Request},
    http1::Version,
    response::Asker,
    retry::Progress,
    upstream::Connection,
    worker::Worker,
};

pub(super) use answer::{Answer, Behind};
use half_closed::{AnswerState, HalfClosed};
use pace::Pace;

/// For how long a client is not watched while nothing comes from its server, or after the last that came. Watching is
/// work, and most answers are here before anybody could lose patience.
const UNWATCHED: Duration = Duration::from_millis(50);

/// A request under way to one server.
pub(super) struct Exchange<'a> {
    worker: &'a Worker,
    client: &'a mut Client,
    asker: Asker,
    request: &'a Request,
    upload: &'a mut Flow,
    server: &'a mut Connection,
    answer: &'a mut Answer,
    /// The server no longer takes the request; it may have answered it all the same.
    refused: bool,
    /// Of the head that is to be sent next: the request's, then the answer's.
    turn: Turn,
    waits: Option<Waits>,
    pace: Pace,
    watch: Watch,
    half_closed: Option<HalfClosed>,
}

/// Who has to move next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// The client has to send more of its body.
    ClientSends,
    /// The server has to take more of it.
    ServerTakes,
    /// The server has to answer.
    Head,
    /// The server has to send more of its body.
    ServerSends,
    /// The client has to take more of it.
    ClientTakes,
}

/// Whether it is looked whether the client is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    Off,
    /// From the deadline on.
    Soon,
    On,
}

/// What an exchange is made of.
pub(super) struct Parts<'a> {
    pub(super) worker: &'a Worker,
    pub(super) client: &'a mut Client,
    pub(super) asker: Asker,
    pub(super) request: &'a Request,
    pub(super) upload: &'a mut Flow,
    pub(super) server: &'a mut Connection,
    pub(super) answer: &'a mut Answer,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(parts: Parts<'a>) -> Self {
        let Parts {
            worker,
            client,
            asker,
            request,
            upload,
            server,
            answer,
        } = parts;
        Self {
            worker,
            client,
            asker,
            request,
            upload,
            server,
            answer,
            refused: false,
            turn: Turn::default(),
            waits: None,
            pace: Pace::default(),
            watch: Watch::Off,
            half_closed: None,
        }
    }

    /// Ready when the whole answer is written to the client, or when that cannot be.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        // Whoever stands back is polled again at once: nothing need wake it, and no deadline matters.
        ready!(self.turn.poll(cx, &self.worker.bursts));
        let before = (self.upload.taken(), self.answer.bytes());
        let mut waits = self.poll_upload(cx)?;
        match self.poll_answer(cx)? {
            Came::Done => return Poll::Ready(Ok(())),
            Came::StandsBack => return Poll::Pending,
            Came::Waits(answer) => {
                let undecided = answer == Waits::Head && waits.is_some();
                if !undecided {
                    waits = Some(answer);
                }
            }
        }
        let moved = before != (self.upload.taken(), self.answer.bytes());
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

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<Option<Waits>, ProxyError> {
        let head = &self.request.head;
        if self.refused || self.upload.is_over(head) {
            return Ok(None);
        }
        let buffers = &self.worker.buffers;
        loop {
            let stream = &mut self.server.stream;
            match self
                .upload
                .advance(cx, stream, head, &mut self.client.buffer)
            {
                Poll::Pending => return Ok(Some(Waits::ServerTakes)),
                Poll::Ready(Ok(Moved::Ended)) => return Ok(None),
                Poll::Ready(Ok(Moved::NeedsMore)) => {}
                Poll::Ready(Err(Stuck::Malformed(defect))) => {
                    return Err(Refusal::Chunks(defect).into());
                }
                Poll::Ready(Err(Stuck::TooLarge)) => {
                    let limit = self.worker.http.max_body_bytes.unwrap_or(u64::MAX);
                    return Err(Refusal::BodyTooLarge { limit }.into());
                }
                Poll::Ready(Err(Stuck::Closed)) => {
                    // What it had to say may be here: it is read, and says how this ends.
                    self.refused = true;
                    return Ok(None);
                }
            }
            grow_for(buffers, &mut self.client.buffer);
            match poll_fill(
                cx,
                &mut self.client.stream,
                &mut self.client.buffer,
                buffers,
            ) {
                Poll::Pending => {
                    let asks_first = self.request.expects_continue && self.upload.taken() == 0;
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

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Result<Came, ProxyError> {
        loop {
            let server = &mut *self.server;
            let client = &mut self.client.stream;
            if let Some(body) = &mut self.answer.body {
                if self.turn.poll(cx, &self.worker.bursts).is_pending() {
                    return Ok(Came::StandsBack);
                }
                match body.advance(cx, client, &self.answer.head, &mut server.buffer) {
                    Poll::Pending => return Ok(Came::Waits(Waits::ClientTakes)),
                    Poll::Ready(Ok(Moved::Ended)) => return Ok(Came::Done),
                    Poll::Ready(Ok(Moved::NeedsMore)) => {}
                    Poll::Ready(Err(Stuck::Malformed(defect))) => {
                        return Err(self.invalid(AnswerDefect::Chunks(defect)));
                    }
                    // The answer of a server has no limit.
                    Poll::Ready(Err(Stuck::Closed | Stuck::TooLarge)) => {
                        return Err(ProxyError::ClientGone);
                    }
                }
                grow_for(&self.worker.buffers, &mut server.buffer);
            } else {
                if self.poll_interim(cx)?.is_pending() {
                    return Ok(Came::Waits(Waits::ClientTakes));
                }
                if self.take_head()? {
                    continue;
                }
            }
            let server = &mut *self.server;
            match poll_fill(
                cx,
                &mut server.stream,
                &mut server.buffer,
                &self.worker.buffers,
            ) {
                Poll::Pending if self.answer.is_here() => {
                    return Ok(Came::Waits(Waits::ServerSends));
                }
                Poll::Pending => return Ok(Came::Waits(Waits::Head)),
                Poll::Ready(Ok(0)) => self.server_ended(ErrorKind::UnexpectedEof.into())?,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Err(self.closed(error)),
            }
        }
    }

    /// The server sends no more: the end of the answer, where that is how it ends.
    fn server_ended(&mut self, error: io::Error) -> Result<(), ProxyError> {
        self.answer.server_keeps = false;
        let body = self.answer.body.as_mut();
        if body.is_some_and(Flow::ends_with_connection) {
            return Ok(());
        }
        Err(self.closed(error))
    }

    fn closed(&self, source: io::Error) -> ProxyError {
        let server = self.server.address();
        if self.answer.is_here() {
            return ProxyError::Truncated { server, source };
        }
        // A head that was begun is not an answer that never came: the server has acted on the request.
        if !self.server.buffer.is_empty() || self.answer.interims > 0 {
            return ProxyError::Truncated { server, source };
        }
        let progress = if self.upload.is_unsent() {
            Progress::Unsent
        } else {
            Progress::Sent
        };
        ProxyError::Closed {
            server,
            progress,
            source,
        }
    }

    fn invalid(&self, source: AnswerDefect) -> ProxyError {
        ProxyError::InvalidAnswer {
            server: self.server.address(),
            source,
        }
    }

    /// Looks whether the client is still there, and takes what it sends ahead, as far as there is room.
    fn poll_client(&mut self, cx: &mut Context<'_>, moved: bool) -> Result<(), ProxyError> {
        if let Some(half_closed) = &mut self.half_closed {
            let answer = match (self.answer.is_here(), moved) {
                (false, _) => AnswerState::Awaited {
                    can_be_asked: self.asker.version == Version::Http11,
                },
                (true, true) => AnswerState::Moved,
                (true, false) => AnswerState::Still,
            };
            return half_closed.poll(cx, &self.client.stream, answer);
        }
        if self.client.half_closed || !self.may_watch() {
            return Ok(());
        }
        let buffer = &mut self.client.buffer;
        if !buffer.is_bare() && buffer.is_full() {
            return Ok(());
        }
        match poll_fill(cx, &mut self.client.stream, buffer, &self.worker.buffers) {
            Poll::Pending | Poll::Ready(Ok(1..)) => Ok(()),
            Poll::Ready(Ok(0)) => {
                self.client.half_closed = true;
                let mut half_closed = HalfClosed::new(&self.worker.deadlines);
                // Nothing is known yet, but whom to wake has to be.
                let state = AnswerState::Moved;
                half_closed.poll(cx, &self.client.stream, state)?;
                self.half_closed = Some(half_closed);
                Ok(())
            }
            Poll::Ready(Err(_)) => Err(ProxyError::ClientGone),
        }
    }

    /// Whether what the client sends now is no longer a part of the request.
    fn may_watch(&self) -> bool {
        self.upload.is_taken() || self.refused
    }

    fn arm(&mut self, waits: Waits, moved: bool) {
        let timeouts = &self.worker.timeouts;
        let changed = self.waits != Some(waits);
        if self.waits == Some(Waits::ClientSends) && (changed || moved) {
            self.pace.stop();
        }
        self.waits = Some(waits);
        match waits {
            // Interim answers are no reason to wait longer for the real one.
            Waits::Head if changed => self.arm_for(timeouts.response_header),
            Waits::ServerTakes | Waits::ServerSends | Waits::ClientTakes if changed || moved => {
                self.arm_for(timeouts.stream_idle);
            }
            Waits::ClientSends if changed || moved => {
                let left = self.pace.left(
                    self.upload.taken(),
                    timeouts.client_body,
                    self.worker.http.body_min_rate,
                );
                self.pace.start();
                self.arm_for(left.min(timeouts.stream_idle));
            }
            _ => {}
        }
    }

    /// Sets the deadline to `after` from now, or to when the client is to be watched.
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

    /// The status of the answer, once there is one, and when it came.
    pub(super) fn answered(&self) -> Option<(u16, Instant)> {
        Some((self.answer.status, self.answer.first_byte?))
    }

    /// Counts what has passed since the last call: of the request, and of the answer.
    pub(super) fn take_uncounted(&mut self) -> (u64, u64) {
        let answer = self.answer.body.as_mut();
        (
            self.upload.take_uncounted(),
            answer.map_or(0, Flow::take_uncounted),
        )
    }
}

/// How far an answer came.
enum Came {
    Done,
    /// Others read first.
    StandsBack,
    Waits(Waits),
}
