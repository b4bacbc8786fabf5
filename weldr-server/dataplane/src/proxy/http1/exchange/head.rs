//! The heads of responses, from the server's bytes to the client's.

use std::{
    task::{Context, Poll},
    time::Instant,
};

use crate::http1::{
    AnswerFraming, Decoder, Field, HeadDefect, HeadLimits, Known, ResponseHead, Version,
    answer_framing, elements, end_of_head, parse_response,
};
use crate::proxy::{
    batching::DeferredWrite,
    error::{ProxyError, ResponseDefect},
    flow::Flow,
    headers::{AnswerHead, ClientFraming, ConnectionOptions, write_answer, write_interim},
    trailers::Trailers,
    transport::Cork,
};

use super::{Exchange, response::Behind};

/// Interim responses that a server may send to one request.
const MAX_INTERIM: u32 = 32;

impl Exchange<'_> {
    pub(super) fn poll_interim(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, ProxyError> {
        let response = &mut *self.response;
        while response.interim_written < response.head.len() {
            let rest = &response.head[response.interim_written..];
            match self.client.transport.poll_write(cx, rest, Cork::Off) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Ok(written)) if written > 0 => response.interim_written += written,
                Poll::Ready(_) => return Err(ProxyError::ClientGone),
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Takes a head from what the server sent; false when it is not all there.
    pub(super) fn take_head(&mut self) -> Result<bool, ProxyError> {
        let limits = self.context.head_limits();
        let filled = self.server.buffer.filled();
        let head = |defect| ResponseDefect::Head(defect);
        let end = end_of_head(filled, &mut self.response.searched)
            .map_err(|defect| self.invalid(head(defect)))?;
        if end.unwrap_or(filled.len()) > limits.bytes {
            return Err(self.invalid(head(HeadDefect::TooLarge)));
        }
        let Some(end) = end else {
            if !filled.starts_with(&b"HTTP/"[..filled.len().min(5)]) {
                return Err(self.invalid(head(HeadDefect::StatusLine)));
            }
            let buffer = &mut self.server.buffer;
            if !buffer.is_bare() && buffer.is_full() {
                buffer.compact();
                let more = (buffer.capacity() * 2).min(limits.bytes + 1);
                self.context.buffers.grow(buffer, more);
            }
            return Ok(false);
        };
        self.response.searched = 0;
        self.receive(end, limits)?;
        self.server.buffer.consume(end);
        Ok(true)
    }

    fn receive(&mut self, end: usize, limits: HeadLimits) -> Result<(), ProxyError> {
        let head = &self.server.buffer.filled()[..end];
        let mut fields = self.context.fields.borrow_mut();
        let response = parse_response(head, limits, &mut fields)
            .map_err(|defect| self.invalid(ResponseDefect::Head(defect)))?;
        if response.status < 200 && response.status != 101 {
            self.response.interims += 1;
            if self.response.interims > MAX_INTERIM {
                return Err(self.invalid(ResponseDefect::TooManyInterim));
            }
            // RFC 9110, section 15.2: HTTP/1.0 has none.
            if self.accepts.version == Version::Http11 {
                write_interim(&mut self.response.head, head, &response, &fields);
            }
            return Ok(());
        }
        let switches = response.status == 101;
        let may_switch = || self.upload.is_over(&self.request.head) && self.offered(head, &fields);
        if switches && !may_switch() {
            return Err(self.invalid(ResponseDefect::UnrequestedUpgrade));
        }
        let (framing, client_framing) = self.framing(head, &fields, &response)?;
        let options = ConnectionOptions::of(head, &fields);
        let keeps = !options.end_connection(response.version);
        let until_close = client_framing == ClientFraming::UntilClose;
        let closes = until_close || self.must_close(response.status, keeps);
        let is_dated = fields.iter().any(|field| field.known == Known::Date);
        let date = (!is_dated).then(|| self.context.date());
        let how = AnswerHead {
            options: &options,
            framing: client_framing,
            client: self.accepts.version,
            close: closes,
            switches,
            date: date.as_ref().map(<[u8; 29]>::as_slice),
        };
        write_answer(&mut self.response.head, head, &response, &fields, &how);
        let trailers = Trailers::OfAnswer {
            wanted: self.request.takes_trailers,
        };
        let chunked = client_framing == ClientFraming::Chunked;
        let mut body = Flow::new(Decoder::from(framing), chunked, trailers);
        if closes && !switches {
            body.ends_its_connection();
        }
        body.head_is_written_up_to(self.response.interim_written);
        let odd = matches!(
            framing,
            AnswerFraming::None { odd: true } | AnswerFraming::UntilClose
        );
        self.response.body = Some(body);
        self.deferred = DeferredWrite::of(&self.server.buffer);
        self.response.status = response.status;
        self.response.first_byte = Some(Instant::now());
        self.response.server_keeps = keeps && !odd && !self.ends_with_get_connection(&fields);
        self.response.closes = closes;
        self.response.behind = match (switches, until_close) {
            (true, _) => Behind::Tunnel,
            (false, true) => Behind::UntilClose,
            (false, false) => Behind::Body,
        };
        Ok(())
    }

    /// Whether the response to the same request with GET would end with the connection. Servers close the connection after
    /// the response to HEAD too, a moment later, when the next request may already be on it.
    fn ends_with_get_connection(&self, fields: &[Field]) -> bool {
        let says_its_length =
            |field: &Field| matches!(field.known, Known::ContentLength | Known::TransferEncoding);
        self.accepts.is_head && !fields.iter().any(says_its_length)
    }

    /// How the body of a response comes, and how it goes on.
    fn framing(
        &self,
        head: &[u8],
        fields: &[Field],
        response: &ResponseHead,
    ) -> Result<(AnswerFraming, ClientFraming), ProxyError> {
        let (status, accepts) = (response.status, self.accepts);
        let framing = answer_framing(head, fields, response.version, status, accepts.is_head)
            .map_err(|defect| self.invalid(ResponseDefect::Framing(defect)))?;
        let client = ClientFraming::of(framing, status, accepts.is_head, accepts.version);
        Ok((framing, client))
    }

    /// Whether a response changes to a protocol that the client has offered: RFC 9110, section 7.8.
    fn offered(&self, head: &[u8], fields: &[Field]) -> bool {
        let mut chosen = fields
            .iter()
            .filter(|field| field.known == Known::Upgrade)
            .flat_map(|field| elements(field.value.of(head)))
            .peekable();
        let is_offered = |protocol: &[u8]| {
            elements(&self.request.upgrades).any(|offered| offered.eq_ignore_ascii_case(protocol))
        };
        chosen.peek().is_some() && chosen.all(is_offered)
    }

    /// Whether the response must say that the connection closes: also when the server does not read a request body that
    /// is still coming, because the position of the next request would be unknown.
    fn must_close(&self, status: u16, server_keeps: bool) -> bool {
        let body_is_unwanted = !self.upload.is_taken()
            && (status >= 300 || !server_keeps || self.request.expects_continue);
        !self.request.keep_alive || body_is_unwanted || self.context.is_draining()
    }
}
