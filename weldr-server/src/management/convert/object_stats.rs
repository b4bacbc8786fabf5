//! Statistics of listeners, rules and pools.

use std::sync::Arc;

use weldr_proto::v1;

use crate::{
    snapshot::{ListenerView, PoolView, routes::CompiledRule},
    stats::{FailureReason, LocalReplyReason, RequestTotals, ServerTotals},
};

use super::{
    proto_duration,
    stats::{latency, occurred, outcomes, statuses},
};

/// The statistics of a listener and of its rules.
pub(in crate::management) fn listener_stats(view: &ListenerView) -> v1::ListenerStats {
    let totals = view.live.totals();
    v1::ListenerStats {
        name: view.name().to_string(),
        statuses: Some(statuses(totals.requests.statuses)),
        in_flight: totals.in_flight,
        connections: totals.connections,
        connections_total: totals.connections_total,
        bytes_received: totals.requests.bytes_received,
        bytes_sent: totals.requests.bytes_sent,
        retries: totals.requests.retries,
        failures: occurred(FailureReason::ALL.map(FailureReason::name), totals.failures),
        local_replies: occurred(LocalReplyReason::names(), totals.local_replies),
        rules: view.router.rules().map(rule_stats).collect(),
    }
}

fn rule_stats(rule: &Arc<CompiledRule>) -> v1::RuleStats {
    let RequestTotals {
        statuses: classes,
        bytes_received,
        bytes_sent,
        retries,
    } = rule.live.totals();
    v1::RuleStats {
        priority: rule.priority().0,
        id: rule.live.id.0,
        statuses: Some(statuses(classes)),
        bytes_received,
        bytes_sent,
        retries,
    }
}

/// The statistics of a pool.
pub(in crate::management) fn pool_stats(view: &PoolView) -> v1::PoolStats {
    let totals = view.live.totals();
    v1::PoolStats {
        name: view.name().to_string(),
        statuses: Some(statuses(totals.requests.statuses)),
        retries: totals.requests.retries,
        failures: occurred(
            FailureReason::ALL.map(FailureReason::name),
            totals.requests.failures,
        ),
        queued: totals.queued.into(),
        servers: Some(server_sums(&totals.servers)),
    }
}

fn server_sums(totals: &ServerTotals) -> v1::ServerSums {
    let buckets = totals.latency.buckets();
    v1::ServerSums {
        outcomes: Some(outcomes(totals.outcomes)),
        in_flight: totals.in_flight,
        connections: totals.connections,
        connections_total: totals.connections_total,
        connect_failures: totals.connect_failures,
        bytes_sent: totals.bytes_sent,
        bytes_received: totals.bytes_received,
        statuses: Some(statuses(totals.statuses)),
        latency: Some(latency(&totals.latency)),
        latency_buckets: buckets
            .map(|(below, count)| v1::LatencyBucket {
                below: proto_duration(below),
                count,
            })
            .collect(),
    }
}
