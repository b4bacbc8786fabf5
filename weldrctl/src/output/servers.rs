//! The table of servers: for `list` from the servers and the statistics, for `stats` from the statistics.

use prost_types::Timestamp;
use weldr_proto::v1::{
    Health, HealthCheck, Latency, Outcomes, Server, ServerStats, Stats, health_check::Type,
};

use super::{
    figures::{self, NONE},
    style::{Paint, Tint},
    table::{self, Cell, Column, figures as figure, words as word},
    words,
};
use crate::rates::{ServerRates, per_server};

const LIST: [Column; 10] = [
    word("ADDRESS"),
    word("STATE"),
    word("REASON"),
    figure("SINCE"),
    word("ADMIN"),
    figure("WEIGHT"),
    figure("IN FLIGHT"),
    figure("REQUESTS/S"),
    figure("FAILURES"),
    figure("P99"),
];

const LIST_WIDE: [Column; 8] = [
    figure("ID"),
    word("CHECK"),
    figure("ADDED"),
    figure("REVISION"),
    figure("CONNECTIONS"),
    figure("SENT"),
    figure("RECEIVED"),
    figure("P50"),
];

const DETAIL: [Column; 10] = [
    word("ADDRESS"),
    word("STATE"),
    word("REASON"),
    figure("SINCE"),
    figure("WEIGHT"),
    figure("IN FLIGHT"),
    figure("REQUESTS/S"),
    figure("SUCCESS"),
    figure("FAILED"),
    figure("P99"),
];

const DETAIL_WIDE: [Column; 9] = [
    word("ADMIN"),
    figure("ID"),
    figure("CONNECTIONS"),
    figure("CONNECT FAILURES"),
    figure("SENT"),
    figure("RECEIVED"),
    figure("P50"),
    figure("P90"),
    figure("P99.9"),
];

/// The servers of a pool, each with its statistics.
pub(crate) fn list(servers: &[Server], stats: &Stats, wide: bool, paint: Paint) -> String {
    let now = stats.at.unwrap_or_else(figures::now);
    let by_id = crate::rates::by_id(&stats.servers);
    let mut columns = LIST.to_vec();
    if wide {
        columns.extend(LIST_WIDE);
    }
    let rows = servers
        .iter()
        .map(|server| list_row(server, by_id.get(&server.id).copied(), now, wide))
        .collect();
    table::render(&columns, rows, paint)
}

fn list_row(server: &Server, stats: Option<&ServerStats>, now: Timestamp, wide: bool) -> Vec<Cell> {
    let mut row: Vec<Cell> = vec![server.address.as_str().into()];
    row.extend(health(server.health.as_ref(), now));
    row.extend([
        words::admin_state(server.admin_state).into(),
        server.weight.to_string().into(),
        server.in_flight.to_string().into(),
        or_none(stats, |stats| figures::rate(stats.requests_per_second)),
        or_none(stats, |stats| outcomes(stats).failed.to_string()),
        percentile(stats, |latency| latency.p99),
    ]);
    if wide {
        row.extend([
            server.id.to_string().into(),
            check(server.effective_check.as_ref()).into(),
            figures::since(server.added_at, now).into(),
            server.revision.to_string().into(),
            or_none(stats, |stats| stats.connections.to_string()),
            or_none(stats, |stats| figures::bytes(stats.bytes_sent)),
            or_none(stats, |stats| figures::bytes(stats.bytes_received)),
            percentile(stats, |latency| latency.p50),
        ]);
    }
    row
}

/// The statistics of each server. Rates are those between `earlier` and `stats`, or without `earlier` those from weldr.
pub(crate) fn detail(stats: &Stats, earlier: Option<&Stats>, wide: bool, paint: Paint) -> String {
    let now = stats.at.unwrap_or_else(figures::now);
    let mut columns = DETAIL.to_vec();
    if wide {
        columns.extend(DETAIL_WIDE);
    }
    let rates = earlier.map(|earlier| per_server(earlier, stats));
    let rows = stats
        .servers
        .iter()
        .map(|server| {
            let between = rates.as_ref().and_then(|rates| rates.get(&server.id));
            detail_row(server, between, now, wide)
        })
        .collect();
    table::render(&columns, rows, paint)
}

