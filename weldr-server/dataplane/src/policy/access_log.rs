//! The settings of the access log: what a line says, which requests have one, and where lines go.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::sample_ratio::SampleRatio;

/// The access log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessLogOptions {
    /// The format of a line.
    pub format: AccessLogFormat,
    /// What a line of JSON or logfmt says.
    pub fields: AccessLogFields,
    /// How many of the successful requests have a line. All others have one.
    pub sample: SampleRatio,
    /// The file to which lines are appended; `None` without `syslog`: standard output.
    pub file: Option<PathBuf>,
    /// The collector to which lines are sent.
    pub syslog: Option<SyslogAddress>,
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
    /// Pairs `name=value` with spaces between them.
    Logfmt,
}

/// A field of a line, in the order in which a line has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
#[repr(u8)]
pub enum AccessLogField {
    /// When the request ended (UTC).
    Time,
    /// Address of the client: the peer, or whom a trusted proxy names.
    Client,
    /// Address of the other end of the connection.
    Peer,
    /// Version, cipher suite, server name and resumption of the client's TLS session; not in plain HTTP.
    Tls,
    /// Method of the request.
    Method,
    /// Target of the request.
    Target,
    /// Version of HTTP of the request.
    Version,
    /// Status of the response.
    Status,
    /// Bytes of the request body.
    BytesReceived,
    /// Bytes of the response body.
    BytesSent,
    /// Listener that the client connected to.
    Listener,
    /// Priority of the rule that matched.
    Rule,
    /// Pool to which the request was forwarded.
    Pool,
    /// Server of the last attempt.
    Server,
    /// How often the request was sent again.
    Retries,
    /// Microseconds until the last attempt began.
    QueueUs,
    /// Microseconds for opening a connection to the server.
    ConnectUs,
    /// Microseconds until the head of the response.
    FirstByteUs,
    /// Microseconds until the end of the response.
    TotalUs,
    /// `complete`, or the reason of the failure.
    Termination,
    /// The failure with its causes; only of failures.
    Error,
    /// Value of `X-Request-Id`, as the server got it.
    RequestId,
    /// Trace id of `traceparent`, as the server got it.
    TraceId,
    /// Value of `User-Agent`.
    UserAgent,
    /// Value of `Referer`.
    Referer,
}

/// A set of fields. The default is all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessLogFields(u32);

impl AccessLogFields {
    /// Whether `field` is one of them.
    #[inline]
    pub const fn contains(self, field: AccessLogField) -> bool {
        self.0 & (1 << field as u32) != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The fields, in the order of a line.
    pub fn iter(self) -> impl Iterator<Item = AccessLogField> {
        let all = AccessLogField::value_variants().iter().copied();
        all.filter(move |&field| self.contains(field))
    }
}

impl Default for AccessLogFields {
    fn default() -> Self {
        AccessLogField::value_variants().iter().copied().collect()
    }
}

impl FromIterator<AccessLogField> for AccessLogFields {
    fn from_iter<I: IntoIterator<Item = AccessLogField>>(fields: I) -> Self {
        let add = |set: u32, field: AccessLogField| set | 1 << field as u32;
        Self(fields.into_iter().fold(0, add))
    }
}

/// Where a syslog collector receives datagrams: `udp://ip:port` or `unix:///path`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum SyslogAddress {
    /// UDP (RFC 5426).
    Udp(SocketAddr),
    /// A Unix datagram socket.
    Unix(PathBuf),
}

impl SyslogAddress {
    const EXPECTED: &str = "expected udp://ip:port or unix:///path, for example udp://127.0.0.1:514 or unix:///dev/log; host \
                            names are not resolved, and a path has at most 107 bytes";
    /// The longest path that the address of a Unix socket holds, in bytes.
    const MOST_PATH: usize = 107;
}

impl FromStr for SyslogAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if let Some(address) = text.strip_prefix("udp://") {
            let address: SocketAddr = address.parse().map_err(|_| Self::EXPECTED)?;
            return match address.port() {
                0 => Err(Self::EXPECTED),
                _ => Ok(Self::Udp(address)),
            };
        }
        match text.strip_prefix("unix://") {
            Some(path)
                if path.starts_with('/')
                    && path.len() <= Self::MOST_PATH
                    && !path.contains('\0') =>
            {
                Ok(Self::Unix(path.into()))
            }
            _ => Err(Self::EXPECTED),
        }
    }
}

impl fmt::Display for SyslogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl TryFrom<String> for SyslogAddress {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
    }
}

impl From<SyslogAddress> for String {
    fn from(address: SyslogAddress) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_fields_has_the_order_of_a_line() {
        let some = AccessLogFields::from_iter([AccessLogField::Status, AccessLogField::Time]);
        let listed: Vec<_> = some.iter().collect();
        assert_eq!(listed, [AccessLogField::Time, AccessLogField::Status]);
        let all = AccessLogFields::default();
        assert_eq!(all.iter().collect::<AccessLogFields>(), all);
        assert!(AccessLogFields::from_iter([]).is_empty());
    }

    #[test]
    fn a_collector_has_an_address_or_a_path() {
        for text in ["udp://127.0.0.1:514", "udp://[::1]:514", "unix:///dev/log"] {
            let address: SyslogAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        let long = format!("unix:///{}", "x".repeat(107));
        for text in [
            "127.0.0.1:514",
            "udp://localhost:514",
            "udp://127.0.0.1",
            "udp://127.0.0.1:0",
            "tcp://127.0.0.1:514",
            "unix://log",
            "unix:///a\0b",
            &long,
        ] {
            let told = text.parse::<SyslogAddress>().unwrap_err();
            assert!(told.contains("udp://ip:port"), "{text}: {told}");
        }
    }
}
