//! The one place that sums the shards.

use super::{
    ClientShard, FailureTotals, ForwardedShard, HandshakeTotals, Latency, ListenerShard,
    LocalReplyTotals, ProxyProtocolTotals, RequestShard, ServerShard, Sharded,
};

/// Counts of successes and failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// The number that succeeded.
    pub success: u64,
    /// The number that failed.
    pub failed: u64,
}

/// How many responses had a status of each class, from 1xx to 5xx.
pub type StatusTotals = [u64; 5];

/// The counts of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests of clients.
    pub client: Outcomes,
    /// Attempts on servers, including removed servers.
    pub server: Outcomes,
    /// Further counts of the clients' side.
    pub detail: ClientTotals,
}

/// The clients' side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `ClientShard`, summed")]
pub struct ClientTotals {
    pub connections: u64,
    pub connections_total: u64,
    pub connections_refused: u64,
    pub in_flight: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub retries: u64,
    pub statuses: StatusTotals,
    pub failures: FailureTotals,
    pub local_replies: LocalReplyTotals,
    pub proxy_protocol: ProxyProtocolTotals,
    pub handshakes: HandshakeTotals,
}

impl Totals {
    /// The sum over all workers.
    pub fn sum(shards: &Sharded<ClientShard>) -> Self {
        let mut sum = Self::default();
        for shard in shards.all() {
            sum.client.success += shard.success.get();
            sum.client.failed += shard.failed.get();
            sum.server.success += shard.server_success.get();
            sum.server.failed += shard.server_failed.get();
            sum.detail.connections += shard.connections.get();
            sum.detail.connections_total += shard.connections_total.get();
            sum.detail.connections_refused += shard.connections_refused.get();
            sum.detail.in_flight += shard.in_flight.get();
            sum.detail.bytes_received += shard.bytes_received.get();
            sum.detail.bytes_sent += shard.bytes_sent.get();
            sum.detail.retries += shard.retries.get();
            add(&mut sum.detail.statuses, shard.statuses.get());
            add(&mut sum.detail.failures, shard.failures.get());
            add(&mut sum.detail.local_replies, shard.local_replies.get());
            add(&mut sum.detail.proxy_protocol, shard.proxy_protocol.get());
            let handshakes = &mut sum.detail.handshakes;
            handshakes.full += shard.handshakes.full.get();
            handshakes.resumed += shard.handshakes.resumed.get();
            add(&mut handshakes.failed, shard.handshakes.failures());
        }
        sum
    }
}

/// The counts of one server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `ServerShard`, summed")]
pub struct ServerTotals {
    pub outcomes: Outcomes,
    pub in_flight: u64,
    pub connections: u64,
    pub connections_total: u64,
    pub connect_failures: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub statuses: StatusTotals,
    pub latency: Latency,
}

impl ServerTotals {
    /// The sum over all workers.
    pub fn sum(shards: &Sharded<ServerShard>) -> Self {
        let mut sum = Self::default();
        for shard in shards.all() {
            sum.outcomes.success += shard.success.get();
            sum.outcomes.failed += shard.failed.get();
            sum.in_flight += shard.in_flight.get();
            sum.connections += shard.connections.get();
            sum.connections_total += shard.connections_total.get();
            sum.connect_failures += shard.connect_failures.get();
            sum.bytes_sent += shard.bytes_sent.get();
            sum.bytes_received += shard.bytes_received.get();
            add(&mut sum.statuses, shard.statuses.get());
            sum.latency.add(&shard.latency);
        }
        sum
    }

    /// Adds the counts of another server.
    pub fn add(&mut self, other: &Self) {
        self.outcomes.success += other.outcomes.success;
        self.outcomes.failed += other.outcomes.failed;
        self.in_flight += other.in_flight;
        self.connections += other.connections;
        self.connections_total += other.connections_total;
        self.connect_failures += other.connect_failures;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        add(&mut self.statuses, other.statuses);
        self.latency.merge(&other.latency);
    }
}

/// The counts of the requests of a listener or a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are those of `RequestShard`, summed"
)]
pub struct RequestTotals {
    pub statuses: StatusTotals,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub retries: u64,
}

impl RequestTotals {
    /// The sum over all workers.
    pub fn sum<'s>(shards: impl Iterator<Item = &'s RequestShard>) -> Self {
        shards.fold(Self::default(), |mut sum, shard| {
            add(&mut sum.statuses, shard.statuses.get());
            sum.bytes_received += shard.bytes_received.get();
            sum.bytes_sent += shard.bytes_sent.get();
            sum.retries += shard.retries.get();
            sum
        })
    }
}

/// The counts of a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are those of `ListenerShard`, summed"
)]
pub struct ListenerTotals {
    pub requests: RequestTotals,
    pub in_flight: u64,
    pub connections: u64,
    pub connections_total: u64,
    pub failures: FailureTotals,
    pub local_replies: LocalReplyTotals,
}

impl ListenerTotals {
    /// The sum over all workers.
    pub fn sum(shards: &Sharded<ListenerShard>) -> Self {
        let mut sum = Self {
            requests: RequestTotals::sum(shards.all().map(|shard| &shard.requests)),
            ..Self::default()
        };
        for shard in shards.all() {
            sum.in_flight += shard.in_flight.get();
            sum.connections += shard.connections.get();
            sum.connections_total += shard.connections_total.get();
            add(&mut sum.failures, shard.failures.get());
            add(&mut sum.local_replies, shard.local_replies.get());
        }
        sum
    }
}

/// The counts of the requests that were forwarded to a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are those of `ForwardedShard`, summed"
)]
pub struct ForwardedTotals {
    pub statuses: StatusTotals,
    pub retries: u64,
    pub failures: FailureTotals,
}

impl ForwardedTotals {
    /// The sum over all workers.
    pub fn sum<'s>(shards: impl Iterator<Item = &'s ForwardedShard>) -> Self {
        shards.fold(Self::default(), |mut sum, shard| {
            add(&mut sum.statuses, shard.statuses.get());
            sum.retries += shard.retries.get();
            add(&mut sum.failures, shard.failures.get());
            sum
        })
    }
}

fn add<const N: usize>(sum: &mut [u64; N], counts: [u64; N]) {
    for (sum, count) in sum.iter_mut().zip(counts) {
        *sum += count;
    }
}
