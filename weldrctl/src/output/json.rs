//! The JSON that `--output json` prints. Stable: fields are added, never renamed nor removed.
//!
//! Field names are `snake_case`; durations are numbers of seconds (`*_seconds`), rates are per second
//! (`*_per_second`), times are RFC 3339 in UTC, states and reasons are words of the API in lowercase, and
//! `null` is what is not set. The types are our own, so that a change of the API is a change here on purpose.
//!
//! | command | prints |
//! |---|---|
//! | `list`, `get` | one [`Servers`] |
//! | `add`, `remove`, `set`, `drain`, `ready`, `maintenance` | one [`Results`], also when some are refused |
//! | `pool get`, `pool set` | one [`Pool`] |
//! | `stats` | one [`Stats`]; with `--watch` one a line |
//! | `watch` | one [`Event`] a line |
//! | `cluster status`, `cluster remove`, `cluster transfer` | one [`Cluster`] |
//! | `list --all-nodes` | one [`AllNodes`] |
//! | `history` | one [`History`] |
//! | `rollback`, `cluster restore` | one [`Made`] |
#![expect(
    clippy::struct_field_names,
    reason = "the names are those of the JSON, which say what they are without their type"
)]

use serde::Serialize;
use weldr_proto::v1::{self, health_check::Type};

use super::{figures, words};
use crate::rates::{Rates, ServerRates, between, by_id, per_server};

/// The nodes that keep the pool together.
#[derive(Debug, Serialize)]
pub(crate) struct Cluster {
    pub(crate) cluster: String,
    pub(crate) quorum: bool,
    pub(crate) term: u64,
    pub(crate) leader: Option<String>,
    pub(crate) answered_by: String,
    pub(crate) revision: u64,
    pub(crate) nodes: Vec<Node>,
}

/// One node; `null` is what a node does not say that does not answer.
#[derive(Debug, Serialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) reachable: bool,
    pub(crate) role: Option<String>,
    pub(crate) term: Option<u64>,
    pub(crate) applied: Option<u64>,
    pub(crate) revision: Option<u64>,
    pub(crate) lag: Option<u64>,
    pub(crate) since: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) stopped: Option<String>,
}

impl From<&v1::GetClusterResponse> for Cluster {
    fn from(answer: &v1::GetClusterResponse) -> Self {
        Self {
            cluster: answer.cluster.clone(),
            quorum: answer.quorum,
            term: answer.term,
            leader: some(&answer.leader),
            answered_by: answer.answered_by.clone(),
            revision: answer.revision,
            nodes: answer.nodes.iter().map(Node::from).collect(),
        }
    }
}

impl From<&v1::Node> for Node {
    fn from(node: &v1::Node) -> Self {
        let said = node.reachable;
        Self {
            id: node.id.clone(),
            name: node.name.clone(),
            address: node.address.clone(),
            reachable: said,
            role: said.then(|| words::node_role(node.role)),
            term: said.then_some(node.term),
            applied: said.then_some(node.applied),
            revision: said.then_some(node.revision),
            lag: said.then_some(node.lag),
            since: node.since.map(|since| since.to_string()),
            version: some(&node.version),
            stopped: some(&node.stopped),
        }
    }
}

/// What every node sees of every server.
#[derive(Debug, Serialize)]
pub(crate) struct AllNodes {
    pub(crate) revision: u64,
    pub(crate) servers: Vec<ServerOnNodes>,
}

/// One server, as the nodes see it.
#[derive(Debug, Serialize)]
pub(crate) struct ServerOnNodes {
    pub(crate) address: String,
    pub(crate) id: u64,
    pub(crate) in_flight: u64,
    pub(crate) nodes: Vec<NodeView>,
}

/// What one node sees of a server; `null`: it does not answer.
#[derive(Debug, Serialize)]
pub(crate) struct NodeView {
    pub(crate) node: String,
    pub(crate) health: Option<Health>,
    pub(crate) in_flight: u64,
}

