//! `list` and `get`: servers with their health and their checks.

use serde::Serialize;
use weldr_proto::v1::{self, health_check::Type};

use super::{ServerStats, time};
use crate::{
    output::{figures, words},
    rates::by_id,
};

/// Servers of a pool.
#[derive(Debug, Serialize)]
pub(crate) struct Servers {
    pub(crate) pool: String,
    /// Of the answer; of several answers the lowest. Good for `--expected-revision`.
    pub(crate) revision: u64,
    pub(crate) servers: Vec<Server>,
}

/// One server.
#[derive(Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) pool: String,
    pub(crate) id: u64,
    pub(crate) address: String,
    pub(crate) weight: u32,
    pub(crate) admin_state: String,
    pub(crate) health: Option<Health>,
    pub(crate) in_flight: u64,
    /// What the server overrides of the pool's check.
    pub(crate) check: Option<Check>,
    /// The check that is made.
    pub(crate) effective_check: Option<Check>,
    pub(crate) removal_deadline: Option<String>,
    pub(crate) added_at: Option<String>,
    pub(crate) revision: u64,
    /// `null` where the command does not ask for statistics.
    pub(crate) stats: Option<ServerStats>,
}

impl Server {
    /// A server, with what was counted of it if that was asked for.
    pub(crate) fn new(server: &v1::Server, stats: Option<&v1::ServerStats>) -> Self {
        Self {
            pool: server.pool.clone(),
            id: server.id,
            address: server.address.clone(),
            weight: server.weight,
            admin_state: words::admin_state(server.admin_state),
            health: server.health.as_ref().map(Health::from),
            in_flight: server.in_flight,
            check: server.check.as_ref().map(Check::from),
            effective_check: server.effective_check.as_ref().map(Check::from),
            removal_deadline: time(server.removal_deadline),
            added_at: time(server.added_at),
            revision: server.revision,
            stats: stats.map(|stats| ServerStats::new(stats, None)),
        }
    }

    /// Servers, each with what was counted of it.
    pub(crate) fn with_stats(servers: &[v1::Server], stats: &v1::Stats) -> Vec<Self> {
        let by_id = by_id(&stats.servers);
        servers
            .iter()
            .map(|server| Self::new(server, by_id.get(&server.id).copied()))
            .collect()
    }
}

/// What the node sees of a server.
#[derive(Debug, Serialize)]
pub(crate) struct Health {
    pub(crate) state: String,
    pub(crate) reason: String,
    pub(crate) description: String,
    pub(crate) since: Option<String>,
}

impl From<&v1::Health> for Health {
    fn from(health: &v1::Health) -> Self {
        Self {
            state: words::state(health.state),
            reason: words::reason(health.reason),
            description: health.description.clone(),
            since: time(health.since),
        }
    }
}

/// A health check; `null` is what is inherited.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    /// `http` or `tcp`.
    #[serde(rename = "type")]
    pub(crate) kind: Option<&'static str>,
    pub(crate) path: Option<String>,
    pub(crate) expected_status: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) interval_seconds: Option<f64>,
    pub(crate) timeout_seconds: Option<f64>,
    pub(crate) healthy_threshold: Option<u32>,
    pub(crate) unhealthy_threshold: Option<u32>,
    pub(crate) port: Option<u32>,
}

impl From<&v1::HealthCheck> for Check {
    fn from(check: &v1::HealthCheck) -> Self {
        let http = match &check.r#type {
            Some(Type::Http(http)) => Some(http),
            Some(Type::Tcp(_)) | None => None,
        };
        Self {
            kind: check.r#type.as_ref().map(|kind| match kind {
                Type::Http(_) => "http",
                Type::Tcp(_) => "tcp",
            }),
            path: http.map(|http| http.path.clone()),
            expected_status: http.map(|http| http.expected_status.clone()),
            host: http.map(|http| http.host.clone()),
            interval_seconds: check.interval.map(figures::seconds),
            timeout_seconds: check.timeout.map(figures::seconds),
            healthy_threshold: check.healthy_threshold,
            unhealthy_threshold: check.unhealthy_threshold,
            port: check.port,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use weldr_proto::v1::{AdminState, HealthReason, HealthState, HttpCheck};

    use super::*;
    use crate::settings::proto_duration;

    fn server() -> v1::Server {
        v1::Server {
            pool: "default".to_owned(),
            id: 3,
            address: "[::1]:80".to_owned(),
            weight: 2,
            admin_state: AdminState::Drain.into(),
            check: Some(v1::HealthCheck {
                r#type: Some(Type::Http(HttpCheck {
                    path: "/health".to_owned(),
                    ..HttpCheck::default()
                })),
                interval: Some(proto_duration(Duration::from_millis(1_500))),
                ..v1::HealthCheck::default()
            }),
            health: Some(v1::Health {
                state: HealthState::Unhealthy.into(),
                reason: HealthReason::ConnectionRefused.into(),
                description: "connection refused (3 checks failed in a row)".to_owned(),
                since: Some(prost_types::Timestamp {
                    seconds: 1_700_000_000,
                    nanos: 0,
                }),
            }),
            revision: 12,
            in_flight: 1,
            ..v1::Server::default()
        }
    }

    #[test]
    fn a_server_has_this_shape() {
        assert_eq!(
            json!(Server::new(&server(), None)),
            json!({
                "pool": "default",
                "id": 3,
                "address": "[::1]:80",
                "weight": 2,
                "admin_state": "drain",
                "health": {
                    "state": "unhealthy",
                    "reason": "connection_refused",
                    "description": "connection refused (3 checks failed in a row)",
                    "since": "2023-11-14T22:13:20Z",
                },
                "in_flight": 1,
                "check": {
                    "type": "http",
                    "path": "/health",
                    "expected_status": "",
                    "host": "",
                    "interval_seconds": 1.5,
                    "timeout_seconds": null,
                    "healthy_threshold": null,
                    "unhealthy_threshold": null,
                    "port": null,
                },
                "effective_check": null,
                "removal_deadline": null,
                "added_at": null,
                "revision": 12,
                "stats": null,
            })
        );
    }
}
