//! One request on one connection to a server, until the answer has passed.
//!
//! Both directions move in the task of the client's connection: whatever socket has something, this task is woken and
//! moves all that can be moved. What is read is written before more is read, so each direction holds one buffer at the
//! most, however slow the other side is.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{io::AsyncWrite as _, net::TcpStream};

use super::{
    connection::Client,
    deadline::{Deadline, Reached},
    error::{AnswerDefect, ProxyError},
    flow::{Flow, Moved, Stuck, grow_for, poll_fill},
    headers::{AnswerHead, ClientFraming, Request, close_option, write_answer, write_interim},
    http1::{
        AnswerFraming, Decoder, HeadDefect, HeadLimits, Known, ResponseHead, Version,
        answer_framing, end_of_head, parse_response,
    },
    response::Asker,
    retry::Progress,
    trailers,
    upstream::Connection,
    worker::Worker,
};

/// Interim answers to one request; nobody has use for more.
const MOST_INTERIM: u32 = 32;
/// How long after the end of what a client sends it is asked whether it is still there.
const GRACE: Duration = Duration::from_millis(250);
/// How long an answer may stand still behind the end of what its client sends. Then it counts as gone: within an
/// answer, nobody can be asked.
const STILL: Duration = Duration::from_secs(1);
/// How often it is looked whether it was.
const LOOK: Duration = Duration::from_millis(50);
/// An interim answer that every client has to skip (RFC 9110, section 15.2), and that one who is gone resets.
const PROBE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

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
    waits: Option<Waits>,
    pace: Pace,
    half_closed: Option<HalfClosed>,
}

/// What is known of an answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// What the client gets before the body: interim answers, and the head.
    pub(super) head: Vec<u8>,
    /// How much of interim answers is written.
    interim_written: usize,
    interims: u32,
    searched: usize,
    body: Option<Flow>,
    /// 0 until there is one.
    pub(super) status: u16,
    /// When the head was here.
    pub(super) first_byte: Option<Instant>,
    /// Whether the server keeps the connection, and nothing is odd about it.
    pub(super) server_keeps: bool,
    /// Whether the client was told that its connection ends.
    pub(super) closes: bool,
    /// Whether the connection is a tunnel now.
    pub(super) switches: bool,
    /// Whether the end of the answer is the end of the client's connection.
    pub(super) until_close: bool,
}

impl Answer {
    /// None yet. `head`: where it is written to.
    pub(super) fn new(mut head: Vec<u8>) -> Self {
        head.clear();
        Self {
            head,
            ..Self::default()
        }
    }

    /// Whether the client has been promised an answer of the server, so that it cannot get another.
    pub(super) fn has_begun(&self) -> bool {
        self.body.is_some()
    }

    /// Bytes of the body so far.
    pub(super) fn bytes(&self) -> u64 {
        self.body.as_ref().map_or(0, Flow::taken)
    }
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

/// How long the client has been waited for, all in all.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    since: Option<Instant>,
}