fn detail_row(
    server: &ServerStats,
    between: Option<&ServerRates>,
    now: Timestamp,
    wide: bool,
) -> Vec<Cell> {
    let rate = between.map_or(server.requests_per_second, |rates| rates.requests);
    let failing = between.is_some_and(|rates| rates.failed > 0.0);
    let outcomes = outcomes(server);
    let mut row: Vec<Cell> = vec![server.address.as_str().into()];
    row.extend(health(server.health.as_ref(), now));
    row.extend([
        server.weight.to_string().into(),
        server.in_flight.to_string().into(),
        figures::rate(rate).into(),
        outcomes.success.to_string().into(),
        Cell::tinted(outcomes.failed.to_string(), failing.then_some(Tint::Bad)),
        percentile(Some(server), |latency| latency.p99),
    ]);
    if wide {
        row.extend([
            words::admin_state(server.admin_state).into(),
            server.id.to_string().into(),
            server.connections.to_string().into(),
            server.connect_failures.to_string().into(),
            figures::bytes(server.bytes_sent).into(),
            figures::bytes(server.bytes_received).into(),
            percentile(Some(server), |latency| latency.p50),
            percentile(Some(server), |latency| latency.p90),
            percentile(Some(server), |latency| latency.p999),
        ]);
    }
    row
}

/// State, reason, since.
fn health(health: Option<&Health>, now: Timestamp) -> [Cell; 3] {
    let Some(health) = health else {
        return [NONE.into(), NONE.into(), NONE.into()];
    };
    let tint = Tint::of_state(health.state);
    [
        Cell::tinted(words::state(health.state), tint),
        words::because(health).into(),
        figures::since(health.since, now).into(),
    ]
}

/// A short description of a check: `http /health 200-299 every 5s`.
pub(crate) fn check(check: Option<&HealthCheck>) -> String {
    let Some(check) = check else {
        return NONE.to_owned();
    };
    let mut parts = Vec::new();
    match &check.r#type {
        Some(Type::Http(http)) => {
            parts.push("http".to_owned());
            for part in [&http.path, &http.expected_status] {
                if !part.is_empty() {
                    parts.push(part.clone());
                }
            }
            if !matches!(http.method.as_str(), "" | "GET") {
                parts.push(format!("by {}", http.method));
            }
            if !http.host.is_empty() {
                parts.push(format!("host {}", http.host));
            }
            if !http.body.is_empty() {
                parts.push(format!("with {:?}", http.body));
            }
        }
        Some(Type::Tcp(_)) => parts.push("tcp".to_owned()),
        None => {}
    }
    if let Some(port) = check.port.filter(|port| *port != 0) {
        parts.push(format!("port {port}"));
    }
    if let Some(interval) = check.interval {
        parts.push(format!("every {}", figures::setting(interval)));
    }
    if let Some(timeout) = check.timeout {
        parts.push(format!("timeout {}", figures::setting(timeout)));
    }
    if let Some(rise) = check.healthy_threshold {
        parts.push(format!("healthy after {rise}"));
    }
    if let Some(fall) = check.unhealthy_threshold {
        parts.push(format!("unhealthy after {fall}"));
    }
    let none = prost_types::Duration::default();
    if let Some(grace) = check.grace.filter(|grace| *grace != none) {
        parts.push(format!("grace {}", figures::setting(grace)));
    }
    if check.begins_healthy() {
        parts.push("begins healthy".to_owned());
    }
    if parts.is_empty() {
        return NONE.to_owned();
    }
    parts.join(" ")
}

fn outcomes(stats: &ServerStats) -> Outcomes {
    stats.outcomes.unwrap_or_default()
}

fn or_none(stats: Option<&ServerStats>, show: impl Fn(&ServerStats) -> String) -> Cell {
    stats.map_or_else(|| NONE.to_owned(), show).into()
}

