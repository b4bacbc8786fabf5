//! The one place that sums the shards.

use super::{
    ClientShard, FailureTotals, HandshakeTotals, Latency, ProxyProtocolTotals, ServerShard, Sharded,
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
}

fn add<const N: usize>(sum: &mut [u64; N], counts: [u64; N]) {
    for (sum, count) in sum.iter_mut().zip(counts) {
        *sum += count;
    }
}
