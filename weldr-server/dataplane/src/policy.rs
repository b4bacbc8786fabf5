//! The settings of the data path, fixed when it starts: timeouts, limits, message handling and the access log. Each
//! `Default` is the default of the options.

mod access_log;
mod sample_ratio;

use std::time::Duration;

use ipnet::IpNet;

pub use crate::model::{DesyncMode, ForwardedHeaders};
pub use access_log::{
    AccessLogField, AccessLogFields, AccessLogFormat, AccessLogOptions, SyslogAddress,
};
pub(crate) use sample_ratio::MILLION;
pub use sample_ratio::SampleRatio;

/// The timeouts of the data path.
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
    /// How long a client may be slower than the minimum rate, in total over a whole body.
    pub client_body: Duration,
    /// For how long bytes that a client still sends after its last response are read and dropped.
    pub lingering: Duration,
    /// The idle timeout of a connection that has changed its protocol.
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

/// The limits of the data path.
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

/// How the data path handles messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpPolicy {
    /// How requests are handled that a server may interpret differently.
    pub desync_mode: DesyncMode,
    /// How the fields are handled in which a proxy tells a server who the client is.
    pub forwarded_headers: ForwardedHeaders,
    /// Networks of trusted proxies, whose values are accepted for those fields and for the client in the access log.
    pub trusted_proxies: Vec<IpNet>,
    /// Networks of proxies whose connections begin with a header of the PROXY protocol. If there are any, all other connections
    /// are closed.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Bytes of a request's body; `None`: any number.
    pub max_body_bytes: Option<u64>,
    /// The minimum rate at which a client must send a body, in bytes a second; 0: no minimum.
    pub body_min_rate: u64,
    /// How often a request that failed may be sent again.
    pub retries: usize,
    /// The name of this node in `Via`, by which it recognises a request that comes back.
    pub pseudonym: Pseudonym,
}

impl Default for HttpPolicy {
    fn default() -> Self {
        Self {
            desync_mode: DesyncMode::Strict,
            forwarded_headers: ForwardedHeaders::Replace,
            trusted_proxies: Vec::new(),
            proxy_protocol_from: Vec::new(),
            max_body_bytes: None,
            body_min_rate: 500,
            retries: 1,
            pseudonym: Pseudonym::default(),
        }
    }
}

/// The name of a node in the `Via` field of requests (RFC 9110, section 7.6.3): unique to the node, and without information
/// about the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pseudonym(String);

impl Pseudonym {
    /// The prefix of each pseudonym, and the name in the `Via` field of responses.
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
