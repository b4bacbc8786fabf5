//! Counting by ownership: what begins is counted when its tally is made, and what ends when it is dropped, however it
//! ends.

use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::{
    http1::Version,
    stats::{ClientShard, ServerShard},
};

use super::{
    access_log::{LogEntry, Times},
    context::WorkerContext,
    error::ProxyError,
    failure_log::with_causes,
    headers::{ClientAddress, FieldSpans},
    upstream::Upstream,
};

/// A client's request from its head to the end of its response.
pub(super) struct RequestTally<'w> {
    context: &'w WorkerContext,
    failed: bool,
    begun: Instant,
    log_fields: LogFields,
}

/// What the access log says of a request, as far as it is known.
#[derive(Debug, Default)]
struct LogFields {
    /// Where a trusted proxy says that the client is.
    client: Option<ClientAddress>,
    status: u16,
    received: u64,
    sent: u64,
    attempts: u32,
    server: Option<SocketAddr>,
    times: Times,
    termination: Option<&'static str>,
    /// The failure with its causes; empty when there is none, or nobody reads it.
    error: String,
}

impl<'w> RequestTally<'w> {
    pub(super) fn begin(context: &'w WorkerContext) -> Self {
        context.counters().in_flight.rise();
        Self {
            context,
            failed: false,
            begun: Instant::now(),
            log_fields: LogFields::default(),
        }
    }

    /// When it began.
    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// Whether it was sent to no server yet.
    pub(super) fn is_first_attempt(&self) -> bool {
        self.log_fields.attempts == 0
    }

    /// A trusted proxy sent it, on behalf of `client`.
    pub(super) fn came_from(&mut self, client: ClientAddress) {
        self.log_fields.client = Some(client);
    }

    /// It is sent to `server`, from `at` on.
    pub(super) fn attempted(&mut self, server: SocketAddr, at: Instant) {
        self.log_fields.attempts += 1;
        self.log_fields.server = Some(server);
        self.log_fields.times = Times {
            queue: at.saturating_duration_since(self.begun),
            ..Times::default()
        };
    }

    /// A connection for it was opened.
    pub(super) fn connected(&mut self, took: Duration) {
        self.log_fields.times.connect = Some(took);
    }

    /// The head of the response came, `at` this moment, and goes out.
    pub(super) fn response_started(&mut self, status: u16, at: Instant) {
        self.log_fields.times.first_byte = Some(at.saturating_duration_since(self.begun));
        self.replied(status);
    }

    /// A response of our own goes out.
    pub(super) fn replied(&mut self, status: u16) {
        self.counters().statuses.record(status);
        self.failed = status >= 500;
        self.log_fields.status = status;
    }

    /// It ends because of `error`.
    pub(super) fn ended_by(&mut self, error: &ProxyError) {
        let reason = error.verdict().reason;
        self.counters().failures.record(reason);
        self.log_fields.termination = Some(reason.name());
        if self.context.access_log.is_some() {
            self.log_fields.error = with_causes(error);
        }
    }

    /// The response breaks off, and not because of the client.
    pub(super) fn broken_off(&mut self) {
        self.failed = true;
    }

    /// Bytes of its body, and of the body of its response.
    pub(super) fn passed(&mut self, sent: u64, received: u64) {
        self.counters().bytes_received.add(sent);
        self.counters().bytes_sent.add(received);
        self.log_fields.received += sent;
        self.log_fields.sent += received;
    }

    /// Writes the line of the access log, when there is one. `head`: as it was sent to a server, or what there is of
    /// it, with the `spans` that are shown.
    pub(super) fn log(&self, peer: SocketAddr, version: Version, head: &[u8], spans: &FieldSpans) {
        let Some(log) = &self.context.access_log else {
            return;
        };
        let log_fields = &self.log_fields;
        let (time, date) = self.context.now();
        log.write(&LogEntry {
            time,
            date,
            client: log_fields.client.unwrap_or(peer.into()),
            peer,
            request_line: spans.request_line.of(head),
            version,
            user_agent: spans.user_agent.of(head),
            referer: spans.referer.of(head),
            request_id: spans.request_id.of(head),
            status: log_fields.status,
            bytes_received: log_fields.received,
            bytes_sent: log_fields.sent,
            server: log_fields.server,
            retries: log_fields.attempts.saturating_sub(1),
            times: Times {
                total: self.begun.elapsed(),
                ..log_fields.times
            },
            termination: log_fields.termination.unwrap_or("complete"),
            error: log_fields.error.as_bytes(),
        });
    }

    /// The same, of a request of which no more than its line is told.
    pub(super) fn log_line(&self, peer: SocketAddr, version: Version, line: &[u8]) {
        self.log(peer, version, line, &FieldSpans::of_line(line));
    }

    fn counters(&self) -> &ClientShard {
        self.context.counters()
    }
}

impl Drop for RequestTally<'_> {
    fn drop(&mut self) {
        let counters = self.counters();
        counters.in_flight.fall();
        let outcome = if self.failed {
            &counters.failed
        } else {
            &counters.success
        };
        outcome.add(1);
    }
}

/// One attempt on one server.
pub(super) struct AttemptTally<'w> {
    context: &'w WorkerContext,
    upstream: Rc<Upstream>,
    begun: Instant,
    failed: bool,
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
        }
    }

    /// The server's head came, `at` this moment.
    pub(super) fn response_started(&mut self, status: u16, at: Instant) {
        let counters = self.counters();
        let took = at.saturating_duration_since(self.begun);
        counters.latency.record(took);
        counters.statuses.record(status);
        self.failed = status >= 500;
    }

    /// The server sent no response, or not a whole one.
    pub(super) fn failed(&mut self) {
        self.failed = true;
    }

    /// Bytes of the body that it was sent, and of the body of its response.
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
        if self.failed {
            server.failed.add(1);
            all.server_failed.add(1);
        } else {
            server.success.add(1);
            all.server_success.add(1);
        }
    }
}

/// A connection that has changed its protocol, for as long as it is open.
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
