//! The head of a client's request, as a server gets it, or why none gets it.

use std::{borrow::Cow, io::Write as _, net::SocketAddr};

use crate::{
    http1::{
        Field, Framing, FramingDefect, Known, RequestHead, Span, TargetForm, Version, elements,
        is_host, parse_decimal, request_framing,
    },
    model::MessageChanges,
    policy::{DesyncMode, HttpPolicy},
    proxy::{message::RequestFacts, text::write_decimal},
    stickiness::Session,
};

use super::{
    changes::{change_fields, remove_cookie, value_of},
    forwarding::Peer,
    lines::{ConnectionOptions, copy_lines, write_field},
    refusal::Refusal,
    target::{changed_path, path_and_query},
    trace::{Ids, is_request_id, is_traceparent},
    via::{refuse_loop, write_via},
};

/// What a request is forwarded with, besides what is in it.
#[derive(Debug)]
pub(in crate::proxy) struct ForwardingContext<'a> {
    pub(in crate::proxy) peer: &'a Peer,
    /// Where the peer connected to, for a request of HTTP/1.0: it need not say for which host it is.
    pub(in crate::proxy) local: Option<SocketAddr>,
    pub(in crate::proxy) policy: &'a HttpPolicy,
    pub(in crate::proxy) facts: RequestFacts,
    /// For a request that has none.
    pub(in crate::proxy) ids: Ids,
}

/// Where a head has the values that the access log shows. Empty where it has none.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::proxy) struct FieldSpans {
    pub(in crate::proxy) request_line: Span,
    pub(in crate::proxy) user_agent: Span,
    pub(in crate::proxy) referer: Span,
    pub(in crate::proxy) request_id: Span,
    /// Of a valid value.
    pub(in crate::proxy) traceparent: Span,
}

impl FieldSpans {
    /// Of a head of which there is only the request line.
    pub(in crate::proxy) fn of_line(line: &[u8]) -> Self {
        Self {
            request_line: Span::new(0, line.len()),
            ..Self::default()
        }
    }

    /// The trace id of `traceparent` in the head that the spans are of.
    pub(in crate::proxy) fn trace_id(self, head: &[u8]) -> &[u8] {
        let traceparent = self.traceparent.of(head);
        traceparent.get(3..35).unwrap_or_default()
    }

    /// Finds the values in a head whose fields were changed after its request line.
    fn find_in(&mut self, head: &[u8]) {
        self.user_agent = value_of(head, b"user-agent");
        self.referer = value_of(head, b"referer");
        self.request_id = value_of(head, b"x-request-id");
        // A route may set it to anything.
        let traceparent = value_of(head, b"traceparent");
        let is_valid = is_traceparent(traceparent.of(head));
        self.traceparent = if is_valid {
            traceparent
        } else {
            Span::default()
        };
    }

    /// Remembers the value of `field`, whose line is copied to `place`. Of several lines, the first counts.
    fn note(&mut self, field: &Field, place: usize) {
        let span = match field.known {
            Known::UserAgent => &mut self.user_agent,
            Known::Referer => &mut self.referer,
            Known::XRequestId => &mut self.request_id,
            Known::Traceparent => &mut self.traceparent,
            _ => return,
        };
        if *span == Span::default() {
            *span = field.value.copied_with(field.line, place);
        }
    }
}

/// A request that may go to a server, as HTTP/1.1 carries it: its head, and what holds for the client's connection.
#[derive(Debug)]
pub(in crate::proxy) struct Request {
    /// The head, as it is written to a server: any server.
    pub(in crate::proxy) head: Vec<u8>,
    pub(in crate::proxy) spans: FieldSpans,
    pub(in crate::proxy) framing: Framing,
    /// Whether the client's connection may carry another request.
    pub(in crate::proxy) keep_alive: bool,
    /// The protocols that the client would like to change to, as a list; empty when it would not.
    pub(in crate::proxy) upgrades: Vec<u8>,
    /// What strict mode would have refused.
    pub(in crate::proxy) objection: Option<FramingDefect>,
    /// Its session, if its pool is sticky.
    pub(in crate::proxy) session: Option<Box<Session>>,
}

impl Request {
    /// Makes it one of `session`, whose cookie is not for the server.
    pub(in crate::proxy) fn join(&mut self, session: Session) {
        if let Some(name) = session.cookie_to_remove() {
            remove_cookie(&mut self.head, name);
            self.spans.find_in(&self.head);
        }
        self.session = Some(Box::new(session));
    }
}

/// A request whose final recipient is the proxy itself.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) enum ProxyRequest {
    /// To OPTIONS.
    Options,
    /// To TRACE: what came, without what is secret.
    Trace(Vec<u8>),
}

