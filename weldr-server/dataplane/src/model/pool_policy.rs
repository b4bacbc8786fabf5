//! How requests are sent to the servers of a pool.

use std::{ops::RangeInclusive, time::Duration};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{Invalid, in_range, policy_patch::policy};

/// What a pool sets of its policy. `None`: as the option of the node says that has the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolPolicy {
    /// For a connection to a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Duration>,
    /// How long a request may try servers that accept no connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_selection_timeout: Option<Duration>,
    /// From the end of a request to the head of its response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_header_timeout: Option<Duration>,
    /// For the next part of a body, in either direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_idle_timeout: Option<Duration>,
    /// How long an unused connection to a server is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_idle_timeout: Option<Duration>,
    /// The idle timeout of a connection that has changed its protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_idle_timeout: Option<Duration>,
    /// How often a request that failed may be sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u64>,
    /// Connections of a node to one server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_server_connections: Option<u64>,
    /// Unused connections of a node to one server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_server_idle_connections: Option<u64>,
    /// What names the client at the begin of each connection to a server; `None`: nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_proxy_protocol: Option<SendProxyProtocol>,
}

/// What names the client at the begin of each connection to a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendProxyProtocol {
    /// Nothing: a connection carries requests of many clients.
    #[default]
    Off,
    /// A header of version 1 of the PROXY protocol, which is text.
    V1,
    /// A header of version 2 of the PROXY protocol, which is binary.
    V2,
}

impl PoolPolicy {
    /// Accepts the policy when each value is in its range.
    ///
    /// # Errors
    /// Names the field, its value and what is accepted.
    pub fn validate(&self) -> Result<(), Invalid> {
        timeout("connect_timeout", self.connect_timeout)?;
        timeout("server_selection_timeout", self.server_selection_timeout)?;
        timeout("response_header_timeout", self.response_header_timeout)?;
        timeout("stream_idle_timeout", self.stream_idle_timeout)?;
        timeout("server_idle_timeout", self.server_idle_timeout)?;
        timeout("tunnel_idle_timeout", self.tunnel_idle_timeout)?;
        number("retries", self.retries, 0..=10)?;
        number(
            "max_server_connections",
            self.max_server_connections,
            1..=1_000_000,
        )?;
        number(
            "max_server_idle_connections",
            self.max_server_idle_connections,
            0..=1_000_000,
        )
    }
}

policy!(PoolPolicy {
    connect_timeout,
    server_selection_timeout,
    response_header_timeout,
    stream_idle_timeout,
    server_idle_timeout,
    tunnel_idle_timeout,
    retries,
    max_server_connections,
    max_server_idle_connections,
    send_proxy_protocol,
});

/// The range of the timeouts of the data path.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);
const LONGEST_TIMEOUT: Duration = Duration::from_hours(24);

pub(super) fn timeout(field: &str, value: Option<Duration>) -> Result<(), Invalid> {
    let Some(value) = value else { return Ok(()) };
    in_range(field, value, SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).map(drop)
}

pub(super) fn number(
    field: &str,
    value: Option<u64>,
    range: RangeInclusive<u64>,
) -> Result<(), Invalid> {
    match value {
        Some(value) if !range.contains(&value) => {
            let accepted = format!("a whole number from {} to {}", range.start(), range.end());
            Err(Invalid::new(field, value, accepted))
        }
        _ => Ok(()),
    }
}
