//! Messages of the API, and the JSON that REST (`rest-*.json`) and `weldrctl` (`weldrctl-*.json`) showed for them when
//! each had JSON of its own. The tests of both programs include this file: JSON that scripts read may gain fields, and
//! must not lose any.
#![allow(
    clippy::unnecessary_wraps,
    clippy::needless_update,
    clippy::unwrap_used,
    dead_code,
    reason = "the helpers make fields as the messages have them, new fields need not be listed, and each program uses the \
              messages that it shows"
)]

use prost_types::{Duration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use weldr_proto::v1;

/// Panics unless a program that reads `recorded`, a document, can read what `shown` becomes as JSON: each recorded
/// field is there with the same value. Times are compared as times and numbers as numbers.
#[track_caller]
pub(crate) fn assert_compatible(recorded: &str, shown: &impl Serialize) {
    let recorded: Value = serde_json::from_str(recorded).unwrap();
    let shown = serde_json::to_value(shown).unwrap();
    let mut differences = Vec::new();
    compare("", &recorded, Some(&shown), &mut differences);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn compare(path: &str, recorded: &Value, shown: Option<&Value>, differences: &mut Vec<String>) {
    let time = |value: &Value| humantime::parse_rfc3339(value.as_str()?).ok();
    let same = match (recorded, shown) {
        (Value::Object(fields), Some(Value::Object(shown))) => {
            for (name, value) in fields {
                compare(
                    &format!("{path}.{name}"),
                    value,
                    shown.get(name),
                    differences,
                );
            }
            true
        }
        (Value::Array(values), Some(Value::Array(shown))) => {
            for (index, value) in values.iter().enumerate() {
                compare(
                    &format!("{path}[{index}]"),
                    value,
                    shown.get(index),
                    differences,
                );
            }
            values.len() == shown.len()
        }
        (Value::Number(number), Some(Value::Number(shown))) => number.as_f64() == shown.as_f64(),
        (_, Some(shown)) => {
            recorded == shown || (time(recorded).is_some() && time(recorded) == time(shown))
        }
        (_, None) => false,
    };
    if !same {
        let shown = shown.map_or_else(|| "nothing".to_owned(), Value::to_string);
        differences.push(format!("{path}: {shown} instead of {recorded}"));
    }
}

fn at(seconds: i64, nanos: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos })
}

fn lasting(seconds: i64, nanos: i32) -> Option<Duration> {
    Some(Duration { seconds, nanos })
}

fn health() -> v1::Health {
    v1::Health {
        state: v1::HealthState::Unhealthy.into(),
        reason: v1::HealthReason::ConnectionRefused.into(),
        description: "connection refused (3 checks failed in a row)".to_owned(),
        since: at(1_700_000_000, 250_000_000),
    }
}

fn http_check() -> v1::HealthCheck {
    v1::HealthCheck {
        r#type: Some(v1::health_check::Type::Http(v1::HttpCheck {
            path: "/health".to_owned(),
            expected_status: "200-299".to_owned(),
            host: "example.org".to_owned(),
            ..v1::HttpCheck::default()
        })),
        interval: lasting(5, 0),
        timeout: lasting(0, 500_000_000),
        healthy_threshold: Some(2),
        unhealthy_threshold: Some(3),
        port: Some(9000),
        ..v1::HealthCheck::default()
    }
}

fn tcp_check() -> v1::HealthCheck {
    v1::HealthCheck {
        r#type: Some(v1::health_check::Type::Tcp(v1::TcpCheck {})),
        ..http_check()
    }
}

/// A server with every field set.
pub(crate) fn full_server() -> v1::Server {
    v1::Server {
        pool: "default".to_owned(),
        id: 3,
        address: "[::1]:80".to_owned(),
        weight: 2,
        admin_state: v1::AdminState::Drain.into(),
        check: Some(v1::HealthCheck {
            r#type: Some(v1::health_check::Type::Http(v1::HttpCheck {
                path: "/health".to_owned(),
                ..v1::HttpCheck::default()
            })),
            interval: lasting(1, 500_000_000),
            ..v1::HealthCheck::default()
        }),
        effective_check: Some(http_check()),
        health: Some(health()),
        removal_deadline: at(1_700_000_030, 0),
        added_at: at(1_699_999_000, 1_000_000),
        revision: 12,
        in_flight: 1,
        removal_remaining: lasting(7, 500_000_000),
    }
}

/// A server that overrides nothing and is not being removed.
pub(crate) fn plain_server() -> v1::Server {
    v1::Server {
        check: None,
        effective_check: Some(tcp_check()),
        removal_deadline: None,
        removal_remaining: None,
        ..full_server()
    }
}

pub(crate) fn pool() -> v1::Pool {
    v1::Pool {
        name: "default".to_owned(),
        settings: Some(v1::PoolSettings {
            check: Some(tcp_check()),
            balancing: v1::Balancing::LeastRequests.into(),
            fail_open: Some(true),
            drain_deadline: lasting(30, 0),
            deregister_after: lasting(0, 0),
            strict_responses: Some(false),
            ..v1::PoolSettings::default()
        }),
        revision: 2,
        counts: Some(v1::PoolCounts {
            initial: 1,
            healthy: 2,
            unhealthy: 3,
            draining: 4,
            unused: 5,
        }),
    }
}

fn statuses() -> Option<v1::StatusClasses> {
    Some(v1::StatusClasses {
        informational: 1,
        success: 2,
        redirection: 3,
        client_error: 4,
        server_error: 5,
    })
}

fn failures() -> std::collections::BTreeMap<String, u64> {
    [
        ("client_closed".to_owned(), 9),
        ("connection_refused".to_owned(), 1),
    ]
    .into()
}