/// What is known of a request that is accepted.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct Accepted {
    pub(in crate::proxy) host: Host,
    pub(in crate::proxy) framing: Framing,
    objection: Option<FramingDefect>,
    has_body: bool,
    /// How often it may still be passed on; 0: the proxy itself is its recipient.
    forwards: Option<u64>,
}

impl Accepted {
    /// Whether a body follows the head.
    pub(in crate::proxy) fn has_body(self) -> bool {
        self.has_body
    }

    /// Whether the client's connection ends with this request, which has these options.
    pub(in crate::proxy) fn ends_connection(
        self,
        options: &ConnectionOptions,
        version: Version,
    ) -> bool {
        // RFC 9112, section 6.1: the connection must be closed after a request with both.
        options.end_connection(version) || self.objection == Some(FramingDefect::LengthAndCoding)
    }

    /// The request to the proxy itself, if its recipient is that: RFC 9110, section 7.6.2.
    pub(in crate::proxy) fn to_proxy(
        self,
        head: &[u8],
        request: &RequestHead,
        fields: &[Field],
    ) -> Option<ProxyRequest> {
        let is_last = self.forwards == Some(0);
        is_last.then(|| proxy_request(head, request.method.of(head), fields))
    }
}

/// Accepts a client's request, or says why it is not forwarded.
pub(in crate::proxy) fn accept(
    head: &[u8],
    request: &RequestHead,
    fields: &[Field],
    context: &ForwardingContext<'_>,
) -> Result<Accepted, Refusal> {
    if request.form == TargetForm::Authority {
        return Err(Refusal::Connect);
    }
    let (framing, objection) =
        request_framing(head, fields, request.version).map_err(Refusal::Framing)?;
    if let (Some(defect), DesyncMode::Strict) = (objection, context.policy.desync_mode) {
        return Err(Refusal::Framing(defect));
    }
    let host = host(head, request, fields, context.local)?;
    if let (Framing::Length(length), Some(limit)) = (framing, context.policy.max_body_bytes)
        && length > limit
    {
        return Err(Refusal::BodyTooLarge { limit });
    }
    let method = request.method.of(head);
    let has_body = !matches!(framing, Framing::None | Framing::Length(0));
    if method == b"TRACE" && has_body {
        return Err(Refusal::TraceContent);
    }
    let forwards = max_forwards(head, method, fields);
    if forwards != Some(0) {
        refuse_loop(head, fields, &context.policy.pseudonym)?;
    }
    Ok(Accepted {
        host,
        framing,
        objection,
        has_body,
        forwards,
    })
}

/// Writes the head of an accepted request to a server, with the changes of its route, in `out`.
pub(in crate::proxy) fn write(
    head: &[u8],
    request: &RequestHead,
    fields: &[Field],
    context: &ForwardingContext<'_>,
    (accepted, changes): (&Accepted, Option<&MessageChanges>),
    mut out: Vec<u8>,
) -> Request {
    let Accepted {
        host,
        framing,
        objection,
        has_body,
        forwards,
    } = *accepted;
    let options = ConnectionOptions::of(head, fields);
    let upgrades = if options.upgrade && !has_body && request.version == Version::Http11 {
        upgrades(head, fields)
    } else {
        Vec::new()
    };
    let writer = Writer {
        head,
        request,
        fields,
        options: &options,
        context,
        changes,
    };
    let mut spans = FieldSpans {
        request_line: writer.write_request_line(&mut out),
        ..FieldSpans::default()
    };
    writer.write_host(&mut out, host);
    writer.copy(&mut out, &mut spans, forwards.is_some(), objection);
    write_framing(&mut out, framing, objection);
    writer.write_way(&mut out, host);
    writer.write_ids(&mut out, &mut spans);
    if let Some(left) = forwards {
        out.extend_from_slice(b"Max-Forwards: ");
        write_decimal(&mut out, left - 1);
        out.extend_from_slice(b"\r\n");
    }
    write_connection(&mut out, context.facts.takes_trailers, &upgrades);
    if let Some(changes) = changes {
        change_fields(&mut out, 0, &changes.request);
        spans.find_in(&out);
    }
    Request {
        head: out,
        spans,
        framing,
        keep_alive: !accepted.ends_connection(&options, request.version),
        upgrades,
        objection,
        session: None,
    }
}

/// Which host a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Host {
    /// Its Host field says so.
    Field(Span),
    /// Its target says so, and beats the field.
    Target(Span),
    /// HTTP/1.0 need not say: the address that it was sent to.
    Local(SocketAddr),
}

impl Host {
    /// The authority, from the head that it is in.
    pub(in crate::proxy) fn of<'h>(&self, head: &'h [u8]) -> Cow<'h, [u8]> {
        match self {
            Self::Field(span) | Self::Target(span) => Cow::Borrowed(span.of(head)),
            Self::Local(address) => Cow::Owned(address.to_string().into_bytes()),
        }
    }
}

