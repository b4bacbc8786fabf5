//! How requests are sent to the servers of a pool: its policy over the options of the node.

use std::time::Duration;

use crate::{
    http1::Strictness,
    model::{PoolPolicy, PoolSettings, RequestLimit, SendProxyProtocol},
    policy::{Limits, Timeouts},
};

/// How requests are sent to the servers of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AttemptPolicy {
    pub(super) connect: Duration,
    pub(super) server_selection: Duration,
    pub(super) response_header: Duration,
    pub(super) stream_idle: Duration,
    pub(super) server_idle: Duration,
    pub(super) tunnel_idle: Duration,
    /// How often a request that failed may be sent again.
    pub(super) retries: usize,
    /// Connections of the node to one server.
    pub(super) connections: usize,
    /// Unused connections of one worker to one server.
    pub(super) idle_connections: usize,
    /// How responses are read.
    pub(super) strictness: Strictness,
    /// Requests in a row that must fail until a server is ejected; 0: any number.
    pub(super) eject_after: u32,
    /// Requests of the node on one server, and those that wait.
    pub(super) limit: RequestLimit,
    /// What names the client at the begin of a connection.
    pub(super) proxy_protocol: SendProxyProtocol,
}

impl AttemptPolicy {
    /// What `settings` say, and where they say nothing, the options of the node, which has `workers` workers.
    pub(super) fn new(
        settings: &PoolSettings,
        timeouts: &Timeouts,
        limits: &Limits,
        retries: usize,
        workers: usize,
    ) -> Self {
        let policy: &PoolPolicy = &settings.policy;
        let or = |value: Option<Duration>, otherwise| value.unwrap_or(otherwise);
        let count = |value: Option<u64>, otherwise: usize| {
            value.map_or(otherwise, |value| {
                usize::try_from(value).unwrap_or(usize::MAX)
            })
        };
        Self {
            connect: or(policy.connect_timeout, timeouts.connect),
            server_selection: or(policy.server_selection_timeout, timeouts.server_selection),
            response_header: or(policy.response_header_timeout, timeouts.response_header),
            stream_idle: or(policy.stream_idle_timeout, timeouts.stream_idle),
            server_idle: or(policy.server_idle_timeout, timeouts.server_idle),
            tunnel_idle: or(policy.tunnel_idle_timeout, timeouts.tunnel_idle),
            retries: count(policy.retries, retries),
            connections: count(policy.max_server_connections, limits.server_connections),
            idle_connections: count(
                policy.max_server_idle_connections,
                limits.server_idle_connections,
            )
            .div_ceil(workers.max(1)),
            strictness: settings.strict_responses.into(),
            eject_after: settings.outlier.failures,
            limit: settings.limit,
            proxy_protocol: policy.send_proxy_protocol.unwrap_or_default(),
        }
    }
}
