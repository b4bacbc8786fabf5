//! Counting by ownership: what begins is counted when its tally is made, and what ends when it is dropped, however it
//! ends.

use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::stats::{ClientShard, ServerShard};

use super::{
    access_log::{Entry, Times},
    error::ProxyError,
    headers::Marks,
    http1::Version,
    upstream::Upstream,
    worker::Worker,
};

/// A client's request from its head to the end of its answer.
pub(super) struct RequestTally<'w> {
    worker: &'w Worker,
    failed: bool,
    begun: Instant,
    story: Story,
}

/// What is told of a request when it has ended.
#[derive(Debug, Default)]
struct Story {
    status: u16,
    received: u64,
    sent: u64,
    attempts: u32,
    server: Option<SocketAddr>,
    times: Times,
    termination: Option<&'static str>,
}

impl<'w> RequestTally<'w> {
    pub(super) fn begin(worker: &'w Worker) -> Self {
        worker.counters().in_flight.rise();
        Self {
            worker,
            failed: false,
            begun: Instant::now(),
            story: Story::default(),
        }
    }

    /// When it began.
    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// It is sent to `server`, from `at` on.
    pub(super) fn attempted(&mut self, server: SocketAddr, at: Instant) {
        self.story.attempts += 1;
        self.story.server = Some(server);
        self.story.times = Times {
            queue: at.saturating_duration_since(self.begun),
            ..Times::default()
        };
    }

    /// A connection for it was opened.
    pub(super) fn connected(&mut self, took: Duration) {
        self.story.times.connect = Some(took);
    }

    /// The head of the answer came, `at` this moment, and goes out.
    pub(super) fn answered(&mut self, status: u16, at: Instant) {
        self.story.times.first_byte = Some(at.saturating_duration_since(self.begun));
        self.answered_here(status);
    }

    /// An answer of our own goes out.
    pub(super) fn answered_here(&mut self, status: u16) {
        self.counters().statuses.record(status);
        self.failed = status >= 500;
        self.story.status = status;
    }

    /// It ends because of `error`.
    pub(super) fn ended_by(&mut self, error: &ProxyError) {
        self.story.termination = Some(error.termination());
    }

    /// The answer breaks off, and not because of the client.
    pub(super) fn broken_off(&mut self) {
        self.failed = true;
    }

    /// Bytes of its body, and of the body of its answer.
    pub(super) fn passed(&mut self, sent: u64, received: u64) {
        self.counters().bytes_received.add(sent);
        self.counters().bytes_sent.add(received);
        self.story.received += sent;
        self.story.sent += received;
    }

    /// Writes the line of the access log, when there is one. `head`: as it was sent to a server, or what there is of
    /// it, and `marks` what is told of that.
    pub(super) fn log(&self, client: SocketAddr, version: Version, head: &[u8], marks: &Marks) {
        let Some(log) = &self.worker.access_log else {
            return;
        };
        let story = &self.story;
        let (time, date) = self.worker.now();
        log.write(&Entry {
            time,
            date,
            client,
            request_line: marks.request_line.of(head),
            version,
            user_agent: marks.user_agent.of(head),
            referer: marks.referer.of(head),
            request_id: marks.request_id.of(head),
            status: story.status,
            bytes_received: story.received,
            bytes_sent: story.sent,
            server: story.server,
            retries: story.attempts.saturating_sub(1),
            times: Times {
                total: self.begun.elapsed(),
                ..story.times
            },
            termination: story.termination.unwrap_or("complete"),
        });
    }

    /// The same, of a request of which no more than its line is told.
    pub(super) fn log_line(&self, client: SocketAddr, version: Version, line: &[u8]) {
        self.log(client, version, line, &Marks::of_line(line));
    }

    fn counters(&self) -> &ClientShard {
        self.worker.counters()
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
    worker: &'w Worker,
    upstream: Rc<Upstream>,
    begun: Instant,
    failed: bool,
}

impl<'w> AttemptTally<'w> {
    pub(super) fn begin(worker: &'w Worker, upstream: &Rc<Upstream>, begun: Instant) -> Self {
        upstream.counters.in_flight.rise();
        Self {
            worker,
            upstream: Rc::clone(upstream),
            begun,
            failed: false,
        }
    }

    /// The server's head came, `at` this moment.
    pub(super) fn answered(&mut self, status: u16, at: Instant) {
        let counters = self.counters();
        let took = at.saturating_duration_since(self.begun);
        counters.latency.record(took);
        counters.statuses.record(status);
        self.failed = status >= 500;
    }

    /// The server failed to answer, or broke off.
    pub(super) fn failed(&mut self) {
        self.failed = true;
    }

    /// Bytes of the body that it was sent, and of the body that it answered.
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
        let (server, all) = (self.counters(), self.worker.counters());
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
pub(super) struct TunnelTally<'w>(&'w Worker);

impl<'w> TunnelTally<'w> {
    pub(super) fn begin(worker: &'w Worker) -> Self {
        worker.counters().tunnels.rise();
        worker.counters().tunnels_total.add(1);
        Self(worker)
    }
}

impl Drop for TunnelTally<'_> {
    fn drop(&mut self) {
        self.0.counters().tunnels.fall();
    }
}
