//! Counting by ownership: what begins is counted when its tally is made, and what ends when it is dropped, however it
//! ends.

use std::{rc::Rc, time::Instant};

use crate::stats::{ClientShard, ServerShard};

use super::{upstream::Upstream, worker::Worker};

/// A client's request from its head to the end of its answer.
pub(super) struct RequestTally<'w> {
    worker: &'w Worker,
    failed: bool,
}

impl<'w> RequestTally<'w> {
    pub(super) fn begin(worker: &'w Worker) -> Self {
        worker.counters().in_flight.rise();
        Self {
            worker,
            failed: false,
        }
    }

    /// The head of the answer goes out.
    pub(super) fn answered(&mut self, status: u16) {
        self.counters().statuses.record(status);
        self.failed = status >= 500;
    }

    /// The answer breaks off, and not because of the client.
    pub(super) fn broken_off(&mut self) {
        self.failed = true;
    }

    /// Bytes of its body, and of the body of its answer.
    pub(super) fn passed(&self, sent: u64, received: u64) {
        self.counters().bytes_received.add(sent);
        self.counters().bytes_sent.add(received);
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
    pub(super) fn begin(worker: &'w Worker, upstream: &Rc<Upstream>) -> Self {
        upstream.counters().in_flight.rise();
        Self {
            worker,
            upstream: Rc::clone(upstream),
            begun: Instant::now(),
            failed: false,
        }
    }

    /// The server's head came, `at` this moment.
    pub(super) fn answered(&mut self, status: u16, at: Instant) {
        let counters = self.counters();
        counters.record_latency(at.saturating_duration_since(self.begun));
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
        self.upstream.counters()
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
