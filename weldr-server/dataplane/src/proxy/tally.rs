//! Counters of requests, attempts and tunnels. Making a tally counts the begin, and dropping it counts the end, so no
//! path through the code can forget to count.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use crate::{
    http1::{ClientAddress, Version},
    model::PoolName,
    snapshot::{RequestSlot, routes::CompiledRule},
    stats::{ClientShard, LocalReplyReason, RequestShard, ServerShard},
};

use super::{
    access_log::{LogEntry, Times},
    client::ClientEnd,
    context::WorkerContext,
    error::ProxyError,
    failure_log::with_causes,
    headers::FieldSpans,
    served_listener::ListenerContext,
    upstream::Upstream,
};

/// Counts one request of a client, from its head to the end of its response, and collects its access log line.
pub(super) struct RequestTally<'w> {
    context: &'w WorkerContext,
    listener: &'w ListenerContext,
    rule: Option<&'w CompiledRule>,
    pool: Option<&'w PoolName>,
    /// The server of the last attempt.
    upstream: Option<Rc<Upstream>>,
    failed: bool,
    begun: Instant,
    log_fields: LogFields,
}

/// The fields of a request's access log line, as far as they are known.
#[derive(Debug, Default)]
struct LogFields {
    /// The client's address according to a trusted proxy.
    client: Option<ClientAddress>,
    status: u16,
    received: u64,
    sent: u64,
    attempts: u32,
    /// When the last attempt began.
    attempted: Option<Instant>,
    /// How long opening a connection for it took.
    connect: Option<Duration>,
    /// When the head of the response came.
    first_byte: Option<Instant>,
    termination: Option<&'static str>,
    /// Whether an attempt failed. That a full server was passed over is no failure.
    attempt_failed: bool,
    /// The failure with its causes; empty without a failure or without an access log.
    error: String,
}

impl LogFields {
    /// Whether the request failed, or an attempt to send it.
    fn has_failed(&self) -> bool {
        self.termination.is_some() || self.attempt_failed
    }
}

impl<'w> RequestTally<'w> {
    pub(super) fn begin(context: &'w WorkerContext, listener: &'w ListenerContext) -> Self {
        context.counters().in_flight.rise();
        listener.counters.in_flight.rise();
        Self {
            context,
            listener,
            rule: None,
            pool: None,
            upstream: None,
            failed: false,
            begun: Instant::now(),
            log_fields: LogFields::default(),
        }
    }

    /// Records which rule decides about the request; `None`: the default route does.
    pub(super) fn matched(&mut self, rule: Option<&'w CompiledRule>) {
        self.rule = rule;
    }

    /// Records the pool to which the request is forwarded.
    pub(super) fn forwarded_to(&mut self, pool: &'w PoolName) {
        self.pool = Some(pool);
    }

