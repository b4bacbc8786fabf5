//! `stats`: the statistics of a node, with the rates between two samples.

use serde::Serialize;
use weldr_proto::{json, v1};

use crate::rates::{Rates, ServerRates, between, per_server};

/// One sample of the statistics.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    #[serde(flatten)]
    stats: json::Stats,
    revision: u64,
    /// With `--watch`, the rates since the sample before; `null` in the first one.
    rates: Option<RatesPerSecond>,
    /// `null` without `--detail`.
    servers: Option<Vec<ServerStats>>,
}

impl Stats {
    /// A sample, with rates since an earlier one and with its servers if these are asked for.
    pub(crate) fn new(
        sample: &v1::Stats,
        revision: u64,
        earlier: Option<&v1::Stats>,
        detail: bool,
    ) -> Self {
        let rates = earlier.map(|earlier| per_server(earlier, sample));
        let servers = detail.then(|| {
            let rate_of = |id| rates.as_ref().and_then(|rates| rates.get(&id));
            let servers = sample.servers.iter();
            servers
                .map(|server| ServerStats::new(server, rate_of(server.id)))
                .collect()
        });
        Self {
            stats: sample.into(),
            revision,
            rates: earlier
                .and_then(|earlier| between(earlier, sample))
                .map(RatesPerSecond::from),
            servers,
        }
    }
}

/// The rates between two samples.
#[derive(Debug, Serialize)]
pub(crate) struct RatesPerSecond {
    client_requests_per_second: f64,
    client_failed_per_second: f64,
    server_requests_per_second: f64,
    server_failed_per_second: f64,
    retries_per_second: f64,
    bytes_received_per_second: f64,
    bytes_sent_per_second: f64,
}

impl From<Rates> for RatesPerSecond {
    fn from(rates: Rates) -> Self {
        Self {
            client_requests_per_second: rates.client,
            client_failed_per_second: rates.client_failed,
            server_requests_per_second: rates.server,
            server_failed_per_second: rates.server_failed,
            retries_per_second: rates.retries,
            bytes_received_per_second: rates.bytes_received,
            bytes_sent_per_second: rates.bytes_sent,
        }
    }
}

/// The statistics of one server. `requests_per_second` is the rate between two samples with `--watch`, and otherwise
/// that over the last seconds.
#[derive(Debug, Serialize)]
pub(crate) struct ServerStats {
    #[serde(flatten)]
    stats: json::ServerStats,
    /// With `--watch`, the rate since the sample before; otherwise `null`.
    failed_per_second: Option<f64>,
}

impl ServerStats {
    pub(super) fn new(stats: &v1::ServerStats, rates: Option<&ServerRates>) -> Self {
        let stats = json::ServerStats::from(stats);
        Self {
            stats: json::ServerStats {
                requests_per_second: rates
                    .map_or(stats.requests_per_second, |rates| rates.requests),
                ..stats
            },
            failed_per_second: rates.map(|rates| rates.failed),
        }
    }
}
