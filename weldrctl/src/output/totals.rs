//! The statistics of a node: as a table, as lines for a pipe, and as a frame for a terminal.

use std::{cmp::Reverse, collections::BTreeMap, fmt::Write as _};

use weldr_proto::v1::{HealthState, ServerStats, Stats};

use super::{
    figures::{self, NONE},
    servers,
    style::{Paint, Tint},
    table::{self, Cell, figures as figure, words as word},
    words,
};
use crate::rates::{Rates, between, per_server};

/// Successes and failures of clients and servers since weldr started.
pub(crate) fn table(stats: &Stats, paint: Paint) -> String {
    let columns = [word("SIDE"), figure("SUCCESS"), figure("FAILED")];
    let rows = [("client", stats.client), ("server", stats.server)]
        .into_iter()
        .map(|(side, outcomes)| {
            let outcomes = outcomes.unwrap_or_default();
            let failed = (outcomes.failed > 0).then_some(Tint::Bad);
            vec![
                side.into(),
                outcomes.success.to_string().into(),
                Cell::tinted(outcomes.failed.to_string(), failed),
            ]
        })
        .collect();
    table::render(&columns, rows, paint)
}

/// A summary of the connections and requests of clients since weldr started.
pub(crate) fn clients(stats: &Stats) -> String {
    let clients = stats.client_detail.unwrap_or_default();
    format!(
        "clients: {}/s, {} in flight, {} connections ({} in all), {} retries, {} received, {} sent\n",
        figures::rate(clients.requests_per_second),
        clients.in_flight,
        clients.connections,
        clients.connections_total,
        clients.retries,
        figures::bytes(clients.bytes_received),
        figures::bytes(clients.bytes_sent)
    ) + &counts("failures", &stats.failures)
        + &counts("responses of weldr itself", &stats.local_replies)
        + &counts(
            "refused by the PROXY protocol",
            &stats.proxy_protocol_refused,
        )
        + &handshakes(stats)
}

/// The TLS handshakes; empty when there were none.
fn handshakes(stats: &Stats) -> String {
    let handshakes = stats.handshakes.clone().unwrap_or_default();
    let complete = if handshakes.full + handshakes.resumed == 0 {
        String::new()
    } else {
        format!(
            "TLS handshakes: {} full, {} resumed\n",
            handshakes.full, handshakes.resumed
        )
    };
    complete + &counts("failed TLS handshakes", &handshakes.failed)
}

/// What there was by its reasons, the most frequent first; empty when there was nothing.
fn counts(what: &str, counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return String::new();
    }
    format!("{what}: {}\n", reasons(counts))
}

/// Counts with their reasons, the most frequent first.
pub(super) fn reasons(counts: &BTreeMap<String, u64>) -> String {
    let mut reasons: Vec<_> = counts.iter().collect();
    reasons.sort_by_key(|(reason, count)| (Reverse(**count), *reason));
    let reasons = reasons
        .into_iter()
        .map(|(reason, count)| format!("{count} {reason}"));
    reasons.collect::<Vec<_>>().join(", ")
}

/// One sample as lines of `name=value` pairs, as the help of `stats --watch` documents them.
pub(crate) fn lines(stats: &Stats, earlier: Option<&Stats>, detail: bool) -> String {
    let rates = earlier.and_then(|earlier| between(earlier, stats));
    let rate = |pick: fn(&Rates) -> f64| pair_rate(rates.as_ref().map(pick));
    let time = figures::instant(stats.at.unwrap_or_else(figures::now));
    let client = stats.client.unwrap_or_default();
    let server = stats.server.unwrap_or_default();
    let in_flight = stats
        .client_detail
        .as_ref()
        .map_or(0, |clients| clients.in_flight);
    let mut text = format!(
        "{time} client_rps={} client_failed_ps={} client_in_flight={in_flight} server_rps={} \
         server_failed_ps={} healthy={}/{} client_success={} client_failed={} server_success={} \
         server_failed={}\n",
        rate(|rates| rates.client),
        rate(|rates| rates.client_failed),
        rate(|rates| rates.server),
        rate(|rates| rates.server_failed),
        healthy(stats),
        stats.servers.len(),
        client.success,
        client.failed,
        server.success,
        server.failed,
    );
    if detail {
        text.push_str(&server_lines(&time, stats, earlier));
    }
    text
}