/// Statistics with a server that was measured and one that was not.
pub(crate) fn stats() -> v1::Stats {
    let measured = v1::ServerStats {
        id: 3,
        address: "[::1]:80".to_owned(),
        outcomes: Some(v1::Outcomes {
            success: 8,
            failed: 1,
        }),
        in_flight: 1,
        connections: 2,
        connections_total: 3,
        connect_failures: 4,
        bytes_sent: 5,
        bytes_received: 6,
        statuses: statuses(),
        latency: Some(v1::Latency {
            count: 9,
            mean: lasting(0, 5_000_000),
            p50: lasting(0, 4_000_000),
            p90: lasting(0, 8_000_000),
            p99: lasting(0, 9_000_000),
            p999: lasting(1, 0),
            max: lasting(2, 0),
        }),
        requests_per_second: 1.5,
        health: Some(health()),
        weight: 2,
        admin_state: v1::AdminState::Ready.into(),
    };
    let idle = v1::ServerStats {
        id: 4,
        address: "127.0.0.1:81".to_owned(),
        latency: Some(v1::Latency::default()),
        ..measured.clone()
    };
    v1::Stats {
        at: at(1_700_000_100, 0),
        started_at: at(1_700_000_000, 0),
        uptime: lasting(100, 0),
        client: Some(v1::Outcomes {
            success: 10,
            failed: 2,
        }),
        server: Some(v1::Outcomes {
            success: 9,
            failed: 1,
        }),
        client_detail: Some(v1::ClientStats {
            connections: 1,
            connections_total: 2,
            in_flight: 3,
            bytes_received: 4,
            bytes_sent: 5,
            statuses: statuses(),
            retries: 6,
            requests_per_second: 7.5,
            connections_refused: 8,
        }),
        failures: failures(),
        proxy_protocol_refused: [("missing".to_owned(), 3)].into(),
        local_replies: [("redirect".to_owned(), 13)].into(),
        handshakes: Some(v1::Handshakes {
            full: 10,
            resumed: 11,
            failed: [("plain_http".to_owned(), 12)].into(),
        }),
        servers: vec![measured, idle],
    }
}

/// A leader that holds an address, and a node that does not respond.
pub(crate) fn cluster() -> v1::GetClusterResponse {
    let leader = v1::Node {
        id: "a1".to_owned(),
        name: "a".to_owned(),
        address: "127.0.0.1:8688".to_owned(),
        role: v1::NodeRole::Leader.into(),
        reachable: true,
        term: 4,
        applied: 17,
        revision: 9,
        lag: 0,
        since: at(1_700_000_000, 0),
        version: "0.1.0".to_owned(),
        stopped: "a change of a newer weldr".to_owned(),
        virtual_addresses: vec![v1::VirtualAddress {
            address: "10.0.0.100/24".to_owned(),
            interface: "eth0".to_owned(),
            held: true,
            standing: "holding".to_owned(),
            since: at(1_700_000_001, 0),
            failing: false,
            ..v1::VirtualAddress::default()
        }],
        ..v1::Node::default()
    };
    let silent = v1::Node {
        id: "b2".to_owned(),
        name: "b".to_owned(),
        address: "127.0.0.1:8698".to_owned(),
        ..v1::Node::default()
    };
    v1::GetClusterResponse {
        revision: 9,
        cluster: "6ba7b810-9dad-11d1-80b4-00c04fd430c8".to_owned(),
        quorum: true,
        term: 4,
        leader: "a".to_owned(),
        answered_by: "a".to_owned(),
        nodes: vec![leader, silent],
        ..v1::GetClusterResponse::default()
    }
}

/// The same cluster with what nodes report for operators since 0.2.0.
pub(crate) fn cluster_for_operators() -> v1::GetClusterResponse {
    let mut cluster = cluster();
    let [leader, silent] = cluster.nodes.as_mut_slice() else {
        panic!("the sample has two nodes");
    };
    leader.votes = true;
    leader.disk = Some(v1::Disk {
        state: v1::DiskState::Failed.into(),
        cause: "no space left on device".to_owned(),
    });
    leader.clock_offset = lasting(-1, -500_000_000);
    leader.failover = "normal".to_owned();
    leader.backups = Some(v1::Backups {
        revision: 8,
        at: at(1_700_000_002, 0),
        failure: "the write of a backup does not end".to_owned(),
    });
    leader.certificate_expires = at(1_800_000_000, 0);
    leader.data_dir_mode = 0o700;
    let address = &mut leader.virtual_addresses[0];
    address.guard = v1::GuardState::Restarted.into();
    address.guard_restarts = 2;
    address.link = v1::LinkState::Up.into();
    silent.votes = true;
    silent.last_contact = lasting(4, 250_000_000);
    cluster.voters = Some(v1::Voters {
        total: 2,
        responding: 1,
        majority: 2,
        silent: vec!["b".to_owned()],
    });
    cluster
}

pub(crate) fn history() -> v1::GetHistoryResponse {
    v1::GetHistoryResponse {
        revision: 9,
        events: vec![v1::HistoryEvent {
            revision: 9,
            at: at(1_700_000_000, 0),
            from: "127.0.0.1:40000".to_owned(),
            what: "add 10.0.0.7:8080".to_owned(),
        }],
    }
}

/// What two nodes see of a server, one of which does not respond.
pub(crate) fn health_on_nodes() -> v1::ListHealthResponse {
    let node = |name: &str, health| v1::NodeHealth {
        node: name.to_owned(),
        health,
        in_flight: 1,
    };
    v1::ListHealthResponse {
        revision: 9,
        servers: vec![v1::ServerHealth {
            address: "127.0.0.1:81".to_owned(),
            id: 4,
            nodes: vec![node("a", Some(health())), node("b", None)],
            in_flight: 2,
        }],
    }
}
