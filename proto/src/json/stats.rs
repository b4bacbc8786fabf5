//! Statistics of clients and servers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Health, Seconds, ip_and_port, time};
use crate::{v1, words};

/// The requests of clients and the attempts on servers, and nothing else.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Totals {
    /// Requests of clients.
    pub client: Outcomes,
    /// Attempts on servers.
    pub server: Outcomes,
}

impl From<&v1::Stats> for Totals {
    fn from(stats: &v1::Stats) -> Self {
        Self {
            client: stats.client.unwrap_or_default().into(),
            server: stats.server.unwrap_or_default().into(),
        }
    }
}

/// The statistics of a node, without its servers.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct Stats {
    pub at: Option<String>,
    pub started_at: Option<String>,
    #[serde(flatten)]
    pub totals: Totals,
    pub client_detail: ClientStats,
    pub failures: BTreeMap<String, u64>,
    pub proxy_protocol_refused: BTreeMap<String, u64>,
    pub handshakes: Handshakes,
    pub local_replies: BTreeMap<String, u64>,
    pub uptime_seconds: Option<Seconds>,
}

impl From<&v1::Stats> for Stats {
    fn from(stats: &v1::Stats) -> Self {
        Self {
            at: time(stats.at),
            started_at: time(stats.started_at),
            totals: Totals::from(stats),
            client_detail: stats.client_detail.unwrap_or_default().into(),
            failures: stats.failures.clone(),
            proxy_protocol_refused: stats.proxy_protocol_refused.clone(),
            handshakes: stats.handshakes.clone().unwrap_or_default().into(),
            local_replies: stats.local_replies.clone(),
            uptime_seconds: stats.uptime.map(Seconds),
        }
    }
}

/// TLS handshakes with clients.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct Handshakes {
    pub full: u64,
    pub resumed: u64,
    pub failed: BTreeMap<String, u64>,
}

impl From<v1::Handshakes> for Handshakes {
    fn from(handshakes: v1::Handshakes) -> Self {
        Self {
            full: handshakes.full,
            resumed: handshakes.resumed,
            failed: handshakes.failed,
        }
    }
}

/// Numbers of successes and failures.
#[derive(Debug, Clone, Copy, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct Outcomes {
    pub success: u64,
    pub failed: u64,
}

impl From<v1::Outcomes> for Outcomes {
    fn from(outcomes: v1::Outcomes) -> Self {
        Self {
            success: outcomes.success,
            failed: outcomes.failed,
        }
    }
}

/// Statistics of the connections and requests of clients.
#[derive(Debug, Clone, Copy, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct ClientStats {
    pub connections: u64,
    pub connections_total: u64,
    pub in_flight: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub statuses: StatusClasses,
    pub retries: u64,
    pub requests_per_second: f64,
    pub connections_refused: u64,
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
            connections_refused: stats.connections_refused,
        }
    }
}

/// The number of responses in each class of status codes.
#[derive(Debug, Clone, Copy, Serialize)]
#[allow(missing_docs, reason = "the names are those of the classes")]
pub struct StatusClasses {
    pub informational: u64,
    pub success: u64,
    pub redirection: u64,
    pub client_error: u64,
    pub server_error: u64,
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

/// Statistics of one server.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct ServerStats {
    pub id: u64,
    pub ip: String,
    pub port: String,
    #[serde(flatten)]
    pub outcomes: Outcomes,
    pub state: String,
    pub reason: String,
    pub weight: u32,
    pub admin_state: String,
    pub in_flight: u64,
    pub requests_per_second: f64,
    pub connections: u64,
    pub connections_total: u64,
    pub connect_failures: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub statuses: StatusClasses,
    pub latency: Latency,
    pub address: String,
    pub health: Option<Health>,
}

impl From<&v1::ServerStats> for ServerStats {
    fn from(stats: &v1::ServerStats) -> Self {
        let (ip, port) = ip_and_port(&stats.address);
        let health = Health::from(&stats.health.clone().unwrap_or_default());
        Self {
            id: stats.id,
            ip,
            port,
            outcomes: stats.outcomes.unwrap_or_default().into(),
            state: health.state.clone(),
            reason: health.reason.clone(),
            weight: stats.weight,
            admin_state: words::admin_state(stats.admin_state),
            in_flight: stats.in_flight,
            requests_per_second: stats.requests_per_second,
            connections: stats.connections,
            connections_total: stats.connections_total,
            connect_failures: stats.connect_failures,
            bytes_sent: stats.bytes_sent,
            bytes_received: stats.bytes_received,
            statuses: stats.statuses.unwrap_or_default().into(),
            latency: stats.latency.unwrap_or_default().into(),
            address: stats.address.clone(),
            health: stats.health.is_some().then_some(health),
        }
    }
}

/// The time from the choice of a server to the head of its response. The figures are `null` until a response was
/// measured.
#[derive(Debug, Clone, Copy, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct Latency {
    pub count: u64,
    pub mean_seconds: Option<Seconds>,
    pub p50_seconds: Option<Seconds>,
    pub p90_seconds: Option<Seconds>,
    pub p99_seconds: Option<Seconds>,
    pub p999_seconds: Option<Seconds>,
    pub max_seconds: Option<Seconds>,
}

impl From<v1::Latency> for Latency {
    fn from(latency: v1::Latency) -> Self {
        let measured = |duration: Option<prost_types::Duration>| {
            duration.filter(|_| latency.count > 0).map(Seconds)
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
