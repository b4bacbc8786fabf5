//! Statistics.

use std::{collections::BTreeMap, time::SystemTime};

use weldr_proto::v1;

use crate::{
    clock::dates,
    management::ManagementContext,
    snapshot::{PoolView, ServerView},
    stats::{
        FailureReason, HandshakeFailure, HandshakeTotals, Latency, LocalReplyReason, Outcomes,
        ProxyProtocolRefusal, Rates, StatusTotals, Totals,
    },
};

use super::{proto_duration, proto_timestamp, server};

/// The present statistics.
pub(in crate::management) fn stats(context: &ManagementContext, pool: &PoolView) -> v1::Stats {
    let Totals {
        client,
        server,
        detail,
    } = Totals::sum(&context.clients);
    let uptime = dates::now().duration_since(context.started_at);
    v1::Stats {
        at: Some(proto_timestamp(SystemTime::now())),
        started_at: Some(proto_timestamp(dates::shown(context.started_at))),
        uptime: proto_duration(uptime.unwrap_or_default()),
        client: Some(outcomes(client)),
        server: Some(outcomes(server)),
        client_detail: Some(v1::ClientStats {
            connections: detail.connections,
            connections_total: detail.connections_total,
            in_flight: detail.in_flight,
            bytes_received: detail.bytes_received,
            bytes_sent: detail.bytes_sent,
            statuses: Some(statuses(detail.statuses)),
            retries: detail.retries,
            requests_per_second: context.rates.client(),
            connections_refused: detail.connections_refused,
        }),
        failures: occurred(FailureReason::ALL.map(FailureReason::name), detail.failures),
        proxy_protocol_refused: occurred(
            ProxyProtocolRefusal::ALL.map(ProxyProtocolRefusal::name),
            detail.proxy_protocol,
        ),
        handshakes: Some(handshakes(detail.handshakes)),
        local_replies: occurred(LocalReplyReason::names(), detail.local_replies),
        servers: pool
            .servers
            .iter()
            .map(|view| server_stats(view, &context.rates))
            .collect(),
    }
}

fn handshakes(totals: HandshakeTotals) -> v1::Handshakes {
    v1::Handshakes {
        full: totals.full,
        resumed: totals.resumed,
        failed: occurred(
            HandshakeFailure::ALL.map(HandshakeFailure::name),
            totals.failed,
        ),
    }
}

/// The reasons that occurred, with their counts.
pub(super) fn occurred<const N: usize>(
    names: [&str; N],
    counts: [u64; N],
) -> BTreeMap<String, u64> {
    names
        .into_iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

fn server_stats(view: &ServerView, rates: &Rates) -> v1::ServerStats {
    let totals = view.live.totals();
    v1::ServerStats {
        id: view.desired.id.0,
        address: view.desired.address.to_string(),
        outcomes: Some(outcomes(totals.outcomes)),
        in_flight: totals.in_flight,
        connections: totals.connections,
        connections_total: totals.connections_total,
        connect_failures: totals.connect_failures,
        bytes_sent: totals.bytes_sent,
        bytes_received: totals.bytes_received,
        statuses: Some(statuses(totals.statuses)),
        latency: Some(latency(&totals.latency)),
        requests_per_second: rates.server(view.desired.id),
        health: Some(server::proto_health(view)),
        weight: view.desired.spec.weight.get(),
        admin_state: server::proto_admin_state(view.desired.spec.admin).into(),
    }
}

pub(super) fn outcomes(Outcomes { success, failed }: Outcomes) -> v1::Outcomes {
    v1::Outcomes { success, failed }
}

pub(super) fn statuses(totals: StatusTotals) -> v1::StatusClasses {
    let [
        informational,
        success,
        redirection,
        client_error,
        server_error,
    ] = totals;
    v1::StatusClasses {
        informational,
        success,
        redirection,
        client_error,
        server_error,
    }
}

pub(super) fn latency(latency: &Latency) -> v1::Latency {
    v1::Latency {
        count: latency.count,
        mean: proto_duration(latency.mean()),
        p50: proto_duration(latency.quantile(500)),
        p90: proto_duration(latency.quantile(900)),
        p99: proto_duration(latency.quantile(990)),
        p999: proto_duration(latency.quantile(999)),
        max: proto_duration(latency.max()),
    }
}