/// RFC 9112, section 3.2: exactly one valid Host.
fn host(
    head: &[u8],
    request: &RequestHead,
    fields: &[Field],
    local: Option<SocketAddr>,
) -> Result<Host, Refusal> {
    let mut hosts = fields.iter().filter(|field| field.known == Known::Host);
    let field = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::SeveralHosts);
    }
    let field = match field {
        None if request.version >= Version::Http11 => return Err(Refusal::NoHost),
        Some(field) if !is_host(field.value.of(head)) => return Err(Refusal::MalformedHost),
        field => field,
    };
    match (request.form, field) {
        (TargetForm::Absolute { authority, .. }, _) => Ok(Host::Target(authority)),
        (_, Some(field)) => Ok(Host::Field(field.value)),
        (_, None) => local.map(Host::Local).ok_or(Refusal::NoHost),
    }
}

/// How often the request may still be passed on; `None`: as often as it likes, as far as we are concerned.
fn max_forwards(head: &[u8], method: &[u8], fields: &[Field]) -> Option<u64> {
    if !matches!(method, b"OPTIONS" | b"TRACE") {
        return None;
    }
    let field = fields
        .iter()
        .find(|field| field.known == Known::MaxForwards)?;
    parse_decimal(field.value.of(head))
}

fn proxy_request(head: &[u8], method: &[u8], fields: &[Field]) -> ProxyRequest {
    if method != b"TRACE" {
        return ProxyRequest::Options;
    }
    let first_field = fields
        .first()
        .map_or(head.len() - 2, |field| field.line.range().start);
    let mut seen = head[..first_field].to_vec();
    copy_lines(&mut seen, head, fields, |field| {
        !matches!(
            field.known,
            Known::Authorization | Known::Cookie | Known::ProxyAuthorization
        )
    });
    seen.extend_from_slice(b"\r\n");
    ProxyRequest::Trace(seen)
}

/// The protocols that a client would like to change to, and that are passed on: RFC 9110, section 7.8.
///
/// Never HTTP/2: what comes after it could not be looked at. Not with a body, whose end would be the begin of the
/// tunnel; nor in HTTP/1.0, where it must be ignored.
fn upgrades(head: &[u8], fields: &[Field]) -> Vec<u8> {
    let is_http = |protocol: &&[u8]| {
        protocol.eq_ignore_ascii_case(b"h2c")
            || protocol.eq_ignore_ascii_case(b"h2")
            || protocol
                .get(..4)
                .is_some_and(|name| name.eq_ignore_ascii_case(b"http"))
    };
    let protocols: Vec<&[u8]> = fields
        .iter()
        .filter(|field| field.known == Known::Upgrade)
        .flat_map(|field| elements(field.value.of(head)))
        .filter(|protocol| !is_http(protocol))
        .collect();
    protocols.join(&b", "[..])
}

