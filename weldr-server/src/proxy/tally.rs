//! Counting by ownership: what begins is counted when its tally is made, and what ends when it is dropped,
//! however it ends.

use std::{rc::Rc, sync::Arc, time::Instant};

use http::StatusCode;

use crate::stats::{ClientShard, ServerShard};

use super::{connection::ConnectionState, upstream::Upstream, worker::Worker};

/// A client's request from its head to the end of its answer.
pub(super) struct RequestTally {
    worker: Rc<Worker>,
    connection: Arc<ConnectionState>,
    failed: bool,
}

impl RequestTally {
    pub(super) fn begin(worker: &Rc<Worker>, connection: &Arc<ConnectionState>) -> Self {
        connection.request_begins();
        worker.counters().in_flight.rise();
        Self {
            worker: Rc::clone(worker),
            connection: Arc::clone(connection),
            failed: false,
        }
    }

    /// The head of the answer goes out.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.counters().statuses.record(status.as_u16());
        self.failed = status.is_server_error();
        self.connection.answer_begins();
    }

    /// The answer breaks off, and not because of the client.
    pub(super) fn broken_off(&mut self) {
        self.failed = true;
    }

    pub(super) fn counters(&self) -> &ClientShard {
        self.worker.counters()
    }
}

impl Drop for RequestTally {
    fn drop(&mut self) {
        let counters = self.counters();
        counters.in_flight.fall();
        let outcome = if self.failed {
            &counters.failed
        } else {
            &counters.success
        };
        outcome.add(1);
        self.connection.request_ends();
    }
}

/// One attempt on one server.
pub(super) struct AttemptTally {
    worker: Rc<Worker>,
    upstream: Rc<Upstream>,
    begun: Instant,
    failed: bool,
}

impl AttemptTally {
    pub(super) fn begin(worker: &Rc<Worker>, upstream: &Rc<Upstream>) -> Self {
        upstream.counters().in_flight.rise();
        Self {
            worker: Rc::clone(worker),
            upstream: Rc::clone(upstream),
            begun: Instant::now(),
            failed: false,
        }
    }

    /// The server's head is here.
    pub(super) fn answered(&mut self, status: StatusCode) {
        let counters = self.counters();
        counters.record_latency(self.begun.elapsed());
        counters.statuses.record(status.as_u16());
        self.failed = status.is_server_error();
    }

    /// The server failed to answer, or broke off.
    pub(super) fn failed(&mut self) {
        self.failed = true;
    }

    pub(super) fn upstream(&self) -> &Rc<Upstream> {
        &self.upstream
    }

    pub(super) fn counters(&self) -> &ServerShard {
        self.upstream.counters()
    }
}

impl Drop for AttemptTally {
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
