//! How a listener treats clients: its policy over the options of the node.

use crate::{
    http1::HeadLimits,
    model::ListenerPolicy,
    policy::{HttpPolicy, Limits, Timeouts},
};

/// How a listener treats clients.
#[derive(Debug)]
pub(super) struct ClientPolicy {
    /// Those of clients are the listener's; the others are not for use.
    pub(super) timeouts: Timeouts,
    /// How large the head of a request may be.
    pub(super) head: HeadLimits,
    pub(super) http: HttpPolicy,
    /// Connections of clients to the listener; 0: within the limit of the node only.
    pub(super) connections: u64,
    /// Connections of one client address; 0: any number.
    pub(super) connections_per_client: usize,
    /// Whether its requests are written to the access log.
    pub(super) logs: bool,
}

impl ClientPolicy {
    /// What `policy` says, and where it says nothing, the options of the node.
    pub(super) fn new(
        policy: &ListenerPolicy,
        timeouts: &Timeouts,
        limits: &Limits,
        http: &HttpPolicy,
    ) -> Self {
        let size = |value: Option<u64>, otherwise: usize| {
            value.map_or(otherwise, |value| {
                usize::try_from(value).unwrap_or(usize::MAX)
            })
        };
        let or = |value: Option<_>, otherwise| value.unwrap_or(otherwise);
        Self {
            timeouts: Timeouts {
                client_header: or(policy.client_header_timeout, timeouts.client_header),
                client_idle: or(policy.client_idle_timeout, timeouts.client_idle),
                client_body: or(policy.client_body_timeout, timeouts.client_body),
                lingering: or(policy.lingering_timeout, timeouts.lingering),
                ..timeouts.clone()
            },
            head: HeadLimits {
                bytes: size(policy.max_header_bytes, limits.header_bytes),
                fields: size(policy.max_headers, limits.headers),
            },
            http: HttpPolicy {
                desync_mode: policy.desync_mode.unwrap_or(http.desync_mode),
                forwarded_headers: policy.forwarded_headers.unwrap_or(http.forwarded_headers),
                trusted_proxies: policy
                    .trusted_proxies
                    .as_ref()
                    .unwrap_or(&http.trusted_proxies)
                    .clone(),
                proxy_protocol_from: policy
                    .proxy_protocol_from
                    .as_ref()
                    .unwrap_or(&http.proxy_protocol_from)
                    .clone(),
                max_body_bytes: match policy.max_body_bytes {
                    Some(0) => None,
                    Some(most) => Some(most),
                    None => http.max_body_bytes,
                },
                body_min_rate: policy.body_min_rate.unwrap_or(http.body_min_rate),
                ..http.clone()
            },
            connections: policy.max_connections.unwrap_or(0),
            connections_per_client: size(
                policy.max_connections_per_client,
                limits.connections_per_client,
            ),
            logs: policy.access_log.unwrap_or(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn resolved(policy: &ListenerPolicy) -> ClientPolicy {
        let http = HttpPolicy {
            max_body_bytes: Some(7),
            ..HttpPolicy::default()
        };
        ClientPolicy::new(policy, &Timeouts::default(), &Limits::default(), &http)
    }

    #[test]
    fn what_a_listener_does_not_set_is_as_the_node_says() {
        let node = resolved(&ListenerPolicy::default());
        assert_eq!(node.timeouts, Timeouts::default());
        assert_eq!(node.http.max_body_bytes, Some(7));
        assert!(node.logs && node.connections == 0);
        let own = resolved(&ListenerPolicy {
            client_idle_timeout: Some(Duration::from_secs(3)),
            max_body_bytes: Some(0),
            max_headers: Some(5),
            access_log: Some(false),
            max_connections: Some(9),
            ..ListenerPolicy::default()
        });
        assert_eq!(own.timeouts.client_idle, Duration::from_secs(3));
        assert_eq!(own.http.max_body_bytes, None);
        assert_eq!(own.head.fields, 5);
        assert!(!own.logs && own.connections == 9);
    }
}
