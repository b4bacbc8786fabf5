//! Which field of [`Config`] each option sets, and the range that it accepts.
//!
//! Options that set one field each are in one table, from which reading, printing and checking are made. Options that
//! depend on each other (storage, cluster, type of the check, virtual addresses) are in `reading` and `options`.

use std::{
    collections::BTreeMap, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration,
};

use ipnet::IpNet;

use super::Config;
use crate::{
    args::{ListenerAddress, LogFormat, Options, Span, Switch},
    model::{Balancing, Failover, Invalid, ListenerName, in_range},
    policy::{
        AccessLogField, AccessLogFields, AccessLogFormat, DesyncMode, ForwardedHeaders,
        SampleRatio, SyslogAddress,
    },
};

const MILLION: usize = 1_000_000;
const DAY: Duration = Duration::from_hours(24);
/// The range of the timeouts of the data path.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=DAY;
const BACKUP_INTERVAL: RangeInclusive<Duration> =
    Duration::from_mins(1)..=Duration::from_hours(30 * 24);

const PREEMPT_DELAY: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY;

/// Checks a field that has a range, and nothing if it has none.
macro_rules! check {
    ($config:expr, $option:ident, $($field:ident).+) => {};
    ($config:expr, $option:ident, $($field:ident).+, $range:expr) => {
        Bounded::check($config.$($field).+, stringify!($option), $range)?;
    };
}

/// Each line: an option, the field that it sets, and the range of its values.
macro_rules! fields {
    ($($option:ident => $($field:ident).+ $(in $range:expr)?;)*) => {
        impl Config {
            /// Sets the fields whose options are given.
            pub(super) fn set_fields(&mut self, options: &Options) {
                $(if let Some(given) = &options.$option {
                    self.$($field).+ = Field::from_given(given);
                })*
            }

            /// The options that would set the fields to the values that they have.
            pub(super) fn given_fields(&self) -> Options {
                Options {
                    $($option: Field::to_given(&self.$($field).+),)*
                    ..Options::default()
                }
            }

            /// Accepts the fields when each is in its range.
            pub(super) fn validate_ranges(&self) -> Result<(), Invalid> {
                $(check!(self, $option, $($field).+ $(, $range)?);)*
                Ok(())
            }
        }
    };
}

fields! {
    listen => listen;
    listen_https => listen_https;
    tls_cert => tls_cert;
    tls_key => tls_key;
    listener_address => listener_addresses;
    management => management;
    management_auth => management_auth;
    management_socket => management_socket;
    management_host => management_hosts;
    management_tls_cert => management_tls_cert;
    management_tls_key => management_tls_key;
    management_client_ca => management_client_ca;
    management_insecure => management_insecure;
    health_listen => health_listen;
    workers => workers in 1..=1024;
    server => servers;
    allow_servers => allow_servers;
    demo => demo;
    log_format => log_format;
    access_log => access_log.format;
    access_log_fields => access_log.fields;
    access_log_sample => access_log.sample;
    access_log_file => access_log.file;
    access_log_syslog => access_log.syslog;
    shutdown_timeout => shutdown_timeout in Duration::ZERO..=DAY;
    node_name => node_name;
    failover => failover;
    on_role_change => on_role_change;
    backup_dir => backups.directory;
    backup_interval => backups.interval in BACKUP_INTERVAL;
    backup_keep => backups.keep in 1..=10_000;
    balancing => pool.balancing;
    fail_open => pool.fail_open;
    drain_deadline => pool.drain_deadline;
    deregister_after => pool.deregister_after;
    strict_responses => pool.strict_responses;
    check_port => pool.check.port;
    check_interval => pool.check.interval;
    check_timeout => pool.check.timeout;
    healthy_threshold => pool.check.healthy_threshold;
    unhealthy_threshold => pool.check.unhealthy_threshold;
    client_header_timeout => timeouts.client_header in TIMEOUT;
    client_idle_timeout => timeouts.client_idle in TIMEOUT;
    client_body_timeout => timeouts.client_body in TIMEOUT;
    connect_timeout => timeouts.connect in TIMEOUT;
    server_selection_timeout => timeouts.server_selection in TIMEOUT;
    lingering_timeout => timeouts.lingering in TIMEOUT;
    response_header_timeout => timeouts.response_header in TIMEOUT;
    stream_idle_timeout => timeouts.stream_idle in TIMEOUT;
    server_idle_timeout => timeouts.server_idle in TIMEOUT;
    tunnel_idle_timeout => timeouts.tunnel_idle in TIMEOUT;
    max_header_bytes => limits.header_bytes in 8192..=1024 * 1024;
    max_headers => limits.headers in 1..=10_000;
    max_connections => limits.connections in 1..=10 * MILLION;
    max_connections_per_client => limits.connections_per_client in 0..=10 * MILLION;
    max_server_connections => limits.server_connections in 1..=MILLION;
    max_server_idle_connections => limits.server_idle_connections in 0..=MILLION;
    desync_mode => http.desync_mode;
    forwarded_headers => http.forwarded_headers;
    trusted_proxy => http.trusted_proxies;
    proxy_protocol_from => http.proxy_protocol_from;
    max_body_bytes => http.max_body_bytes;
    body_min_rate => http.body_min_rate;
    retries => http.retries in 0..=10;
    vip_priority => preference.priority in 0..=255;
    vip_preempt_delay => preference.preempt_delay in PREEMPT_DELAY;
}

