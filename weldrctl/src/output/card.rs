//! All details of one object, one field per line: `get` and `pool get`.

use std::fmt::Write as _;

use prost_types::Timestamp;
use weldr_proto::v1::{Balancing, Latency, Pool, PoolSettings, Server, ServerStats};

use super::{
    event, figures, pools,
    servers::check,
    style::{Paint, Tint},
    words,
};

/// A server and its statistics.
pub(crate) fn server(
    server: &Server,
    stats: Option<&ServerStats>,
    now: Timestamp,
    paint: Paint,
) -> String {
    let since = server.health.as_ref().and_then(|health| health.since);
    let mut card = Card::new(paint.text(&server.address, Some(Tint::Head)));
    card.field("state", event::state(server, paint));
    card.field("since", ago(since, now));
    card.field("admin", words::admin_state(server.admin_state));
    card.field("weight", server.weight);
    card.field("in flight", server.in_flight);
    if let Some(left) = figures::removal_left(server, now) {
        let left = figures::age(left);
        card.field("removal", format!("cuts what runs in {left}"));
    }
    card.field("check", check(server.effective_check.as_ref()));
    card.field("overrides", check(server.check.as_ref()));
    card.field("added", ago(server.added_at, now));
    card.field("id", server.id);
    card.field("revision", server.revision);
    card.field("pool", &server.pool);
    if let Some(stats) = stats {
        counted(&mut card, stats);
    }
    card.text
}

fn counted(card: &mut Card, stats: &ServerStats) {
    let outcomes = stats.outcomes.unwrap_or_default();
    card.field(
        "requests",
        format!(
            "{}/s, {} success, {} failed ({} could not connect)",
            figures::rate(stats.requests_per_second),
            outcomes.success,
            outcomes.failed,
            stats.connect_failures
        ),
    );
    if let Some(latency) = stats.latency.as_ref().filter(|latency| latency.count > 0) {
        card.field("latency", percentiles(latency));
    }
    card.field(
        "bodies",
        format!(
            "{} sent, {} received",
            figures::bytes(stats.bytes_sent),
            figures::bytes(stats.bytes_received)
        ),
    );
    card.field(
        "connections",
        format!(
            "{} open, {} opened in all",
            stats.connections, stats.connections_total
        ),
    );
}

/// The settings of a pool, and the number of its servers in each state.
pub(crate) fn pool(pool: &Pool, paint: Paint) -> String {
    let settings = pool.settings.clone().unwrap_or_default();
    let counts = pool.counts.unwrap_or_default();
    let duration = |duration: Option<prost_types::Duration>| {
        duration.map_or_else(|| figures::NONE.to_owned(), figures::setting)
    };
    let mut card = Card::new(paint.text(&pool.name, Some(Tint::Head)));
    card.field("protocol", pools::protocol_words(&settings));
    tls(&mut card, &settings, paint);
    card.field("balancing", words::balancing(settings.balancing));
    card.field("fail open", settings.fail_open());
    card.field("drain deadline", duration(settings.drain_deadline));
    card.field(
        "deregister after",
        event::deregister_after(settings.deregister_after),
    );
    card.field("strict responses", settings.strict_responses());
    protection(&mut card, &settings);
    card.field("check", check(settings.check.as_ref()));
    card.field("policy", pools::policy(settings.policy.as_ref()));
    card.field(
        "servers",
        format!(
            "{} healthy, {} unhealthy, {} initial, {} draining, {} unused",
            counts.healthy, counts.unhealthy, counts.initial, counts.draining, counts.unused
        ),
    );
    card.field("revision", pool.revision);
    card.text
}

/// How TLS is spoken to servers: what is set.
fn tls(card: &mut Card, settings: &PoolSettings, paint: Paint) {
    let tls = settings.tls.clone().unwrap_or_default();
    for (name, value) in [
        ("server name", tls.server_name()),
        ("client cert", tls.client_certificate()),
    ] {
        if !value.is_empty() {
            card.field(name, value);
        }
    }
    let authorities = tls
        .verify_ca()
        .matches("-----BEGIN CERTIFICATE-----")
        .count();
    if authorities > 0 {
        card.field("verify CA", format!("{authorities} of its own"));
    }
    if pools::is_insecure(settings) {
        let warning = "certificates of servers are not verified (insecure)";
        card.field("warning", paint.text(warning, Some(Tint::Bad)));
    }
}