fn server_lines(time: &str, stats: &Stats, earlier: Option<&Stats>) -> String {
    let rates = earlier.map(|earlier| per_server(earlier, stats));
    let mut text = String::new();
    for server in &stats.servers {
        let rates = rates.as_ref().and_then(|rates| rates.get(&server.id));
        let outcomes = server.outcomes.unwrap_or_default();
        _ = writeln!(
            text,
            "{time} server={} state={} rps={} failed_ps={} in_flight={} success={} failed={} p99_ms={}",
            server.address,
            server
                .health
                .as_ref()
                .map_or_else(|| "unknown".to_owned(), |health| words::state(health.state)),
            pair_rate(rates.map(|rates| rates.requests)),
            pair_rate(rates.map(|rates| rates.failed)),
            server.in_flight,
            outcomes.success,
            outcomes.failed,
            pair_millis(p99(server)),
        );
    }
    text
}

/// The median or another percentile, if at least one response was measured.
fn p99(server: &ServerStats) -> Option<prost_types::Duration> {
    let latency = server.latency.as_ref()?;
    latency.p99.filter(|_| latency.count > 0)
}

/// One sample as a frame for a terminal: the endpoint, the clients, and each server.
pub(crate) fn frame(
    endpoint: &str,
    stats: &Stats,
    earlier: Option<&Stats>,
    wide: bool,
    paint: Paint,
) -> String {
    let now = stats.at.unwrap_or_else(figures::now);
    let rates = earlier.and_then(|earlier| between(earlier, stats));
    let rate = |pick: fn(&Rates) -> f64| shown_rate(rates.as_ref().map(pick));
    let clients = stats.client_detail.unwrap_or_default();
    let client = stats.client.unwrap_or_default();
    let failing = rates.is_some_and(|rates| rates.client_failed > 0.0);
    let failed = format!("{} failed/s", rate(|rates| rates.client_failed));
    let (head, bad) = (Some(Tint::Head), failing.then_some(Tint::Bad));
    let volume = |pick: fn(&Rates) -> f64| {
        rates
            .as_ref()
            .map_or_else(|| NONE.to_owned(), |rates| volume(pick(rates)))
    };
    format!(
        "{} {endpoint}  up {}  {}\n\
         \n\
         clients  {}  {}  {} in flight  {} connections  {} retries/s  {} in  {} out\n\
         totals   {} success  {} failed\n\
         servers  {} of {} healthy\n\
         \n\
         {}",
        paint.text("weldr", head),
        figures::since(stats.started_at, now),
        figures::instant(now),
        paint.text(format!("{} requests/s", rate(|rates| rates.client)), head),
        paint.text(failed, bad),
        clients.in_flight,
        clients.connections,
        rate(|rates| rates.retries),
        volume(|rates| rates.bytes_received),
        volume(|rates| rates.bytes_sent),
        client.success,
        client.failed,
        healthy(stats),
        stats.servers.len(),
        servers::detail(stats, earlier, wide, paint),
    )
}

fn healthy(stats: &Stats) -> usize {
    let is_healthy = |state: HealthState| state == HealthState::Healthy;
    stats
        .servers
        .iter()
        .filter_map(|server| server.health.as_ref())
        .filter(|health| is_healthy(health.state()))
        .count()
}

/// A rate for a program: a plain number.
fn pair_rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| NONE.to_owned(), |rate| format!("{rate:.1}"))
}

/// A duration for a program: milliseconds.
fn pair_millis(duration: Option<prost_types::Duration>) -> String {
    duration.map_or_else(
        || NONE.to_owned(),
        |duration| format!("{:.3}", figures::seconds(duration) * 1e3),
    )
}

