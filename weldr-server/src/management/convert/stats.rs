//! Statistics.

use std::{collections::BTreeMap, time::SystemTime};

use weldr_proto::v1;

use crate::{
    clock::dates,
    management::ManagementContext,
    snapshot::{PoolView, ServerView},
    stats::{
        FailureReason, FailureTotals, Latency, Outcomes, ProxyProtocolRefusal, ProxyProtocolTotals,
        Rates, StatusTotals, Totals,
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
        failures: failures(detail.failures),
        proxy_protocol_refused: proxy_protocol_refused(detail.proxy_protocol),
        servers: pool
            .servers
            .iter()
            .map(|view| server_stats(view, &context.rates))
            .collect(),
    }
}

/// The reasons that occurred, with their counts.
fn failures(totals: FailureTotals) -> BTreeMap<String, u64> {
    FailureReason::ALL
        .into_iter()
        .zip(totals)
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| (reason.name().to_owned(), count))
        .collect()
}

/// The reasons that occurred, with their counts.
fn proxy_protocol_refused(totals: ProxyProtocolTotals) -> BTreeMap<String, u64> {
    ProxyProtocolRefusal::ALL
        .into_iter()
        .zip(totals)
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| (reason.name().to_owned(), count))
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

fn outcomes(Outcomes { success, failed }: Outcomes) -> v1::Outcomes {
    v1::Outcomes { success, failed }
}

fn statuses(totals: StatusTotals) -> v1::StatusClasses {
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

fn latency(latency: &Latency) -> v1::Latency {
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
