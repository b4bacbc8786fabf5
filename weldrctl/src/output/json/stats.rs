//! `stats`: what clients and servers did.

use serde::Serialize;
use weldr_proto::v1;

use super::{Health, time};
use crate::{
    output::{figures, words},
    rates::{Rates, ServerRates, between, per_server},
};

/// One sample of the statistics.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    pub(crate) at: Option<String>,
    pub(crate) started_at: Option<String>,
    pub(crate) revision: u64,
    pub(crate) client: Outcomes,
    pub(crate) server: Outcomes,
    pub(crate) client_detail: ClientStats,
    /// With `--watch`: since the sample before; `null` in the first one.
    pub(crate) rates: Option<RatesPerSecond>,
    /// `null` without `--detail`.
    pub(crate) servers: Option<Vec<ServerStats>>,
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
            sample
                .servers
                .iter()
                .map(|server| ServerStats::new(server, rate_of(server.id)))
                .collect()
        });
        Self {
            at: time(sample.at),
            started_at: time(sample.started_at),
            revision,
            client: sample.client.unwrap_or_default().into(),
            server: sample.server.unwrap_or_default().into(),
            client_detail: sample.client_detail.unwrap_or_default().into(),
            rates: earlier
                .and_then(|earlier| between(earlier, sample))
                .map(RatesPerSecond::from),
            servers,
        }
    }
}

/// Counts of what went well and what did not.
#[derive(Debug, Serialize)]
pub(crate) struct Outcomes {
    pub(crate) success: u64,
    pub(crate) failed: u64,
}

impl From<v1::Outcomes> for Outcomes {
    fn from(outcomes: v1::Outcomes) -> Self {
        Self {
            success: outcomes.success,
            failed: outcomes.failed,
        }
    }
}

/// The side of the clients.
#[derive(Debug, Serialize)]
pub(crate) struct ClientStats {
    pub(crate) connections: u64,
    pub(crate) connections_total: u64,
    pub(crate) in_flight: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) statuses: StatusClasses,
    pub(crate) retries: u64,
    pub(crate) requests_per_second: f64,
}

impl From<v1::ClientStats> for ClientStats {
    fn from(stats: v1::ClientStats) -> Self {
        Self {
            connections: stats.connections,
            connections_total: stats.connections_total,
            in_flight: stats.in_flight,
            bytes_received: stats.bytes_received,
            bytes_sent: stats.bytes_sent,
            statuses: stats.statuses.unwrap_or_default().into(),
            retries: stats.retries,
            requests_per_second: stats.requests_per_second,
        }
    }
}

/// Answers by the class of their status.
#[derive(Debug, Serialize)]
pub(crate) struct StatusClasses {
    pub(crate) informational: u64,
    pub(crate) success: u64,
    pub(crate) redirection: u64,
    pub(crate) client_error: u64,
    pub(crate) server_error: u64,
}

impl From<v1::StatusClasses> for StatusClasses {
    fn from(classes: v1::StatusClasses) -> Self {
        Self {
            informational: classes.informational,
            success: classes.success,
            redirection: classes.redirection,
            client_error: classes.client_error,
            server_error: classes.server_error,
        }
    }
}

/// Rates between two samples.
#[derive(Debug, Serialize)]
pub(crate) struct RatesPerSecond {
    pub(crate) client_requests_per_second: f64,
    pub(crate) client_failed_per_second: f64,
    pub(crate) server_requests_per_second: f64,
    pub(crate) server_failed_per_second: f64,
    pub(crate) retries_per_second: f64,
    pub(crate) bytes_received_per_second: f64,
    pub(crate) bytes_sent_per_second: f64,
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

/// The side of one server.
#[derive(Debug, Serialize)]
pub(crate) struct ServerStats {
    pub(crate) id: u64,
    pub(crate) address: String,
    pub(crate) success: u64,
    pub(crate) failed: u64,
    pub(crate) in_flight: u64,
    pub(crate) connections: u64,
    pub(crate) connections_total: u64,
    pub(crate) connect_failures: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) statuses: StatusClasses,
    pub(crate) latency: Option<Latency>,
    /// Between two samples with `--watch`, else over the last seconds.
    pub(crate) requests_per_second: f64,
    /// With `--watch`: since the sample before; else `null`.
    pub(crate) failed_per_second: Option<f64>,
    pub(crate) health: Option<Health>,
    pub(crate) weight: u32,
    pub(crate) admin_state: String,
}

impl ServerStats {
    pub(super) fn new(stats: &v1::ServerStats, rates: Option<&ServerRates>) -> Self {
        let outcomes = stats.outcomes.unwrap_or_default();
        Self {
            id: stats.id,
            address: stats.address.clone(),
            success: outcomes.success,
            failed: outcomes.failed,
            in_flight: stats.in_flight,
            connections: stats.connections,
            connections_total: stats.connections_total,
            connect_failures: stats.connect_failures,
            bytes_sent: stats.bytes_sent,
            bytes_received: stats.bytes_received,
            statuses: stats.statuses.unwrap_or_default().into(),
            latency: stats.latency.as_ref().map(Latency::from),
            requests_per_second: rates.map_or(stats.requests_per_second, |rates| rates.requests),
            failed_per_second: rates.map(|rates| rates.failed),
            health: stats.health.as_ref().map(Health::from),
            weight: stats.weight,
            admin_state: words::admin_state(stats.admin_state),
        }
    }
}

/// From the choice of the server to the head of its answer. `null` where nothing was measured yet.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) mean_seconds: Option<f64>,
    pub(crate) p50_seconds: Option<f64>,
    pub(crate) p90_seconds: Option<f64>,
    pub(crate) p99_seconds: Option<f64>,
    pub(crate) p999_seconds: Option<f64>,
    pub(crate) max_seconds: Option<f64>,
}

impl From<&v1::Latency> for Latency {
    fn from(latency: &v1::Latency) -> Self {
        let measured = |duration: Option<prost_types::Duration>| {
            duration.filter(|_| latency.count > 0).map(figures::seconds)
        };
        Self {
            count: latency.count,
            mean_seconds: measured(latency.mean),
            p50_seconds: measured(latency.p50),
            p90_seconds: measured(latency.p90),
            p99_seconds: measured(latency.p99),
            p999_seconds: measured(latency.p999),
            max_seconds: measured(latency.max),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn stats_begin_with_the_totals_and_have_rates_from_the_second_sample_on() {
        let sample = |seconds, success| v1::Stats {
            at: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            client: Some(v1::Outcomes { success, failed: 1 }),
            servers: vec![v1::ServerStats {
                id: 3,
                latency: Some(v1::Latency::default()),
                ..v1::ServerStats::default()
            }],
            ..v1::Stats::default()
        };
        let first = json!(Stats::new(&sample(10, 5), 7, None, false));
        assert_eq!(first["client"], json!({"success": 5, "failed": 1}));
        assert_eq!(first["server"], json!({"success": 0, "failed": 0}));
        assert_eq!(first["rates"], Value::Null);
        assert_eq!(first["servers"], Value::Null);
        let second = json!(Stats::new(&sample(12, 25), 7, Some(&sample(10, 5)), true));
        assert_eq!(second["rates"]["client_requests_per_second"], json!(10.0));
        assert_eq!(second["servers"][0]["failed_per_second"], json!(0.0));
        assert_eq!(second["servers"][0]["latency"]["p99_seconds"], Value::Null);
    }
}