    /// The pool to which the request is forwarded.
    pub(super) fn pool(&self) -> Option<&'w PoolName> {
        self.pool
    }

    /// When the request began.
    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// Whether no attempt was made yet.
    pub(super) fn is_first_attempt(&self) -> bool {
        self.log_fields.attempts == 0
    }

    /// Records that a trusted proxy sent the request on behalf of `client`.
    pub(super) fn came_from(&mut self, client: ClientAddress) {
        self.log_fields.client = Some(client);
    }

    /// The client that a trusted proxy has named.
    pub(super) fn claimed_client(&self) -> Option<ClientAddress> {
        self.log_fields.client
    }

    /// Records that an attempt on `server` begins at `at`.
    pub(super) fn attempted(&mut self, server: &Rc<Upstream>, at: Instant) {
        self.log_fields.attempts += 1;
        self.upstream = Some(Rc::clone(server));
        self.log_fields.attempted = Some(at);
        self.log_fields.connect = None;
        self.log_fields.first_byte = None;
    }

    /// Records that the last attempt failed, and not because the server is full.
    pub(super) fn attempt_failed(&mut self) {
        self.log_fields.attempt_failed = true;
    }

    /// Records that a connection to the server was opened, and how long that took.
    pub(super) fn connected(&mut self, took: Duration) {
        self.log_fields.connect = Some(took);
    }

    /// Records that the head of the server's response arrived at `at`.
    pub(super) fn response_started(&mut self, status: u16, at: Instant) {
        self.log_fields.first_byte = Some(at);
        self.replied(status);
    }

    /// Records a response that Weldr makes itself.
    pub(super) fn replied_locally(&mut self, status: u16, reason: LocalReplyReason) {
        self.counters().local_replies.record(reason);
        self.listener.counters.local_replies.record(reason);
        self.replied(status);
    }

    /// Records the status that the client sees, or that stands for the end of its request.
    pub(super) fn replied(&mut self, status: u16) {
        self.counters().statuses.record(status);
        self.listener.counters.requests.statuses.record(status);
        if let Some(rule) = self.rule_counters() {
            rule.statuses.record(status);
        }
        if let Some(upstream) = &self.upstream {
            upstream.requests().statuses.record(status);
        }
        self.failed = status >= 500;
        self.log_fields.status = status;
    }

    /// Records the error that ends the request.
    pub(super) fn ended_by(&mut self, error: &ProxyError) {
        let reason = error.verdict().reason;
        self.counters().failures.record(reason);
        self.listener.counters.failures.record(reason);
        if let Some(upstream) = &self.upstream {
            upstream.requests().failures.record(reason);
        }
        self.log_fields.termination = Some(reason.name());
        if self.context.access_log.is_some() {
            self.log_fields.error = with_causes(error);
        }
    }

    /// Records that the request is sent again.
    pub(super) fn retried(&self) {
        self.counters().retries.add(1);
        self.listener.counters.requests.retries.add(1);
        if let Some(rule) = self.rule_counters() {
            rule.retries.add(1);
        }
        if let Some(upstream) = &self.upstream {
            upstream.requests().retries.add(1);
        }
    }

    /// Records that the response was broken off, and not by the client.
    pub(super) fn broken_off(&mut self) {
        self.failed = true;
    }

    /// Counts bytes of the request body (`sent`) and of the response body (`received`).
    pub(super) fn passed(&mut self, sent: u64, received: u64) {
        self.counters().bytes_received.add(sent);
        self.counters().bytes_sent.add(received);
        let listener = &self.listener.counters.requests;
        listener.bytes_received.add(sent);
        listener.bytes_sent.add(received);
        if let Some(rule) = self.rule_counters() {
            rule.bytes_received.add(sent);
            rule.bytes_sent.add(received);
        }
        self.log_fields.received += sent;
        self.log_fields.sent += received;
    }

    /// Writes the access log line, when there is an access log. `head` is the request head as it was sent to a server, or
    /// the part of it that was received; `spans` are the fields of it that the log shows.
    pub(super) fn log(
        &self,
        client: ClientEnd<'_>,
        version: Version,
        head: &[u8],
        spans: &FieldSpans,
    ) {
        let Some(log) = &self.context.access_log else {
            return;
        };
        let log_fields = &self.log_fields;
        if !self.listener.policy.logs || !log.admits(self.failed || log_fields.has_failed()) {
            return;
        }
        let (time, date) = self.context.now();
        log.write(&LogEntry {
            time,
            date,
            client: log_fields.client.unwrap_or(client.address.into()),
            peer: client.address,
            tls: client.tls,
            request_line: spans.request_line.of(head),
            version,
            user_agent: spans.user_agent.of(head),
            referer: spans.referer.of(head),
            request_id: spans.request_id.of(head),
            trace_id: spans.trace_id(head),
            status: log_fields.status,
            bytes_received: log_fields.received,
            bytes_sent: log_fields.sent,
            listener: self.listener.name().as_str(),
            rule: self.rule.map(|rule| rule.priority().0),
            pool: self.pool.map(PoolName::as_str),
            server: self.upstream.as_ref().map(|upstream| upstream.address),
            retries: log_fields.attempts.saturating_sub(1),
            times: self.times(),
            termination: log_fields.termination.unwrap_or("complete"),
            error: log_fields.error.as_bytes(),
        });
    }

    /// Writes the access log line of a request of which only the request line is known.
    pub(super) fn log_line(&self, client: ClientEnd<'_>, version: Version, line: &[u8]) {
        self.log(client, version, line, &FieldSpans::of_line(line));
    }

    /// Durations are computed for the access log only.
    fn times(&self) -> Times {
        let since_begin = |at: Instant| at.saturating_duration_since(self.begun);
        let log_fields = &self.log_fields;
        Times {
            total: self.begun.elapsed(),
            queue: log_fields.attempted.map(since_begin).unwrap_or_default(),
            connect: log_fields.connect,
            first_byte: log_fields.first_byte.map(since_begin),
        }
    }

    fn counters(&self) -> &ClientShard {
        self.context.counters()
    }

    fn rule_counters(&self) -> Option<&RequestShard> {
        let rule = self.rule?;
        Some(rule.live.of(self.context.index()))
    }
}

