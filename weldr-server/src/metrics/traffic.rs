//! Listeners, rules, pools, servers and handshakes.

use std::sync::Arc;

use super::{
    Detail, Sources,
    exposition::{Exposition, Kind::Counter, Kind::Gauge, Kind::Histogram},
};
use crate::{
    model::HealthState,
    snapshot::{ListenerView, PoolTotals, PoolView, ServerView, Snapshot},
    stats::{
        FailureReason, HandshakeFailure, ListenerTotals, LocalReplyReason, ServerTotals,
        StatusTotals, Totals,
    },
};

/// The classes of statuses, as the label `code`.
const CODES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const STATES: [HealthState; 5] = [
    HealthState::Initial,
    HealthState::Healthy,
    HealthState::Unhealthy,
    HealthState::Draining,
    HealthState::Unused,
];

pub(super) fn write(sources: &Sources<'_>, detail: Detail, to: &mut Exposition) {
    let snapshot = sources.snapshots.current();
    listeners(&snapshot, to);
    if detail.rules {
        rules(&snapshot, to);
    }
    pools(&snapshot, to);
    if detail.servers {
        servers(&snapshot, to);
    }
    clients(&Totals::sum(sources.clients), to);
}

fn by_code(
    family: &mut super::exposition::Family<'_>,
    labels: &[(&str, &str)],
    statuses: StatusTotals,
) {
    for (code, count) in CODES.into_iter().zip(statuses) {
        let labels: Vec<_> = labels.iter().copied().chain([("code", code)]).collect();
        family.sample(&labels, count);
    }
}

/// A sample for each reason that has occurred: most never do.
fn by_reason<const N: usize>(
    family: &mut super::exposition::Family<'_>,
    labels: &[(&str, &str)],
    reasons: [&str; N],
    counts: [u64; N],
) {
    for (reason, count) in reasons.into_iter().zip(counts) {
        if count > 0 {
            let labels: Vec<_> = labels.iter().copied().chain([("reason", reason)]).collect();
            family.sample(&labels, count);
        }
    }
}

fn listeners(snapshot: &Snapshot, to: &mut Exposition) {
    let all: Vec<(&Arc<ListenerView>, ListenerTotals)> = snapshot
        .listeners
        .iter()
        .map(|view| (view, view.live.totals()))
        .collect();
    let mut requests = to.family(
        "weldr_listener_requests_total",
        Counter,
        "Responses to clients, by the class of their status.",
    );
    for (view, totals) in &all {
        let labels = [("listener", view.name().as_str())];
        by_code(&mut requests, &labels, totals.requests.statuses);
    }
    let mut failures = to.family(
        "weldr_listener_failures_total",
        Counter,
        "Requests that did not end well, by reason.",
    );
    for (view, totals) in &all {
        let labels = [("listener", view.name().as_str())];
        let reasons = FailureReason::ALL.map(FailureReason::name);
        by_reason(&mut failures, &labels, reasons, totals.failures);
    }
    let mut replies = to.family(
        "weldr_listener_local_replies_total",
        Counter,
        "Responses that Weldr made itself, by reason.",
    );
    for (view, totals) in &all {
        let labels = [("listener", view.name().as_str())];
        let reasons = LocalReplyReason::names();
        by_reason(&mut replies, &labels, reasons, totals.local_replies);
    }
    let mut one = |name, kind, help, value: fn(&ListenerTotals) -> u64| {
        let mut family = to.family(name, kind, help);
        for (view, totals) in &all {
            family.sample(&[("listener", view.name().as_str())], value(totals));
        }
    };
    one(
        "weldr_listener_requests_in_flight",
        Gauge,
        "Running requests.",
        |totals| totals.in_flight,
    );
    one(
        "weldr_listener_connections",
        Gauge,
        "Open connections of clients.",
        |totals| totals.connections,
    );
    one(
        "weldr_listener_connections_accepted_total",
        Counter,
        "Connections of clients that were accepted.",
        |totals| totals.connections_total,
    );
    one(
        "weldr_listener_received_bytes_total",
        Counter,
        "Bytes of request bodies.",
        |totals| totals.requests.bytes_received,
    );
    one(
        "weldr_listener_sent_bytes_total",
        Counter,
        "Bytes of response bodies.",
        |totals| totals.requests.bytes_sent,
    );
}

fn rules(snapshot: &Snapshot, to: &mut Exposition) {
    let mut requests = to.family(
        "weldr_rule_requests_total",
        Counter,
        "Responses to requests that a rule matched, by the class of their status.",
    );
    for view in snapshot.listeners.iter() {
        for rule in view.router.rules() {
            // Its priority changes when rules move, and the counts would go to another one.
            let id = rule.live.id.to_string();
            let labels = [("listener", view.name().as_str()), ("rule", &id)];
            by_code(&mut requests, &labels, rule.live.totals().statuses);
        }
    }
}

