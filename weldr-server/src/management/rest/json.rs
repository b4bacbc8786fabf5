//! How the proto's answers look in JSON. Keys keep their order; new ones are added at the end.

use std::{net::SocketAddr, time::SystemTime};

use prost_types::{Duration as ProtoDuration, Timestamp as ProtoTimestamp};
use serde::{Serialize, Serializer};
use weldr_proto::v1;

/// A server.
#[derive(Debug, Serialize)]
pub(super) struct Server {
    id: u64,
    pool: String,
    ip: String,
    port: String,
    address: String,
    weight: u32,
    admin_state: String,
    state: String,
    reason: String,
    description: String,
    since: Option<String>,
    in_flight: u64,
    check: Option<Check>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check_override: Option<Check>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removal_deadline: Option<String>,
    added_at: Option<String>,
    revision: u64,
}

impl From<v1::Server> for Server {
    fn from(server: v1::Server) -> Self {
        let admin_state = word("ADMIN_STATE_", server.admin_state().as_str_name());
        let health = server.health.unwrap_or_default();
        let (ip, port) = ip_and_port(&server.address);
        Self {
            id: server.id,
            pool: server.pool,
            ip,
            port,
            address: server.address,
            weight: server.weight,
            admin_state,
            state: state(&health),
            reason: reason(&health),
            since: timestamp(health.since),
            description: health.description,
            in_flight: server.in_flight,
            check: server.effective_check.map(Check::from),
            check_override: server.check.map(Check::from),
            removal_deadline: timestamp(server.removal_deadline),
            added_at: timestamp(server.added_at),
            revision: server.revision,
        }
    }
}

/// The cluster.
#[derive(Debug, Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the name of the field is that of the JSON"
)]
pub(super) struct Cluster {
    cluster: String,
    quorum: bool,
    term: u64,
    leader: Option<String>,
    answered_by: String,
    nodes: Vec<Node>,
}

/// A member of the cluster; `null` is what a node does not say that does not answer.
#[derive(Debug, Serialize)]
struct Node {
    id: String,
    name: String,
    address: String,
    reachable: bool,
    role: Option<String>,
    term: Option<u64>,
    applied: Option<u64>,
    revision: Option<u64>,
    lag: Option<u64>,
    since: Option<String>,
    version: Option<String>,
    stopped: Option<String>,
    virtual_addresses: Vec<VirtualAddress>,
}

/// How a virtual address stands at a node.
#[derive(Debug, Serialize)]
struct VirtualAddress {
    address: String,
    interface: String,
    held: bool,
    standing: String,
    failing: bool,
    since: Option<String>,
}

impl From<v1::VirtualAddress> for VirtualAddress {
    fn from(told: v1::VirtualAddress) -> Self {
        Self {
            address: told.address,
            interface: told.interface,
            held: told.held,
            standing: told.standing,
            failing: told.failing,
            since: timestamp(told.since),
        }
    }
}

impl From<v1::GetClusterResponse> for Cluster {
    fn from(answer: v1::GetClusterResponse) -> Self {
        Self {
            cluster: answer.cluster,
            quorum: answer.quorum,
            term: answer.term,
            leader: Some(answer.leader).filter(|leader| !leader.is_empty()),
            answered_by: answer.answered_by,
            nodes: answer.nodes.into_iter().map(Node::from).collect(),
        }
    }
}

impl From<v1::Node> for Node {
    fn from(node: v1::Node) -> Self {
        let role = word("NODE_ROLE_", node.role().as_str_name());
        let said = node.reachable;
        Self {
            id: node.id,
            name: node.name,
            address: node.address,
            reachable: said,
            role: said.then_some(role),
            term: said.then_some(node.term),
            applied: said.then_some(node.applied),
            revision: said.then_some(node.revision),
            lag: said.then_some(node.lag),
            since: timestamp(node.since),
            version: said.then_some(node.version),
            stopped: Some(node.stopped).filter(|stopped| !stopped.is_empty()),
            virtual_addresses: node
                .virtual_addresses
                .into_iter()
                .map(VirtualAddress::from)
                .collect(),
        }
    }
}

/// The last changes, the newest first.
#[derive(Debug, Serialize)]
pub(super) struct History {
    revision: u64,
    events: Vec<HistoryEvent>,
}

/// One change.
#[derive(Debug, Serialize)]
struct HistoryEvent {
    revision: u64,
    time: Option<String>,
    what: String,
    from: String,
}