impl Drop for RequestTally<'_> {
    fn drop(&mut self) {
        let counters = self.counters();
        counters.in_flight.fall();
        self.listener.counters.in_flight.fall();
        let outcome = if self.failed {
            &counters.failed
        } else {
            &counters.success
        };
        outcome.add(1);
    }
}

/// Counts one attempt on one server.
pub(super) struct AttemptTally<'w> {
    context: &'w WorkerContext,
    upstream: Rc<Upstream>,
    begun: Instant,
    failed: bool,
    /// Whether the server was passed over, so that there was no attempt.
    passed_over: bool,
    /// Whether the attempt counts towards an ejection of the server; `None`: it says nothing about the server.
    faulty: Option<bool>,
    /// Counts the request where the pool limits those of a server.
    slot: Option<RequestSlot>,
}

impl<'w> AttemptTally<'w> {
    pub(super) fn begin(
        context: &'w WorkerContext,
        upstream: &Rc<Upstream>,
        begun: Instant,
    ) -> Self {
        upstream.counters.in_flight.rise();
        Self {
            context,
            upstream: Rc::clone(upstream),
            begun,
            failed: false,
            passed_over: false,
            faulty: None,
            slot: None,
        }
    }

    /// Takes one of the requests that the server may run. Returns whether there is one, or they are not limited.
    pub(super) fn takes_slot(&mut self) -> bool {
        let limit = self.upstream.most_requests();
        if limit == 0 {
            return true;
        }
        self.slot = self.upstream.request_slot(limit);
        self.slot.is_some()
    }

    /// Records that nothing was tried, because the server had no room: only that the attempt was under way is counted.
    pub(super) fn passed_over(&mut self) {
        self.passed_over = true;
    }

    /// Records that the head of the server's response arrived at `at`.
    pub(super) fn response_started(&mut self, status: u16, at: Instant) {
        let counters = self.counters();
        let took = at.saturating_duration_since(self.begun);
        counters.latency.record(took);
        counters.statuses.record(status);
        self.failed = status >= 500;
        self.faulty = Some(matches!(status, 502..=504));
    }

    /// Records that the server sent no response, or an incomplete one, and whether that was its fault.
    pub(super) fn failed(&mut self, by_server: bool) {
        self.failed = true;
        if by_server {
            self.faulty = Some(true);
        }
    }

    /// Counts bytes of the request body (`sent`) and of the response body (`received`).
    pub(super) fn passed(&self, sent: u64, received: u64) {
        self.counters().bytes_sent.add(sent);
        self.counters().bytes_received.add(received);
    }

    pub(super) fn upstream(&self) -> &Rc<Upstream> {
        &self.upstream
    }

    fn counters(&self) -> &ServerShard {
        &self.upstream.counters
    }
}

impl Drop for AttemptTally<'_> {
    fn drop(&mut self) {
        let (server, all) = (self.counters(), self.context.counters());
        server.in_flight.fall();
        if self.passed_over {
            return;
        }
        if let Some(faulty) = self.faulty {
            self.upstream.note_outcome(faulty);
        }
        if self.failed {
            server.failed.add(1);
            all.server_failed.add(1);
        } else {
            server.success.add(1);
            all.server_success.add(1);
        }
    }
}

/// Counts a connection that has changed its protocol, for as long as it is open.
pub(super) struct TunnelTally<'w>(&'w WorkerContext);

impl<'w> TunnelTally<'w> {
    pub(super) fn begin(context: &'w WorkerContext) -> Self {
        context.counters().tunnels.rise();
        context.counters().tunnels_total.add(1);
        Self(context)
    }
}

impl Drop for TunnelTally<'_> {
    fn drop(&mut self) {
        self.0.counters().tunnels.fall();
    }
}