/// A percentile of the latency, if at least one response was measured.
fn percentile(
    stats: Option<&ServerStats>,
    pick: impl Fn(&Latency) -> Option<prost_types::Duration>,
) -> Cell {
    stats
        .and_then(|stats| stats.latency.as_ref())
        .filter(|latency| latency.count > 0)
        .and_then(pick)
        .map_or_else(|| NONE.to_owned(), figures::latency)
        .into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weldr_proto::v1::{AdminState, HealthReason, HealthState, HttpCheck};

    use super::*;
    use crate::settings::proto_duration;

    fn server(id: u64, address: &str, health: Health) -> Server {
        Server {
            id,
            address: address.to_owned(),
            weight: 1,
            admin_state: AdminState::Ready.into(),
            health: Some(health),
            in_flight: 2,
            revision: 9,
            ..Server::default()
        }
    }

    fn unhealthy() -> Health {
        Health {
            state: HealthState::Unhealthy.into(),
            reason: HealthReason::ConnectionRefused.into(),
            description: "connection refused (3 checks failed in a row)".to_owned(),
            since: Some(Timestamp {
                seconds: 100,
                nanos: 0,
            }),
        }
    }

    fn healthy() -> Health {
        Health {
            state: HealthState::Healthy.into(),
            reason: HealthReason::ChecksPassed.into(),
            description: "2 checks passed in a row".to_owned(),
            since: Some(Timestamp {
                seconds: 40,
                nanos: 0,
            }),
        }
    }

    fn stats() -> Stats {
        Stats {
            at: Some(Timestamp {
                seconds: 160,
                nanos: 0,
            }),
            servers: vec![ServerStats {
                id: 1,
                address: "10.0.0.1:80".to_owned(),
                outcomes: Some(Outcomes {
                    success: 500,
                    failed: 3,
                }),
                latency: Some(Latency {
                    count: 503,
                    p99: Some(proto_duration(Duration::from_micros(1_240))),
                    ..Latency::default()
                }),
                requests_per_second: 12.34,
                health: Some(healthy()),
                weight: 1,
                ..ServerStats::default()
            }],
            ..Stats::default()
        }
    }

    #[test]
    fn list_shows_state_reason_since_and_figures() {
        let servers = [
            server(1, "10.0.0.1:80", healthy()),
            server(2, "10.0.0.2:80", unhealthy()),
        ];
        assert_eq!(
            list(&servers, &stats(), false, Paint::PLAIN),
            "\
ADDRESS      STATE      REASON                                         SINCE  ADMIN  WEIGHT  IN FLIGHT  REQUESTS/S  FAILURES    P99
10.0.0.1:80  healthy    checks passed                                     2m  ready       1          2        12.3         3  1.2ms
10.0.0.2:80  unhealthy  connection refused (3 checks failed in a row)     1m  ready       1          2           -         -      -
"
        );
    }

    #[test]
    fn wide_adds_columns() {
        let servers = [server(1, "10.0.0.1:80", healthy())];
        let text = list(&servers, &stats(), true, Paint::PLAIN);
        let head = text.lines().next().unwrap_or_default();
        for title in ["ID", "CHECK", "ADDED", "REVISION", "CONNECTIONS", "P50"] {
            assert!(head.contains(title), "{title} in {head}");
        }
    }

    #[test]
    fn states_have_their_colours() {
        let servers = [
            server(1, "10.0.0.1:80", healthy()),
            server(2, "10.0.0.2:80", unhealthy()),
        ];
        let text = list(&servers, &stats(), false, Paint::COLOURED);
        assert!(text.contains("\x1b[32mhealthy"), "{text:?}");
        assert!(text.contains("\x1b[31munhealthy"), "{text:?}");
    }

    #[test]
    fn detail_prefers_the_rate_between_two_samples() {
        let earlier = stats();
        let mut later = stats();
        later.at = Some(Timestamp {
            seconds: 162,
            nanos: 0,
        });
        if let Some(outcomes) = later.servers[0].outcomes.as_mut() {
            outcomes.success += 100;
        }
        let alone = detail(&later, None, false, Paint::PLAIN);
        assert!(alone.contains("12.3"), "{alone}");
        let between = detail(&later, Some(&earlier), false, Paint::PLAIN);
        assert!(between.contains("50.0"), "{between}");
        assert!(!between.contains("12.3"), "{between}");
    }

    #[test]
    fn checks_read_in_a_few_words() {
        let http = HealthCheck {
            r#type: Some(Type::Http(HttpCheck {
                path: "/health".to_owned(),
                expected_status: "200-299".to_owned(),
                host: String::new(),
                ..HttpCheck::default()
            })),
            interval: Some(proto_duration(Duration::from_secs(5))),
            port: Some(0),
            ..HealthCheck::default()
        };
        assert_eq!(check(Some(&http)), "http /health 200-299 every 5s");
        assert_eq!(check(None), "-");
    }
}