impl From<v1::GetHistoryResponse> for History {
    fn from(answer: v1::GetHistoryResponse) -> Self {
        let events = answer.events.into_iter().map(|event| HistoryEvent {
            revision: event.revision,
            time: timestamp(event.at),
            what: event.what,
            from: event.from,
        });
        Self {
            revision: answer.revision,
            events: events.collect(),
        }
    }
}

/// What became of a removal.
#[derive(Debug, Serialize)]
pub(super) struct Removal {
    /// False while running requests finish.
    removed: bool,
    server: Option<Server>,
}

impl Removal {
    pub(super) fn new(removed: bool, server: Option<v1::Server>) -> Self {
        let server = server.map(Server::from);
        Self { removed, server }
    }
}

/// A health check; what is absent is inherited.
#[derive(Debug, Default, Serialize)]
pub(super) struct Check {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval_seconds: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthy_threshold: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unhealthy_threshold: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u32>,
}

impl From<v1::HealthCheck> for Check {
    fn from(check: v1::HealthCheck) -> Self {
        use v1::health_check::Type;
        let kind = match check.r#type {
            None => Self::default(),
            Some(Type::Tcp(_)) => Self {
                kind: Some("tcp"),
                ..Self::default()
            },
            Some(Type::Http(http)) => Self {
                kind: Some("http"),
                path: Some(http.path),
                expected_status: Some(http.expected_status),
                host: (!http.host.is_empty()).then_some(http.host),
                ..Self::default()
            },
        };
        Self {
            interval_seconds: check.interval.map(Seconds),
            timeout_seconds: check.timeout.map(Seconds),
            healthy_threshold: check.healthy_threshold,
            unhealthy_threshold: check.unhealthy_threshold,
            port: check.port,
            ..kind
        }
    }
}

/// A pool.
#[derive(Debug, Serialize)]
pub(super) struct Pool {
    name: String,
    check: Option<Check>,
    balancing: String,
    fail_open: Option<bool>,
    drain_deadline_seconds: Option<Seconds>,
    deregister_after_seconds: Option<Seconds>,
    revision: u64,
    counts: Counts,
}

#[derive(Debug, Serialize)]
struct Counts {
    initial: u32,
    healthy: u32,
    unhealthy: u32,
    draining: u32,
    unused: u32,
}

impl From<v1::Pool> for Pool {
    fn from(pool: v1::Pool) -> Self {
        let settings = pool.settings.unwrap_or_default();
        let v1::PoolCounts {
            initial,
            healthy,
            unhealthy,
            draining,
            unused,
        } = pool.counts.unwrap_or_default();
        Self {
            name: pool.name,
            balancing: word("BALANCING_", settings.balancing().as_str_name()),
            check: settings.check.map(Check::from),
            fail_open: settings.fail_open,
            drain_deadline_seconds: settings.drain_deadline.map(Seconds),
            deregister_after_seconds: settings.deregister_after.map(Seconds),
            revision: pool.revision,
            counts: Counts {
                initial,
                healthy,
                unhealthy,
                draining,
                unused,
            },
        }
    }
}

/// The two pairs of counts, and nothing else: scripts compare this text.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    client: Outcomes,
    server: Outcomes,
}

#[derive(Debug, Serialize)]
struct Outcomes {
    success: u64,
    failed: u64,
}

impl From<Option<v1::Outcomes>> for Outcomes {
    fn from(outcomes: Option<v1::Outcomes>) -> Self {
        let v1::Outcomes { success, failed } = outcomes.unwrap_or_default();
        Self { success, failed }
    }
}

impl From<v1::Stats> for Summary {
    fn from(stats: v1::Stats) -> Self {
        Self {
            client: stats.client.into(),
            server: stats.server.into(),
        }
    }
}

/// The counts of one server.
#[derive(Debug, Serialize)]
pub(super) struct ServerStats {
    id: u64,
    ip: String,
    port: String,
    #[serde(flatten)]
    outcomes: Outcomes,
    state: String,
    reason: String,
    weight: u32,
    admin_state: String,
    in_flight: u64,
    requests_per_second: f64,
    connections: u64,
    connections_total: u64,
    connect_failures: u64,
    bytes_sent: u64,
    bytes_received: u64,
    statuses: Statuses,
    latency: Latency,
}

#[derive(Debug, Serialize)]
struct Statuses {
    informational: u64,
    success: u64,
    redirection: u64,
    client_error: u64,
    server_error: u64,
}