impl From<&v1::ListHealthResponse> for AllNodes {
    fn from(answer: &v1::ListHealthResponse) -> Self {
        let servers = answer.servers.iter().map(|server| ServerOnNodes {
            address: server.address.clone(),
            id: server.id,
            in_flight: server.in_flight,
            nodes: server
                .nodes
                .iter()
                .map(|node| NodeView {
                    node: node.node.clone(),
                    health: node.health.as_ref().map(Health::from),
                    in_flight: node.in_flight,
                })
                .collect(),
        });
        Self {
            revision: answer.revision,
            servers: servers.collect(),
        }
    }
}

/// The last changes, the newest first.
#[derive(Debug, Serialize)]
pub(crate) struct History {
    pub(crate) revision: u64,
    pub(crate) events: Vec<HistoryEvent>,
}

/// One change.
#[derive(Debug, Serialize)]
pub(crate) struct HistoryEvent {
    pub(crate) revision: u64,
    pub(crate) time: Option<String>,
    pub(crate) what: String,
    pub(crate) from: String,
}

impl From<&v1::GetHistoryResponse> for History {
    fn from(answer: &v1::GetHistoryResponse) -> Self {
        let events = answer.events.iter().map(|event| HistoryEvent {
            revision: event.revision,
            time: event.at.map(|at| at.to_string()),
            what: event.what.clone(),
            from: event.from.clone(),
        });
        Self {
            revision: answer.revision,
            events: events.collect(),
        }
    }
}