/// The type of a field, and how a given value becomes a value of it and is shown again.
trait Field<Given> {
    fn from_given(given: &Given) -> Self;
    fn to_given(&self) -> Option<Given>;
}

macro_rules! as_given {
    ($($type:ty)*) => {
        $(impl Field<$type> for $type {
            fn from_given(given: &$type) -> Self {
                given.clone()
            }

            fn to_given(&self) -> Option<$type> {
                Some(self.clone())
            }
        })*
    };
}

as_given! {
    bool u32 u64 usize String SocketAddr Vec<SocketAddr> Vec<IpNet> Vec<String> LogFormat AccessLogFormat DesyncMode
    ForwardedHeaders Balancing Failover SampleRatio
}

impl Field<Span> for Duration {
    fn from_given(given: &Span) -> Self {
        given.0
    }

    fn to_given(&self) -> Option<Span> {
        Some(Span(*self))
    }
}

impl Field<Vec<ListenerAddress>> for BTreeMap<ListenerName, SocketAddr> {
    fn from_given(given: &Vec<ListenerAddress>) -> Self {
        let given = given.iter().cloned();
        given
            .map(|ListenerAddress { name, address }| (name, address))
            .collect()
    }

    fn to_given(&self) -> Option<Vec<ListenerAddress>> {
        let given = self.iter().map(|(name, address)| ListenerAddress {
            name: name.clone(),
            address: *address,
        });
        Some(given.collect())
    }
}

/// 0 turns off what the duration is for.
impl Field<Span> for Option<Duration> {
    fn from_given(given: &Span) -> Self {
        Some(given.0).filter(|duration| !duration.is_zero())
    }

    fn to_given(&self) -> Option<Span> {
        Some(Span(self.unwrap_or_default()))
    }
}

/// 0 means no limit.
impl Field<u64> for Option<u64> {
    fn from_given(given: &u64) -> Self {
        Some(*given).filter(|&limit| limit > 0)
    }

    fn to_given(&self) -> Option<u64> {
        Some(self.unwrap_or_default())
    }
}

impl Field<u16> for Option<u16> {
    fn from_given(given: &u16) -> Self {
        Some(*given)
    }

    fn to_given(&self) -> Option<u16> {
        *self
    }
}

impl Field<SocketAddr> for Option<SocketAddr> {
    fn from_given(given: &SocketAddr) -> Self {
        Some(*given)
    }

    fn to_given(&self) -> Option<SocketAddr> {
        *self
    }
}

impl Field<Switch> for Option<Switch> {
    fn from_given(given: &Switch) -> Self {
        Some(*given)
    }

    fn to_given(&self) -> Option<Switch> {
        *self
    }
}

impl Field<PathBuf> for Option<PathBuf> {
    fn from_given(given: &PathBuf) -> Self {
        Some(given.clone())
    }

    fn to_given(&self) -> Option<PathBuf> {
        self.clone()
    }
}

impl Field<SyslogAddress> for Option<SyslogAddress> {
    fn from_given(given: &SyslogAddress) -> Self {
        Some(given.clone())
    }

    fn to_given(&self) -> Option<SyslogAddress> {
        self.clone()
    }
}

/// All fields are those of a configuration that names none: later versions may have more.
impl Field<Vec<AccessLogField>> for AccessLogFields {
    fn from_given(given: &Vec<AccessLogField>) -> Self {
        given.iter().copied().collect()
    }

    fn to_given(&self) -> Option<Vec<AccessLogField>> {
        (*self != Self::default()).then(|| self.iter().collect())
    }
}

/// A value that has a range.
trait Bounded: Sized {
    fn check(self, option: &str, range: RangeInclusive<Self>) -> Result<(), Invalid>;
}

impl Bounded for Duration {
    fn check(self, option: &str, range: RangeInclusive<Self>) -> Result<(), Invalid> {
        in_range(option, self, range).map(|_| ())
    }
}

impl Bounded for usize {
    fn check(self, option: &str, range: RangeInclusive<Self>) -> Result<(), Invalid> {
        if range.contains(&self) {
            return Ok(());
        }
        let accepted = format!("a whole number from {} to {}", range.start(), range.end());
        Err(Invalid::new(option, self, accepted))
    }
}