#[derive(Debug, Serialize)]
struct Latency {
    count: u64,
    mean_seconds: Option<Seconds>,
    p50_seconds: Option<Seconds>,
    p90_seconds: Option<Seconds>,
    p99_seconds: Option<Seconds>,
    p999_seconds: Option<Seconds>,
    max_seconds: Option<Seconds>,
}

impl From<v1::ServerStats> for ServerStats {
    fn from(stats: v1::ServerStats) -> Self {
        let admin_state = word("ADMIN_STATE_", stats.admin_state().as_str_name());
        let (ip, port) = ip_and_port(&stats.address);
        let health = stats.health.unwrap_or_default();
        let statuses = stats.statuses.unwrap_or_default();
        let latency = stats.latency.unwrap_or_default();
        Self {
            id: stats.id,
            ip,
            port,
            outcomes: stats.outcomes.into(),
            state: state(&health),
            reason: reason(&health),
            weight: stats.weight,
            admin_state,
            in_flight: stats.in_flight,
            requests_per_second: stats.requests_per_second,
            connections: stats.connections,
            connections_total: stats.connections_total,
            connect_failures: stats.connect_failures,
            bytes_sent: stats.bytes_sent,
            bytes_received: stats.bytes_received,
            statuses: Statuses {
                informational: statuses.informational,
                success: statuses.success,
                redirection: statuses.redirection,
                client_error: statuses.client_error,
                server_error: statuses.server_error,
            },
            latency: Latency {
                count: latency.count,
                mean_seconds: latency.mean.map(Seconds),
                p50_seconds: latency.p50.map(Seconds),
                p90_seconds: latency.p90.map(Seconds),
                p99_seconds: latency.p99.map(Seconds),
                p999_seconds: latency.p999.map(Seconds),
                max_seconds: latency.max.map(Seconds),
            },
        }
    }
}

/// A duration as a number of seconds: a whole one where it is whole.
#[derive(Debug)]
struct Seconds(ProtoDuration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ProtoDuration { seconds, nanos } = self.0;
        if nanos == 0 {
            return serializer.serialize_i64(seconds);
        }
        serializer.serialize_f64(seconds as f64 + f64::from(nanos) / 1e9)
    }
}

/// RFC 3339, with milliseconds.
fn timestamp(at: Option<ProtoTimestamp>) -> Option<String> {
    let at = SystemTime::try_from(at?).ok()?;
    Some(humantime::format_rfc3339_millis(at).to_string())
}

fn ip_and_port(address: &str) -> (String, String) {
    match address.parse::<SocketAddr>() {
        Ok(address) => (address.ip().to_string(), address.port().to_string()),
        Err(_) => (address.to_owned(), String::new()),
    }
}

fn state(health: &v1::Health) -> String {
    word("HEALTH_STATE_", health.state().as_str_name())
}

fn reason(health: &v1::Health) -> String {
    word("HEALTH_REASON_", health.reason().as_str_name())
}

/// A value of an enum as people read it: without the enum's name, in lower case.
fn word(prefix: &str, name: &str) -> String {
    name.strip_prefix(prefix)
        .unwrap_or(name)
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_whole_where_they_are_whole() {
        let json = |seconds, nanos| {
            serde_json::to_string(&Seconds(ProtoDuration { seconds, nanos })).unwrap()
        };
        assert_eq!(json(5, 0), "5");
        assert_eq!(json(0, 250_000_000), "0.25");
    }

    #[test]
    fn the_summary_is_exactly_what_scripts_compare() {
        let stats = v1::Stats {
            client: Some(v1::Outcomes {
                success: 3,
                failed: 1,
            }),
            ..v1::Stats::default()
        };
        assert_eq!(
            serde_json::to_string(&Summary::from(stats)).unwrap(),
            r#"{"client":{"success":3,"failed":1},"server":{"success":0,"failed":0}}"#
        );
    }

    #[test]
    fn the_detail_of_a_server_begins_with_the_keys_that_scripts_know() {
        let stats = v1::ServerStats {
            id: 7,
            address: "[::1]:80".into(),
            outcomes: Some(v1::Outcomes {
                success: 2,
                failed: 1,
            }),
            ..v1::ServerStats::default()
        };
        let json = serde_json::to_string(&ServerStats::from(stats)).unwrap();
        assert!(
            json.starts_with(r#"{"id":7,"ip":"::1","port":"80","success":2,"failed":1,"#),
            "{json}"
        );
    }
}