fn pools(snapshot: &Snapshot, to: &mut Exposition) {
    let all: Vec<(&Arc<PoolView>, PoolTotals)> = snapshot
        .pools
        .iter()
        .map(|view| (view, view.live.totals()))
        .collect();
    let mut requests = to.family(
        "weldr_pool_requests_total",
        Counter,
        "Responses to requests that were forwarded to a pool, by the class of their status.",
    );
    for (view, totals) in &all {
        let labels = [("pool", view.name().as_str())];
        by_code(&mut requests, &labels, totals.requests.statuses);
    }
    let mut failures = to.family(
        "weldr_pool_failures_total",
        Counter,
        "Requests for a pool that did not end well, by reason.",
    );
    for (view, totals) in &all {
        let labels = [("pool", view.name().as_str())];
        let reasons = FailureReason::ALL.map(FailureReason::name);
        by_reason(&mut failures, &labels, reasons, totals.requests.failures);
    }
    let mut latency = to.family(
        "weldr_pool_response_seconds",
        Histogram,
        "From the begin of an attempt on a server to the head of its response.",
    );
    for (view, totals) in &all {
        latency.latency(&[("pool", view.name().as_str())], &totals.servers.latency);
    }
    let mut servers = to.family(
        "weldr_pool_servers",
        Gauge,
        "Servers of a pool, by the state that this node sees.",
    );
    for (view, _) in &all {
        for state in STATES {
            let labels = [("pool", view.name().as_str()), ("state", state.as_str())];
            servers.sample(&labels, view.count(state));
        }
    }
    pool_values(&all, to);
}

fn pool_values(all: &[(&Arc<PoolView>, PoolTotals)], to: &mut Exposition) {
    let mut one = |name, kind, help, value: fn(&PoolTotals) -> u64| {
        let mut family = to.family(name, kind, help);
        for (view, totals) in all {
            family.sample(&[("pool", view.name().as_str())], value(totals));
        }
    };
    one(
        "weldr_pool_retries_total",
        Counter,
        "Attempts after the first one of a request.",
        |totals| totals.requests.retries,
    );
    one(
        "weldr_pool_requests_in_flight",
        Gauge,
        "Running attempts on servers.",
        |totals| totals.servers.in_flight,
    );
    one(
        "weldr_pool_requests_queued",
        Gauge,
        "Requests that wait because each server runs as many as it may.",
        |totals| totals.queued.into(),
    );
    one(
        "weldr_pool_connections",
        Gauge,
        "Open connections to servers, including idle ones.",
        |totals| totals.servers.connections,
    );
    one(
        "weldr_pool_connections_opened_total",
        Counter,
        "Connections to servers that were opened.",
        |totals| totals.servers.connections_total,
    );
    one(
        "weldr_pool_connect_failures_total",
        Counter,
        "Attempts that could not connect to a server.",
        |totals| totals.servers.connect_failures,
    );
    one(
        "weldr_pool_sent_bytes_total",
        Counter,
        "Bytes of request bodies that were sent to servers.",
        |totals| totals.servers.bytes_sent,
    );
    one(
        "weldr_pool_received_bytes_total",
        Counter,
        "Bytes of response bodies that came from servers.",
        |totals| totals.servers.bytes_received,
    );
}

/// A server, with its labels and its counts.
struct Counted<'s> {
    pool: &'s str,
    address: String,
    view: &'s Arc<ServerView>,
    totals: ServerTotals,
}

impl Counted<'_> {
    fn labels(&self) -> [(&str, &str); 2] {
        [("pool", self.pool), ("server", &self.address)]
    }
}

fn servers(snapshot: &Snapshot, to: &mut Exposition) {
    let mut all = Vec::new();
    for pool in snapshot.pools.iter() {
        all.extend(pool.servers.iter().map(|view| Counted {
            pool: pool.name().as_str(),
            address: view.desired.address.to_string(),
            view,
            totals: view.live.totals(),
        }));
    }
    let mut responses = to.family(
        "weldr_server_responses_total",
        Counter,
        "Responses of a server, by the class of their status.",
    );
    for server in &all {
        by_code(&mut responses, &server.labels(), server.totals.statuses);
    }
    let mut latency = to.family(
        "weldr_server_response_seconds",
        Histogram,
        "From the begin of an attempt on a server to the head of its response.",
    );
    for server in &all {
        latency.latency(&server.labels(), &server.totals.latency);
    }
    let mut health = to.family(
        "weldr_server_health",
        Gauge,
        "1, with the state of a server and its reason as this node sees them.",
    );
    for server in &all {
        let [pool, address] = server.labels();
        let seen = &server.view.health;
        let state = ("state", seen.state.as_str());
        health.sample(&[pool, address, state, ("reason", seen.reason.as_str())], 1);
    }
    let mut one = |name, kind, help, value: fn(&ServerTotals) -> u64| {
        let mut family = to.family(name, kind, help);
        for server in &all {
            family.sample(&server.labels(), value(&server.totals));
        }
    };
    one(
        "weldr_server_attempts_failed_total",
        Counter,
        "Attempts on a server that failed.",
        |totals| totals.outcomes.failed,
    );
    one(
        "weldr_server_requests_in_flight",
        Gauge,
        "Running attempts on a server.",
        |totals| totals.in_flight,
    );
    one(
        "weldr_server_connections",
        Gauge,
        "Open connections to a server, including idle ones.",
        |totals| totals.connections,
    );
}

/// What is counted of clients before a listener's rules are known, and what is of no listener.
fn clients(totals: &Totals, to: &mut Exposition) {
    let detail = &totals.detail;
    to.family(
        "weldr_connections_refused_total",
        Counter,
        "Connections of clients that were closed at the limit of connections.",
    )
    .sample(&[], detail.connections_refused);
    let mut handshakes = to.family(
        "weldr_tls_handshakes_total",
        Counter,
        "Complete TLS handshakes with clients.",
    );
    handshakes.sample(&[("session", "new")], detail.handshakes.full);
    handshakes.sample(&[("session", "resumed")], detail.handshakes.resumed);
    let mut failures = to.family(
        "weldr_tls_handshake_failures_total",
        Counter,
        "TLS handshakes with clients that failed, by reason.",
    );
    let reasons = HandshakeFailure::ALL.map(HandshakeFailure::name);
    by_reason(&mut failures, &[], reasons, detail.handshakes.failed);
}