/// The revision that a change has made.
#[derive(Debug, Serialize)]
pub(crate) struct Made {
    pub(crate) revision: u64,
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

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

/// What the node sees of a server.
#[derive(Debug, Serialize)]
pub(crate) struct Health {
    pub(crate) state: String,
    pub(crate) reason: String,
    pub(crate) description: String,
    pub(crate) since: Option<String>,
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

/// The results of a write, one for each address in the order of the command line.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) results: Vec<WriteResult>,
}

/// What came of a write to one server.
#[derive(Debug, Serialize)]
pub(crate) struct WriteResult {
    pub(crate) address: String,
    /// `added`, `unchanged`, `updated`, `draining` (of a removal that goes on), `removed`, or `failed`.
    pub(crate) outcome: &'static str,
    /// `null` when the write failed.
    pub(crate) revision: Option<u64>,
    pub(crate) server: Option<Server>,
    /// Why the write failed; or, after a write, why what `--wait` waits for did not happen.
    pub(crate) error: Option<String>,
}

/// A pool.
#[derive(Debug, Serialize)]
pub(crate) struct Pool {
    pub(crate) name: String,
    /// Of the answer. Good for `--expected-revision`.
    pub(crate) revision: u64,
    pub(crate) settings: Settings,
    pub(crate) counts: Counts,
}

/// The settings of a pool.
#[derive(Debug, Serialize)]
pub(crate) struct Settings {
    pub(crate) check: Option<Check>,
    pub(crate) balancing: String,
    pub(crate) fail_open: bool,
    pub(crate) drain_deadline_seconds: Option<f64>,
    /// 0 is off.
    pub(crate) deregister_after_seconds: Option<f64>,
}

/// How many servers are in each state.
#[derive(Debug, Serialize)]
pub(crate) struct Counts {
    pub(crate) initial: u32,
    pub(crate) healthy: u32,
    pub(crate) unhealthy: u32,
    pub(crate) draining: u32,
    pub(crate) unused: u32,
}

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

/// Counts of what went well and what did not.
#[derive(Debug, Serialize)]
pub(crate) struct Outcomes {
    pub(crate) success: u64,
    pub(crate) failed: u64,
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

/// Answers by the class of their status.
#[derive(Debug, Serialize)]
pub(crate) struct StatusClasses {
    pub(crate) informational: u64,
    pub(crate) success: u64,
    pub(crate) redirection: u64,
    pub(crate) client_error: u64,
    pub(crate) server_error: u64,
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

/// One line of `watch`.
#[derive(Debug, Serialize)]
pub(crate) struct Event {
    pub(crate) time: String,
    pub(crate) revision: u64,
    /// `present` (a server that was there when the watch began), `added`, `updated`, `health`, `removed`,
    /// or `settings`.
    pub(crate) event: String,
    pub(crate) server: Option<Server>,
    pub(crate) settings: Option<Settings>,
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

impl Pool {
    /// A pool, at the revision of the answer that it came in.
    pub(crate) fn new(pool: &v1::Pool, revision: u64) -> Self {
        let counts = pool.counts.unwrap_or_default();
        Self {
            name: pool.name.clone(),
            revision,
            settings: Settings::from(&pool.settings.clone().unwrap_or_default()),
            counts: Counts {
                initial: counts.initial,
                healthy: counts.healthy,
                unhealthy: counts.unhealthy,
                draining: counts.draining,
                unused: counts.unused,
            },
        }
    }
}

impl From<&v1::PoolSettings> for Settings {
    fn from(settings: &v1::PoolSettings) -> Self {
        Self {
            check: settings.check.as_ref().map(Check::from),
            balancing: words::balancing(settings.balancing),
            fail_open: settings.fail_open(),
            drain_deadline_seconds: settings.drain_deadline.map(figures::seconds),
            deregister_after_seconds: settings.deregister_after.map(figures::seconds),
        }
    }
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

impl ServerStats {
    fn new(stats: &v1::ServerStats, rates: Option<&ServerRates>) -> Self {
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

impl From<v1::Outcomes> for Outcomes {
    fn from(outcomes: v1::Outcomes) -> Self {
        Self {
            success: outcomes.success,
            failed: outcomes.failed,
        }
    }
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

fn time(time: Option<prost_types::Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::expect_used,
        reason = "a test may stop at what it did not expect"
    )]

    use std::time::Duration;

    use serde_json::{Value, json};
    use weldr_proto::v1::{AdminState, HealthReason, HealthState, HttpCheck};

    use super::*;
    use crate::settings::proto_duration;

    fn value(document: &impl Serialize) -> Value {
        serde_json::to_value(document).expect("documents are plain data")
    }

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
            value(&Server::new(&server(), None)),
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
        let first = value(&Stats::new(&sample(10, 5), 7, None, false));
        assert_eq!(first["client"], json!({"success": 5, "failed": 1}));
        assert_eq!(first["server"], json!({"success": 0, "failed": 0}));
        assert_eq!(first["rates"], Value::Null);
        assert_eq!(first["servers"], Value::Null);
        let second = value(&Stats::new(&sample(12, 25), 7, Some(&sample(10, 5)), true));
        assert_eq!(second["rates"]["client_requests_per_second"], json!(10.0));
        assert_eq!(second["servers"][0]["failed_per_second"], json!(0.0));
        assert_eq!(second["servers"][0]["latency"]["p99_seconds"], Value::Null);
    }

    #[test]
    fn a_pool_has_its_settings_and_counts() {
        let pool = v1::Pool {
            name: "default".to_owned(),
            settings: Some(v1::PoolSettings {
                balancing: v1::Balancing::RoundRobin.into(),
                fail_open: Some(true),
                drain_deadline: Some(proto_duration(Duration::from_secs(30))),
                deregister_after: Some(proto_duration(Duration::ZERO)),
                check: None,
            }),
            revision: 2,
            counts: Some(v1::PoolCounts {
                healthy: 4,
                ..v1::PoolCounts::default()
            }),
        };
        assert_eq!(
            value(&Pool::new(&pool, 9)),
            json!({
                "name": "default",
                "revision": 9,
                "settings": {
                    "check": null,
                    "balancing": "round_robin",
                    "fail_open": true,
                    "drain_deadline_seconds": 30.0,
                    "deregister_after_seconds": 0.0,
                },
                "counts": {"initial": 0, "healthy": 4, "unhealthy": 0, "draining": 0, "unused": 0},
            })
        );
    }
}
