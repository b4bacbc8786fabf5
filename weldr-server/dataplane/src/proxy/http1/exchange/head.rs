//! The heads of responses, from the server's bytes to the client's.

use std::{
    borrow::Cow,
    net::SocketAddr,
    task::{Context, Poll},
    time::Instant,
};

use crate::http1::{
    Decoder, Field, Known, MOST_INTERIM, ReadResponse, ResponseFraming, ResponseHead,
    ResponseRules, Version, elements, end_of_response_head, read_response,
};
use crate::proxy::{
    batching::DeferredWrite,
    error::{ProxyError, ResponseDefect},
    flow::Flow,
    headers::{
        ClientFraming, ConnectionOptions, ResponseRewrite, add_field, change_fields, write_interim,
        write_response,
    },
    trailers::Trailers,
    transport::Cork,
};
use crate::stickiness::Session;

use super::{
    Exchange,
    response::{Behind, Response},
};

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

    /// Takes a head from the bytes of the server. Returns false when the head is incomplete.
    pub(super) fn take_head(&mut self) -> Result<bool, ProxyError> {
        let limits = self.context.head_limits();
        let filled = self.server.buffer.filled();
        let end = end_of_response_head(filled, &mut self.response.searched, limits)
            .map_err(|defect| self.invalid(ResponseDefect::Head(defect)))?;
        let Some(end) = end else {
            let buffer = &mut self.server.buffer;
            if !buffer.is_bare() && buffer.is_full() {
                buffer.compact();
                let more = (buffer.capacity() * 2).min(limits.bytes + 1);
                self.context.buffers.grow(buffer, more);
            }
            return Ok(false);
        };
        self.response.searched = 0;
        let rules = ResponseRules {
            limits,
            strictness: self.policy.strictness,
        };
        self.receive(end, rules)?;
        self.server.buffer.consume(end);
        Ok(true)
    }

    fn receive(&mut self, end: usize, rules: ResponseRules) -> Result<(), ProxyError> {
        let to = self.to;
        let mut fields = self.context.fields.borrow_mut();
        let came = &self.server.buffer.filled()[..end];
        let ReadResponse {
            head,
            line: response,
            framing,
            ends_connection,
        } = read_response(came, to.request.is_head, rules, &mut fields)
            .map_err(|defect| self.invalid(defect.into()))?;
        if matches!(head, Cow::Owned(_)) {
            tracing::debug!(server = %self.server.address(), "response mended");
        }
        let head = &*head;
        if response.is_interim() {
            return take_interim(self.response, head, &response, &fields, to.version)
                .map_err(|defect| self.invalid(defect));
        }
        let switches = response.status == 101;
        let may_switch = || self.upload.is_over(&self.request.head) && self.offered(head, &fields);
        if switches && !may_switch() {
            return Err(self.invalid(ResponseDefect::UnrequestedUpgrade));
        }
        let client_framing =
            ClientFraming::of(framing, response.status, to.request.is_head, to.version);
        let options = ConnectionOptions::of(head, &fields);
        let keeps = !ends_connection && !options.end_connection(response.version);
        let until_close = client_framing == ClientFraming::UntilClose;
        let closes = until_close || self.must_close(response.status, keeps);
        let is_dated = fields.iter().any(|field| field.known == Known::Date);
        let date = (!is_dated).then(|| self.context.date());
        let how = ResponseRewrite {
            options: &options,
            framing: client_framing,
            client: to.version,
            close: closes,
            switches,
            date: date.as_ref().map(<[u8; 29]>::as_slice),
        };
        let begin = self.response.head.len();
        write_response(&mut self.response.head, head, &response, &fields, &how);
        if let Some(changes) = self.changes {
            change_fields(&mut self.response.head, begin, changes);
        }
        if let Some(session) = &self.request.session {
            let server = self.server.address();
            set_cookie(session, server, (head, &fields), &mut self.response.head);
        }
        let trailers = Trailers::OfResponse {
            wanted: to.request.takes_trailers,
            strictness: rules.strictness,
        };
        let chunked = client_framing == ClientFraming::Chunked;
        let decoder = Decoder::of_response(framing, rules.strictness);
        let mut body = Flow::new(decoder, chunked, trailers);
        if closes && !switches {
            body.ends_its_connection();
        }
        body.head_is_written_up_to(self.response.interim_written);
        self.response.body = Some(body);
        self.deferred = DeferredWrite::of(&self.server.buffer);
        self.response.status = response.status;
        self.response.first_byte = Some(Instant::now());
        self.response.server_keeps =
            keeps && !is_odd(framing) && !self.ends_with_get_connection(&fields);
        self.response.closes = closes;
        self.response.behind = Behind::of(switches, until_close);
        Ok(())
    }

    /// Whether the response to the same request with GET would end with the connection. Servers close the connection after
    /// the response to HEAD too, a moment later, when the next request may already be on it.
    fn ends_with_get_connection(&self, fields: &[Field]) -> bool {
        let says_its_length =
            |field: &Field| matches!(field.known, Known::ContentLength | Known::TransferEncoding);
        self.to.request.is_head && !fields.iter().any(says_its_length)
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
            && (status >= 300 || !server_keeps || self.to.request.expects_continue);
        !self.request.keep_alive || body_is_unwanted || self.client.served.closes_connections()
    }
}

/// Whether what follows a response on its connection may not be another one.
fn is_odd(framing: ResponseFraming) -> bool {
    matches!(
        framing,
        ResponseFraming::None { odd: true } | ResponseFraming::UntilClose
    )
}

/// Sets the cookie of a session in the head at the end of `out`, which is that of a response of `server`, if the client needs it.
#[cold]
fn set_cookie(
    session: &Session,
    server: SocketAddr,
    (head, fields): (&[u8], &[Field]),
    out: &mut Vec<u8>,
) {
    let is_cookie = |field: &&Field| field.name.of(head).eq_ignore_ascii_case(b"set-cookie");
    let set = fields.iter().filter(is_cookie);
    let set = set.map(|field| field.value.of(head));
    if let Some(cookie) = session.set_cookie(server, set) {
        add_field(out, b"Set-Cookie", cookie.as_bytes());
    }
}

/// Writes the head of an interim response for a client of version `client`.
fn take_interim(
    response: &mut Response,
    head: &[u8],
    line: &ResponseHead,
    fields: &[Field],
    client: Version,
) -> Result<(), ResponseDefect> {
    response.interims += 1;
    if response.interims > MOST_INTERIM {
        return Err(ResponseDefect::TooManyInterim);
    }
    // RFC 9110, section 15.2: HTTP/1.0 has no interim responses.
    if client == Version::Http11 {
        write_interim(&mut response.head, head, line, fields);
    }
    Ok(())
}