fn write_framing(out: &mut Vec<u8>, framing: Framing, objection: Option<FramingDefect>) {
    match framing {
        Framing::Chunked => write_field(out, b"Transfer-Encoding", b"chunked"),
        Framing::Length(length) if objection == Some(FramingDefect::Lengths) => {
            out.extend_from_slice(b"Content-Length: ");
            write_decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        // Its line is copied.
        Framing::Length(_) | Framing::None => {}
    }
}

fn write_connection(out: &mut Vec<u8>, trailers: bool, upgrades: &[u8]) {
    if trailers {
        write_field(out, b"TE", b"trailers");
    }
    if !upgrades.is_empty() {
        write_field(out, b"Upgrade", upgrades);
    }
    match (trailers, !upgrades.is_empty()) {
        (true, true) => write_field(out, b"Connection", b"TE, Upgrade"),
        (true, false) => write_field(out, b"Connection", b"TE"),
        (false, true) => write_field(out, b"Connection", b"Upgrade"),
        (false, false) => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of the request to a server, part by part.
struct Writer<'a> {
    head: &'a [u8],
    request: &'a RequestHead,
    fields: &'a [Field],
    options: &'a ConnectionOptions<'a>,
    context: &'a ForwardingContext<'a>,
    changes: Option<&'a MessageChanges>,
}

impl Writer<'_> {
    /// Returns where it is, without the end of the line. `out` is empty before.
    fn write_request_line(&self, out: &mut Vec<u8>) -> Span {
        out.extend_from_slice(self.request.method.of(self.head));
        out.push(b' ');
        if let Some(target) = self.changed_target() {
            out.extend_from_slice(&target);
            out.extend_from_slice(b" HTTP/1.1\r\n");
            return Span::new(0, out.len() - 2);
        }
        match self.request.form {
            TargetForm::Absolute { path, .. } => match path.of(self.head) {
                // RFC 9112, section 3.2.4: the last proxy before the server makes this of it.
                b"" if self.request.method.of(self.head) == b"OPTIONS" => out.push(b'*'),
                path => {
                    if path.first() != Some(&b'/') {
                        out.push(b'/');
                    }
                    out.extend_from_slice(path);
                }
            },
            TargetForm::Origin | TargetForm::Asterisk | TargetForm::Authority => {
                out.extend_from_slice(self.request.target.of(self.head));
            }
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
        Span::new(0, out.len() - 2)
    }

    /// The target with another prefix, if the route changes that of this path.
    fn changed_target(&self) -> Option<Vec<u8>> {
        let change = self.changes?.path_prefix.as_ref()?;
        let (path, query) = path_and_query(self.head, self.request);
        let mut target = changed_path(path, change)?;
        if self.request.target.of(self.head).contains(&b'?') {
            target.push(b'?');
            target.extend_from_slice(query);
        }
        Some(target)
    }

    fn new_host(&self) -> Option<&str> {
        self.changes?.host.as_deref()
    }

    fn write_host(&self, out: &mut Vec<u8>, host: Host) {
        if let Some(new) = self.new_host() {
            return write_field(out, b"Host", new.as_bytes());
        }
        match host {
            // Its line is copied.
            Host::Field(_) => {}
            Host::Target(authority) => write_field(out, b"Host", authority.of(self.head)),
            Host::Local(address) => {
                // Writing to a vector cannot fail.
                let _ = write!(out, "Host: {address}\r\n");
            }
        }
    }

    fn copy(
        &self,
        out: &mut Vec<u8>,
        spans: &mut FieldSpans,
        forwards: bool,
        objection: Option<FramingDefect>,
    ) {
        let (head, peer) = (self.head, self.context.peer);
        let drops_length = matches!(
            objection,
            Some(FramingDefect::LengthAndCoding | FramingDefect::Lengths)
        );
        let has_host =
            !matches!(self.request.form, TargetForm::Absolute { .. }) && self.new_host().is_none();
        let is_traced = self.has_traceparent();
        let is_kept = |field: &Field| {
            if self.options.ends_here(head, field) || peer.replaces(field.known) {
                return false;
            }
            match field.known {
                Known::Via => false,
                Known::Host => has_host,
                Known::ContentLength => !drops_length,
                Known::MaxForwards => !forwards,
                // RFC 9110, section 10.1.1: in HTTP/1.0 it must be ignored.
                Known::Expect => self.request.version == Version::Http11,
                Known::XRequestId => self.request_id().is_some_and(|id| id == field.value),
                Known::Traceparent | Known::Tracestate => is_traced,
                _ => true,
            }
        };
        let mut place = out.len();
        copy_lines(out, head, self.fields, |field| {
            let kept = is_kept(field);
            if kept {
                spans.note(field, place);
                place += field.line.range().len();
            }
            kept
        });
    }

    /// By which way the request came.
    fn write_way(&self, out: &mut Vec<u8>, host: Host) {
        let (head, fields) = (self.head, self.fields);
        let name = self.context.policy.pseudonym.as_str().as_bytes();
        write_via(out, head, fields, self.request.version, name);
        let local;
        let host = match host {
            Host::Field(host) | Host::Target(host) => host.of(head),
            Host::Local(address) => {
                local = address.to_string();
                local.as_bytes()
            }
        };
        self.context.peer.write(out, head, fields, host);
    }

    fn write_ids(&self, out: &mut Vec<u8>, spans: &mut FieldSpans) {
        let ids = &self.context.ids;
        let (needs_id, needs_trace) = (self.request_id().is_none(), !self.has_traceparent());
        if !needs_id && !needs_trace {
            return;
        }
        // Both have the same digits.
        let digits = ids.trace_digits();
        if needs_id {
            spans.request_id = Ids::write_request_id(out, &digits);
        }
        if needs_trace {
            spans.traceparent = ids.write_traceparent(out, &digits);
        }
    }

    /// The id that the client gave, when it can be passed on.
    fn request_id(&self) -> Option<Span> {
        self.only(Known::XRequestId, is_request_id)
    }

    fn has_traceparent(&self) -> bool {
        self.only(Known::Traceparent, is_traceparent).is_some()
    }

    /// The value of a field that is there once, and valid.
    fn only(&self, known: Known, is_valid: impl Fn(&[u8]) -> bool) -> Option<Span> {
        let mut found = self
            .fields
            .iter()
            .filter(|field| field.known == known && !self.options.ends_here(self.head, field));
        match (found.next(), found.next()) {
            (Some(field), None) if is_valid(field.value.of(self.head)) => Some(field.value),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