/// A client that sends no more: it may only have nothing to send, or be gone altogether.
struct HalfClosed {
    deadline: Deadline,
    asked: bool,
    /// For how long the answer has stood still.
    still: Duration,
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
            waits: None,
            pace: Pace::default(),
            half_closed: None,
        }
    }

    /// Ready when the whole answer is written to the client, or when that cannot be.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        let before = (self.upload.taken(), self.answer.bytes());
        let mut waits = self.poll_upload(cx)?;
        match self.poll_answer(cx)? {
            Came::Done => return Poll::Ready(Ok(())),
            Came::Waits(answer) => {
                let undecided = answer == Waits::Head && waits.is_some();
                if !undecided {
                    waits = Some(answer);
                }
            }
        }
        let moved = before != (self.upload.taken(), self.answer.bytes());
        self.poll_client(cx, moved)?;
        let waits = waits.unwrap_or(Waits::Head);
        self.arm(waits, moved);
        let reached = ready!(self.client.deadline.poll(cx));
        Poll::Ready(Err(self.reached(reached, waits)))
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
                    return Err(super::headers::Refusal::Chunks(defect).into());
                }
                Poll::Ready(Err(Stuck::Closed)) => {
                    // What it had to say may be here: it is read, and says how this ends.
                    self.refused = true;
                    return Ok(None);
                }
            }
            self.check_size()?;
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

    fn check_size(&self) -> Result<(), ProxyError> {
        match self.worker.http.max_body_bytes {
            Some(limit) if self.upload.taken() > limit => {
                Err(super::headers::Refusal::BodyTooLarge { limit }.into())
            }
            _ => Ok(()),
        }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Result<Came, ProxyError> {
        loop {
            let server = &mut *self.server;
            let client = &mut self.client.stream;
            if let Some(body) = &mut self.answer.body {
                match body.advance(cx, client, &self.answer.head, &mut server.buffer) {
                    Poll::Pending => return Ok(Came::Waits(Waits::ClientTakes)),
                    Poll::Ready(Ok(Moved::Ended)) => return Ok(Came::Done),
                    Poll::Ready(Ok(Moved::NeedsMore)) => {}
                    Poll::Ready(Err(Stuck::Malformed(defect))) => {
                        return Err(self.invalid(AnswerDefect::Chunks(defect)));
                    }
                    Poll::Ready(Err(Stuck::Closed)) => return Err(ProxyError::ClientGone),
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
                Poll::Pending if self.answer.has_begun() => {
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
        let server = self.server.address;
        if self.answer.has_begun() {
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
            server: self.server.address,
            source,
        }
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, ProxyError> {
        let answer = &mut *self.answer;
        while answer.interim_written < answer.head.len() {
            let rest = &answer.head[answer.interim_written..];
            match Pin::new(&mut self.client.stream).poll_write(cx, rest) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Ok(written)) if written > 0 => answer.interim_written += written,
                Poll::Ready(_) => return Err(ProxyError::ClientGone),
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Takes a head from what the server sent; false when it is not all there.
    fn take_head(&mut self) -> Result<bool, ProxyError> {
        let limits = self.worker.head_limits();
        let filled = self.server.buffer.filled();
        let head = |defect| AnswerDefect::Head(defect);
        let end = end_of_head(filled, &mut self.answer.searched)
            .map_err(|defect| self.invalid(head(defect)))?;
        if end.unwrap_or(filled.len()) > limits.bytes {
            return Err(self.invalid(head(HeadDefect::TooLarge)));
        }
        let Some(end) = end else {
            if !filled.starts_with(&b"HTTP/"[..filled.len().min(5)]) {
                return Err(self.invalid(head(HeadDefect::StatusLine)));
            }
            let buffer = &mut self.server.buffer;
            if !buffer.is_bare() && buffer.space().is_empty() {
                buffer.compact();
                let more = (buffer.capacity() * 2).min(limits.bytes + 1);
                self.worker.buffers.grow(buffer, more);
            }
            return Ok(false);
        };
        self.answer.searched = 0;
        self.receive(end, limits)?;
        self.server.buffer.consume(end);
        Ok(true)
    }

    fn receive(&mut self, end: usize, limits: HeadLimits) -> Result<(), ProxyError> {
        let head = &self.server.buffer.filled()[..end];
        let mut fields = self.worker.fields.borrow_mut();
        let response = parse_response(head, limits, &mut fields)
            .map_err(|defect| self.invalid(AnswerDefect::Head(defect)))?;
        if response.status < 200 && response.status != 101 {
            self.answer.interims += 1;
            if self.answer.interims > MOST_INTERIM {
                return Err(self.invalid(AnswerDefect::TooManyInterim));
            }
            // RFC 9110, section 15.2: HTTP/1.0 has none.
            if self.asker.version == Version::Http11 {
                write_interim(&mut self.answer.head, head, &response, &fields);
            }
            return Ok(());
        }
        let switches = response.status == 101;
        if switches && !(self.request.upgrades && self.upload.is_over(&self.request.head)) {
            return Err(self.invalid(AnswerDefect::UnrequestedUpgrade));
        }
        let framing = answer_framing(
            head,
            &fields,
            response.version,
            response.status,
            self.asker.to_head,
        )
        .map_err(|defect| self.invalid(AnswerDefect::Framing(defect)))?;
        let keeps = !close_option(head, &fields, response.version);
        let client_framing = self.client_framing(framing, &response);
        let until_close = client_framing == ClientFraming::UntilClose;
        let closes = until_close || self.must_close(response.status, keeps);
        let is_dated = fields.iter().any(|field| field.known == Known::Date);
        let date = (!is_dated).then(|| self.worker.date());
        let how = AnswerHead {
            framing: client_framing,
            client: self.asker.version,
            close: closes,
            switches,
            date: date.as_ref().map(<[u8; 29]>::as_slice),
        };
        write_answer(&mut self.answer.head, head, &response, &fields, &how);
        let trailers = self
            .request
            .takes_trailers
            .then_some(trailers::of_answer as fn(&[u8]) -> _);
        let chunked = client_framing == ClientFraming::Chunked;
        let mut body = Flow::new(Decoder::from(framing), chunked, trailers);
        body.head_is_written_up_to(self.answer.interim_written);
        let odd = matches!(
            framing,
            AnswerFraming::None { odd: true } | AnswerFraming::UntilClose
        );
        self.answer.body = Some(body);
        self.answer.status = response.status;
        self.answer.first_byte = Some(Instant::now());
        self.answer.server_keeps = keeps && !odd;
        self.answer.closes = closes;
        self.answer.switches = switches;
        self.answer.until_close = until_close;
        Ok(())
    }

    fn client_framing(&self, framing: AnswerFraming, response: &ResponseHead) -> ClientFraming {
        match framing {
            AnswerFraming::None { .. } if self.asker.to_head || response.status == 304 => {
                ClientFraming::AsGiven
            }
            AnswerFraming::None { .. } => ClientFraming::None,
            AnswerFraming::Length(_) => ClientFraming::AsGiven,
            AnswerFraming::Chunked | AnswerFraming::UntilClose => match self.asker.version {
                Version::Http11 => ClientFraming::Chunked,
                Version::Http10 => ClientFraming::UntilClose,
            },
        }
    }

    /// Whether the client has to be told that its connection ends: also when the server has lost interest in a body
    /// that is still coming, because nobody could say where the next request begins.
    fn must_close(&self, status: u16, server_keeps: bool) -> bool {
        let lost_interest = !self.upload.is_taken()
            && (status >= 300 || !server_keeps || self.request.expects_continue);
        !self.request.keep_alive || lost_interest || self.worker.is_draining()
    }

    /// Looks whether the client is still there, and takes what it sends ahead, as far as there is room.
    fn poll_client(&mut self, cx: &mut Context<'_>, moved: bool) -> Result<(), ProxyError> {
        if let Some(half_closed) = &mut self.half_closed {
            let answer = match (self.answer.has_begun(), moved) {
                (false, _) => AnswerState::Awaited {
                    can_be_asked: self.asker.version == Version::Http11,
                },
                (true, true) => AnswerState::Moved,
                (true, false) => AnswerState::Still,
            };
            return half_closed.poll(cx, &self.client.stream, answer);
        }
        if self.client.half_closed || !(self.upload.is_taken() || self.refused) {
            return Ok(());
        }
        let buffer = &mut self.client.buffer;
        if !buffer.is_bare() && buffer.space().is_empty() {
            return Ok(());
        }
        match poll_fill(cx, &mut self.client.stream, buffer, &self.worker.buffers) {
            Poll::Pending | Poll::Ready(Ok(1..)) => Ok(()),
            Poll::Ready(Ok(0)) => {
                self.client.half_closed = true;
                let deadline = self.worker.deadlines.register();
                deadline.arm(GRACE);
                let half_closed = HalfClosed {
                    deadline,
                    asked: false,
                    still: Duration::ZERO,
                };
                // It has to be known whom to wake.
                half_closed.deadline.poll(cx).is_ready();
                self.half_closed = Some(half_closed);
                Ok(())
            }
            Poll::Ready(Err(_)) => Err(ProxyError::ClientGone),
        }
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
            Waits::Head if changed => self.client.deadline.arm(timeouts.response_header),
            Waits::ServerTakes | Waits::ServerSends | Waits::ClientTakes if changed || moved => {
                self.client.deadline.arm(timeouts.stream_idle);
            }
            Waits::ClientSends if changed || moved => {
                let left = self.pace.left(
                    self.upload.taken(),
                    timeouts.client_body,
                    self.worker.http.body_min_rate,
                );
                self.pace.since = Some(Instant::now());
                self.client.deadline.arm(left.min(timeouts.stream_idle));
            }
            _ => {}
        }
    }

    fn reached(&self, reached: Reached, waits: Waits) -> ProxyError {
        let server = self.server.address;
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
    Waits(Waits),
}

impl Pace {
    fn stop(&mut self) {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
    }

    /// How long the client may be waited for until its next part: it has `grace`, and what its bytes take at
    /// `min_rate` bytes a second. 0 asks for nothing.
    fn left(&self, bytes: u64, grace: Duration, min_rate: u64) -> Duration {
        match bytes.checked_div(min_rate) {
            None => Duration::MAX,
            Some(earned) => (grace + Duration::from_secs(earned)).saturating_sub(self.waited),
        }
    }
}

impl HalfClosed {
    /// Finds out whether a client that sends no more is gone. One that waits for its answer is sent an interim answer,
    /// which it has to skip; one that is gone resets the connection.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &TcpStream,
        answer: AnswerState,
    ) -> Result<(), ProxyError> {
        if answer == AnswerState::Moved {
            self.still = Duration::ZERO;
        }
        while self.deadline.poll(cx).is_ready() {
            self.deadline.arm(LOOK);
            match answer {
                AnswerState::Awaited { can_be_asked: true } if !self.asked => {
                    self.asked = true;
                    // Whether it is taken is seen by the error that follows.
                    let _ = client.try_write(PROBE);
                }
                AnswerState::Still => self.still += LOOK,
                AnswerState::Awaited { .. } | AnswerState::Moved => {}
            }
            if self.still >= STILL || !matches!(client.take_error(), Ok(None)) {
                return Err(ProxyError::ClientGone);
            }
        }
        Ok(())
    }
}

/// How an answer is getting on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerState {
    /// HTTP/1.0 knows no interim answers.
    Awaited {
        can_be_asked: bool,
    },
    Moved,
    Still,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_client_earns_its_time_by_its_bytes() {
        let grace = Duration::from_secs(10);
        let mut pace = Pace::default();
        assert_eq!(pace.left(0, grace, 500), grace);
        pace.waited = Duration::from_secs(9);
        assert_eq!(pace.left(0, grace, 500), Duration::from_secs(1));
        assert_eq!(pace.left(1000, grace, 500), Duration::from_secs(3));
        pace.waited = Duration::from_secs(60);
        assert_eq!(pace.left(1000, grace, 500), Duration::ZERO);
        assert_eq!(pace.left(0, grace, 0), Duration::MAX);
    }
}