/// A rate for a person.
fn shown_rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| NONE.to_owned(), figures::rate)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate of bytes is not negative, and the cast saturates"
)]
fn volume(bytes_per_second: f64) -> String {
    format!("{}/s", figures::bytes(bytes_per_second as u64))
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use weldr_proto::v1::{ClientStats, Handshakes, Health, Outcomes};

    use super::*;

    fn sample(seconds: i64, success: u64) -> Stats {
        let outcomes = Some(Outcomes { success, failed: 2 });
        Stats {
            at: Some(Timestamp { seconds, nanos: 0 }),
            started_at: Some(Timestamp::default()),
            uptime: None,
            client: outcomes,
            server: outcomes,
            client_detail: Some(ClientStats {
                in_flight: 4,
                connections: 64,
                bytes_sent: success * 1_000,
                ..ClientStats::default()
            }),
            failures: [
                ("client_closed".to_owned(), 1),
                ("connection_refused".to_owned(), 9),
                ("connection_timeout".to_owned(), 1),
            ]
            .into(),
            proxy_protocol_refused: [("missing".to_owned(), 3), ("timeout".to_owned(), 4)].into(),
            local_replies: [("redirect".to_owned(), 8)].into(),
            handshakes: Some(Handshakes {
                full: 5,
                resumed: 6,
                failed: [("plain_http".to_owned(), 7)].into(),
            }),
            servers: vec![ServerStats {
                id: 1,
                address: "10.0.0.1:80".to_owned(),
                outcomes,
                health: Some(Health {
                    state: HealthState::Healthy.into(),
                    ..Health::default()
                }),
                ..ServerStats::default()
            }],
        }
    }

    #[test]
    fn totals_are_a_small_table() {
        assert_eq!(
            table(&sample(60, 1_200), Paint::PLAIN),
            "SIDE    SUCCESS  FAILED\nclient     1200       2\nserver     1200       2\n"
        );
    }

    #[test]
    fn the_reasons_of_failures_are_told_by_their_frequency() {
        let text = clients(&sample(60, 1));
        let end = "failures: 9 connection_refused, 1 client_closed, 1 connection_timeout\n\
                   responses of weldr itself: 8 redirect\n\
                   refused by the PROXY protocol: 4 timeout, 3 missing\n\
                   TLS handshakes: 5 full, 6 resumed\n\
                   failed TLS handshakes: 7 plain_http\n";
        assert!(text.ends_with(end), "{text}");
        assert_eq!(counts("failures", &BTreeMap::new()), "");
    }

    #[test]
    fn the_first_line_has_no_rates() {
        assert_eq!(
            lines(&sample(60, 10), None, false),
            "1970-01-01T00:01:00.000Z client_rps=- client_failed_ps=- client_in_flight=4 server_rps=- \
             server_failed_ps=- healthy=1/1 client_success=10 client_failed=2 server_success=10 \
             server_failed=2\n"
        );
    }

    #[test]
    fn detail_adds_a_line_a_server() {
        let text = lines(&sample(62, 30), Some(&sample(60, 10)), true);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].contains("client_rps=10.0 client_failed_ps=0.0"),
            "{text}"
        );
        assert_eq!(
            lines[1],
            "1970-01-01T00:01:02.000Z server=10.0.0.1:80 state=healthy rps=10.0 failed_ps=0.0 \
             in_flight=0 success=30 failed=2 p99_ms=-"
        );
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_frame_shows_clients_and_servers() {
        let (earlier, later) = (sample(60, 10), sample(62, 30));
        let text = frame(
            "http://127.0.0.1:8687",
            &later,
            Some(&earlier),
            false,
            Paint::PLAIN,
        );
        for part in [
            "weldr http://127.0.0.1:8687  up 1m",
            "10.0 requests/s  0 failed/s  4 in flight  64 connections",
            "10 kB/s out",
            "servers  1 of 1 healthy",
            "10.0.0.1:80  healthy",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