/// How the pool protects its servers: what is switched on.
fn protection(card: &mut Card, settings: &PoolSettings) {
    let setting = |time: Option<prost_types::Duration>| figures::setting(time.unwrap_or_default());
    if settings.balancing() == Balancing::ConsistentHash {
        card.field("hash key", settings.hash_key());
    }
    if settings.slow_start.unwrap_or_default() != prost_types::Duration::default() {
        card.field("slow start", setting(settings.slow_start));
    }
    let outlier = settings.outlier.unwrap_or_default();
    if outlier.failures() > 0 {
        card.field(
            "ejection",
            format!(
                "after {} failures, for {} and longer, up to {}, at most {} % of the servers",
                outlier.failures(),
                setting(outlier.time),
                setting(outlier.longest),
                outlier.share_percent()
            ),
        );
    }
    let stickiness = settings.stickiness.clone().unwrap_or_default();
    if !stickiness.cookie().is_empty() {
        let of = match stickiness.application_cookie() {
            "" => String::new(),
            cookie => format!(" with {cookie} of the application"),
        };
        let time = setting(stickiness.duration);
        let sticky = format!("by cookie {}{of}, for {time}", stickiness.cookie());
        card.field("sticky", sticky);
    }
    let limit = settings.limit.unwrap_or_default();
    if limit.requests() > 0 {
        card.field(
            "request limit",
            format!(
                "{} a server and node, {} more wait up to {}",
                limit.requests(),
                limit.queue(),
                setting(limit.queue_timeout)
            ),
        );
    }
}

fn percentiles(latency: &Latency) -> String {
    [
        ("p50", latency.p50),
        ("p90", latency.p90),
        ("p99", latency.p99),
        ("p99.9", latency.p999),
        ("max", latency.max),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(format!("{name} {}", figures::latency(value?))))
    .collect::<Vec<_>>()
    .join(", ")
}

fn ago(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(
        || figures::NONE.to_owned(),
        |time| {
            format!(
                "{} ago, {}",
                figures::since(Some(time), now),
                figures::instant(time)
            )
        },
    )
}

struct Card {
    text: String,
}

impl Card {
    fn new(title: String) -> Self {
        Self { text: title + "\n" }
    }

    fn field(&mut self, name: &str, value: impl std::fmt::Display) {
        _ = writeln!(self.text, "  {name:<17} {value}");
    }
}

#[cfg(test)]
mod tests {
    use weldr_proto::v1::{
        AdminState, Balancing, Health, HealthReason, HealthState, PoolCounts, PoolSettings,
    };

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    #[test]
    fn a_server_tells_all_of_itself() {
        let unhealthy = Server {
            pool: "default".to_owned(),
            id: 4,
            address: "10.0.0.1:80".to_owned(),
            weight: 1,
            admin_state: AdminState::Ready.into(),
            health: Some(Health {
                state: HealthState::Unhealthy.into(),
                reason: HealthReason::Timeout.into(),
                description: "no response within 2 s (3 checks failed in a row)".to_owned(),
                since: Some(at(60)),
            }),
            removal_deadline: Some(at(150)),
            added_at: Some(at(0)),
            revision: 8,
            in_flight: 1,
            ..Server::default()
        };
        assert_eq!(
            server(&unhealthy, None, at(120), Paint::PLAIN),
            "\
10.0.0.1:80
  state             unhealthy (no response within 2 s (3 checks failed in a row))
  since             1m ago, 1970-01-01T00:01:00.000Z
  admin             ready
  weight            1
  in flight         1
  removal           cuts what runs in 30s
  check             -
  overrides         -
  added             2m ago, 1970-01-01T00:00:00.000Z
  id                4
  revision          8
  pool              default
"
        );
    }

    #[test]
    fn a_pool_tells_its_settings_and_counts() {
        let blue = Pool {
            name: "blue".to_owned(),
            settings: Some(PoolSettings {
                balancing: Balancing::LeastRequests.into(),
                fail_open: Some(false),
                ..PoolSettings::default()
            }),
            revision: 3,
            counts: Some(PoolCounts {
                healthy: 2,
                unhealthy: 1,
                ..PoolCounts::default()
            }),
        };
        assert_eq!(
            pool(&blue, Paint::PLAIN),
            "\
blue
  protocol          http1
  balancing         least_requests
  fail open         false
  drain deadline    -
  deregister after  off
  strict responses  false
  check             -
  policy            as the node
  servers           2 healthy, 1 unhealthy, 0 initial, 0 draining, 0 unused
  revision          3
"
        );
    }
}
