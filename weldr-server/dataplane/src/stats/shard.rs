//! The counters of one worker.

use std::sync::Arc;

use super::{Counter, Failures, Gauge, Handshakes, Histogram, LocalReplies, ProxyProtocolRefusals};
use crate::liveness::Episode;

/// One shard for each worker.
#[derive(Debug)]
pub struct Sharded<T>(Box<[Arc<T>]>);

impl<T: Default> Sharded<T> {
    /// Shards for `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Arc::default()).collect())
    }

    /// The shard of worker number `worker`; the only one that this worker may write.
    ///
    /// # Panics
    /// When there are fewer workers: their number is fixed when the process starts.
    pub fn of(&self, worker: usize) -> &Arc<T> {
        &self.0[worker]
    }

    /// All shards, for reading.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(Arc::as_ref)
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody else has one of the shards, so that nothing will be counted in them any more.
    pub fn is_unshared(&mut self) -> bool {
        self.0.iter_mut().all(|shard| Arc::get_mut(shard).is_some())
    }
}

/// How many responses had a status of each class.
#[derive(Debug, Default)]
pub struct Statuses([Counter; 5]);

impl Statuses {
    /// Counts a response with `status`. One above 599 counts as 5xx (RFC 9110, section 15), one below 100 not at all.
    pub fn record(&self, status: u16) {
        let class = usize::from(status / 100).min(5).wrapping_sub(1);
        if let Some(counter) = self.0.get(class) {
            counter.add(1);
        }
    }

    /// The counts, from 1xx to 5xx.
    pub fn get(&self) -> [u64; 5] {
        std::array::from_fn(|class| self.0[class].get())
    }
}

/// One worker's counters for clients. They share no cache line with another worker's, so workers do not slow each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ClientShard {
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections that were ever accepted.
    pub connections_total: Counter,
    /// Connections that were closed at once because their client was at its connection limit.
    pub connections_refused: Counter,
    /// Requests that run.
    pub in_flight: Gauge,
    /// Requests that ended well for the client; see `Stats.client` in the proto.
    pub success: Counter,
    /// Requests that got a 5xx response or were broken off by Weldr or a server.
    pub failed: Counter,
    /// Attempts on servers that ended well.
    pub server_success: Counter,
    /// Attempts on servers that failed.
    pub server_failed: Counter,
    /// Bytes of request bodies.
    pub bytes_received: Counter,
    /// Bytes of response bodies.
    pub bytes_sent: Counter,
    /// Attempts after the first one of a request.
    pub retries: Counter,
    /// Connections that have changed their protocol and are open.
    pub tunnels: Gauge,
    /// Connections that ever changed their protocol.
    pub tunnels_total: Counter,
    /// The statuses that clients saw.
    pub statuses: Statuses,
    /// Requests that failed, by reason.
    pub failures: Failures,
    /// Responses that Weldr made itself, by reason.
    pub local_replies: LocalReplies,
    /// Connections that were refused for want of a header of the PROXY protocol.
    pub proxy_protocol: ProxyProtocolRefusals,
    /// TLS handshakes.
    pub handshakes: Handshakes,
    /// Holds while connections cannot be accepted because no file descriptor is left.
    pub descriptors_exhausted: Episode,
}

/// One worker's counters for one server. The counters of each attempt come first and fill two cache lines: in a pool of
/// thousands, a server's lines have left the cache when it is chosen again.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct ServerShard {
    /// Requests that run on it.
    pub in_flight: Gauge,
    /// Attempts that ended well: with a whole response that is not 5xx, or because the client went away.
    pub success: Counter,
    /// Bytes of request bodies.
    pub bytes_sent: Counter,
    /// Bytes of response bodies.
    pub bytes_received: Counter,
    /// The times from the begin of an attempt to the head of its response.
    pub latency: Histogram,
    /// The statuses of its responses.
    pub statuses: Statuses,
    /// Attempts that failed: connect error, timeout, broken response or 5xx.
    pub failed: Counter,
    /// Connections that are open, idle ones included.
    pub connections: Gauge,
    /// Connections that were ever opened.
    pub connections_total: Counter,
    /// Attempts that could not connect.
    pub connect_failures: Counter,
}

/// One worker's counters for the requests of a listener or a rule: one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct RequestShard {
    /// The statuses that clients saw.
    pub statuses: Statuses,
    /// Bytes of request bodies.
    pub bytes_received: Counter,
    /// Bytes of response bodies.
    pub bytes_sent: Counter,
    /// Attempts after the first one of a request.
    pub retries: Counter,
}

/// One worker's counters for one listener. What each request counts comes first.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct ListenerShard {
    /// What is counted of each request.
    pub requests: RequestShard,
    /// Requests that run.
    pub in_flight: Gauge,
    /// Connections of clients that are open.
    pub connections: Gauge,
    /// Connections that were ever accepted.
    pub connections_total: Counter,
    /// Requests that failed, by reason.
    pub failures: Failures,
    /// Responses that Weldr made itself, by reason.
    pub local_replies: LocalReplies,
}

/// One worker's counters for the requests that are forwarded to a pool. What its servers count is summed, not counted again.
#[derive(Debug, Default)]
pub struct ForwardedShard {
    /// The statuses that clients saw.
    pub statuses: Statuses,
    /// Attempts after the first one of a request.
    pub retries: Counter,
    /// Requests that failed, by reason.
    pub failures: Failures,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_above_599_counts_as_5xx() {
        let statuses = Statuses::default();
        for status in [99, 100, 299, 599, 600, 999] {
            statuses.record(status);
        }
        assert_eq!(statuses.get(), [1, 1, 0, 0, 3]);
    }
}
