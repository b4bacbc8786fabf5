//! How a listener treats clients and their requests.

use std::time::Duration;

use clap::ValueEnum;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    Invalid,
    policy_patch::policy,
    pool_policy::{number, timeout},
};

/// What a listener sets of its policy. `None`: as the option of the node says that has the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListenerPolicy {
    /// From the first byte of a request to the end of its head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_header_timeout: Option<Duration>,
    /// Between two requests of a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_idle_timeout: Option<Duration>,
    /// How long a client may be slower than the minimum rate, in total over a whole body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_body_timeout: Option<Duration>,
    /// For how long bytes that a client still sends after its last response are read and dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lingering_timeout: Option<Duration>,
    /// Bytes of a head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_header_bytes: Option<u64>,
    /// Fields of a head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_headers: Option<u64>,
    /// Bytes of a request's body; 0: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// The minimum rate at which a client must send a body, in bytes a second; 0: no minimum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_min_rate: Option<u64>,
    /// Connections of clients to this listener on one node, within the limit of the node; 0: only that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u64>,
    /// Connections of one client address (IPv6: network of 64 bits); 0: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections_per_client: Option<u64>,
    /// How requests are treated that a server may interpret differently.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desync_mode: Option<DesyncMode>,
    /// How the fields are treated in which a proxy tells a server who the client is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded_headers: Option<ForwardedHeaders>,
    /// Networks of proxies whose values are accepted for those fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_proxies: Option<Vec<IpNet>>,
    /// Whether requests are written to the access log, if the node writes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log: Option<bool>,
    /// Networks of proxies whose connections begin with a header of the PROXY protocol. If there are any, all other
    /// connections are closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol_from: Option<Vec<IpNet>>,
}

impl ListenerPolicy {
    /// How many networks of proxies a listener may name.
    pub const MOST_PROXIES: usize = 1_000;

    /// Accepts the policy when each value is in its range.
    ///
    /// # Errors
    /// Names the field, its value and what is accepted.
    pub fn validate(&self) -> Result<(), Invalid> {
        timeout("client_header_timeout", self.client_header_timeout)?;
        timeout("client_idle_timeout", self.client_idle_timeout)?;
        timeout("client_body_timeout", self.client_body_timeout)?;
        timeout("lingering_timeout", self.lingering_timeout)?;
        number(
            "max_header_bytes",
            self.max_header_bytes,
            8192..=1024 * 1024,
        )?;
        number("max_headers", self.max_headers, 1..=10_000)?;
        number("max_connections", self.max_connections, 0..=10_000_000)?;
        number(
            "max_connections_per_client",
            self.max_connections_per_client,
            0..=10_000_000,
        )?;
        proxies("trusted_proxies", self.trusted_proxies.as_deref())?;
        proxies("proxy_protocol_from", self.proxy_protocol_from.as_deref())
    }
}

fn proxies(field: &str, networks: Option<&[IpNet]>) -> Result<(), Invalid> {
    const MOST: usize = ListenerPolicy::MOST_PROXIES;
    let given = networks.map_or(0, <[IpNet]>::len);
    if given > MOST {
        let accepted = format!("at most {MOST} networks");
        return Err(Invalid::new(field, format!("{given} networks"), accepted));
    }
    Ok(())
}

policy!(ListenerPolicy {
    client_header_timeout,
    client_idle_timeout,
    client_body_timeout,
    lingering_timeout,
    max_header_bytes,
    max_headers,
    max_body_bytes,
    body_min_rate,
    max_connections,
    max_connections_per_client,
    desync_mode,
    forwarded_headers,
    trusted_proxies,
    access_log,
    proxy_protocol_from,
});

/// How requests are treated that servers could interpret differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DesyncMode {
    /// Refuses them.
    Strict,
    /// Logs them, and forwards those with one certain meaning, in a form that is not ambiguous.
    Monitor,
}

/// How the fields of clients are treated in which a proxy tells a server who the client is: `Forwarded`, `X-Forwarded-*`
/// and others such as `X-Real-IP`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardedHeaders {
    /// Keeps them, and adds the client's address.
    Append,
    /// Keeps those from trusted proxies only, and adds the client's address.
    Replace,
    /// Forwards them unchanged, and adds nothing.
    Off,
}
