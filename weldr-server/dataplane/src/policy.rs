//! What the data path is told when it starts: how long it waits, how much it holds, what it makes of messages, and
//! what it writes of them. Each `Default` is what holds where nobody says otherwise.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// How long the data path waits for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a request to the end of its head.
    pub client_header: Duration,
    /// Between two requests of a connection.
    pub client_idle: Duration,
    /// For a connection to a server.
    pub connect: Duration,
    /// How long a request may try servers that accept no connection.
    pub server_selection: Duration,
    /// From the end of a request to the head of its response.
    pub response_header: Duration,
    /// For the next part of a body, in either direction.
    pub stream_idle: Duration,
    /// How long an unused connection to a server is kept.
    pub server_idle: Duration,
    /// How long a client may be waited for, over a whole body, beyond what its bytes take at the minimum rate.
    pub client_body: Duration,
    /// How long what a client still sends after its last response is read and dropped.
    pub lingering: Duration,
    /// How long nothing may pass through a connection that has changed its protocol.
    pub tunnel_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            client_header: Duration::from_secs(10),
            client_idle: Duration::from_mins(1),
            connect: Duration::from_secs(2),
            server_selection: Duration::from_secs(10),
            response_header: Duration::from_mins(1),
            stream_idle: Duration::from_mins(1),
            server_idle: Duration::from_mins(1),
            client_body: Duration::from_secs(20),
            lingering: Duration::from_mins(1),
            tunnel_idle: Duration::from_hours(1),
        }
    }
}

/// How much the data path holds at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head.
    pub header_bytes: usize,
    /// Fields of a head.
    pub headers: usize,
    /// Connections of clients.
    pub connections: usize,
    /// Connections of one client address (IPv6: network of 64 bits); 0: any number.
    pub connections_per_client: usize,
    /// Connections to one server.
    pub server_connections: usize,
    /// Unused connections to one server.
    pub server_idle_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 32 * 1024,
            headers: 128,
            connections: 20_000,
            connections_per_client: 0,
            server_connections: 4096,
            server_idle_connections: 1024,
        }
    }
}

/// What the data path makes of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpPolicy {
    /// What happens to a request that some server might read in another way.
    pub desync_mode: DesyncMode,
    /// What becomes of the fields in which a proxy tells a server who the client is.
    pub forwarded_headers: ForwardedHeaders,
    /// Networks of proxies whose word is taken for those fields, and for who the client is in the access log.
    pub trusted_proxies: Vec<IpNet>,
    /// Bytes of a request's body; `None`: any number.
    pub max_body_bytes: Option<u64>,
    /// Bytes a second that a client has to send of a body; 0: any rate will do.
    pub body_min_rate: u64,
    /// How often a request that failed may be sent again.
    pub retries: usize,
    /// What this node calls itself in `Via`: a request that comes back is known by it.
    pub pseudonym: Pseudonym,
}

impl Default for HttpPolicy {
    fn default() -> Self {
        Self {
            desync_mode: DesyncMode::Strict,
            forwarded_headers: ForwardedHeaders::Replace,
            trusted_proxies: Vec::new(),
            max_body_bytes: None,
            body_min_rate: 500,
            retries: 1,
            pseudonym: Pseudonym::default(),
        }
    }
}

/// What a node calls itself in the `Via` field of requests (RFC 9110, section 7.6.3): a name that no other node has, and
/// that says nothing of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pseudonym(String);

impl Pseudonym {
    /// What each pseudonym begins with, and the name in the `Via` field of responses.
    pub const PRODUCT: &str = "weldr";

    /// The pseudonym made of a random number: `weldr-` and eight hexadecimal digits.
    pub fn new(number: u32) -> Self {
        Self(format!("{}-{number:08x}", Self::PRODUCT))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Of the number 0.
impl Default for Pseudonym {
    fn default() -> Self {
        Self::new(0)
    }
}

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

/// What is written of requests, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessLogOptions {
    /// How a line looks.
    pub format: AccessLogFormat,
    /// Where lines go; `None`: standard output.
    pub file: Option<PathBuf>,
}

/// The format of the access log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogFormat {
    /// Writes no access log.
    #[default]
    Off,
    /// One JSON object per line.
    Json,
    /// The Combined Log Format of Apache and nginx.
    Combined,
}
