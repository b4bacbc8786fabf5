//! Which values are accepted, and which contradict each other.

use std::{net::IpAddr, time::Duration};

use super::{Config, ConfigError};
use crate::{
    model::{Invalid, in_range, server_address},
    policy::{AccessLogFormat, Timeouts},
};

impl Config {
    /// Accepts the configuration when each value is in its range and none contradicts another.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.listen.is_empty() {
            return Err(Invalid::new("listen", "", "at least one address").into());
        }
        if self.access_log.file.is_some() && self.access_log.format == AccessLogFormat::Off {
            return Err(ConfigError::Contradiction(
                "access_log_file says where to write the access log, but access_log is off: say json or combined",
            ));
        }
        for (index, address) in self.listen.iter().enumerate() {
            if address.port() != 0 && self.listen[..index].contains(address) {
                return Err(Invalid::new("listen", address, "each address once").into());
            }
        }
        for &address in &self.servers {
            server_address(address).map_err(|invalid| invalid.named("server"))?;
        }
        if !self.management_insecure && !is_loopback(self.management.ip()) {
            return Err(ConfigError::ManagementOpen(self.management));
        }
        self.validate_cluster()?;
        self.pool.validate().map_err(|invalid| {
            let option = invalid
                .field
                .replace("check.http.", "check.")
                .replace('.', "_");
            let option = match option.as_str() {
                "check_healthy_threshold" => "healthy_threshold",
                "check_unhealthy_threshold" => "unhealthy_threshold",
                other => other,
            };
            let option = option.to_owned();
            invalid.named(option)
        })?;
        self.validate_times()?;
        self.validate_sizes()?;
        if let Some(vip) = &self.vip {
            vip.validate(&self.listen)?;
        }
        Ok(())
    }

    fn validate_cluster(&self) -> Result<(), ConfigError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = &self.node_name;
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            let accepted = "1 to 64 letters, digits, `-`, `_` or `.`";
            return Err(Invalid::new("node_name", name, accepted).into());
        }
        let Some(cluster) = &self.cluster else {
            return Ok(());
        };
        let reached = cluster.advertise.unwrap_or(cluster.listen);
        if reached.ip().is_unspecified() {
            let accepted =
                "an address at which other nodes reach this one, here or as cluster_advertise";
            return Err(Invalid::new("cluster", reached, accepted).into());
        }
        let open = !is_loopback(cluster.listen.ip()) && cluster.tls.is_none();
        if open && !(cluster.insecure && cluster.secret_file.is_some()) {
            return Err(ConfigError::ClusterOpen(cluster.listen));
        }
        Ok(())
    }

    fn validate_times(&self) -> Result<(), Invalid> {
        const SHORTEST: Duration = Duration::from_millis(10);
        const LONGEST: Duration = Duration::from_hours(24);
        let Timeouts {
            client_header,
            client_idle,
            connect,
            response_header,
            stream_idle,
            server_idle,
            client_body,
            server_selection,
            lingering,
            tunnel_idle,
        } = self.timeouts;
        in_range(
            "shutdown_timeout",
            self.shutdown_timeout,
            Duration::ZERO..=LONGEST,
        )?;
        for (option, timeout) in [
            ("client_header_timeout", client_header),
            ("client_idle_timeout", client_idle),
            ("connect_timeout", connect),
            ("response_header_timeout", response_header),
            ("stream_idle_timeout", stream_idle),
            ("server_idle_timeout", server_idle),
            ("client_body_timeout", client_body),
            ("server_selection_timeout", server_selection),
            ("lingering_timeout", lingering),
            ("tunnel_idle_timeout", tunnel_idle),
        ] {
            in_range(option, timeout, SHORTEST..=LONGEST)?;
        }
        Ok(())
    }

    fn validate_sizes(&self) -> Result<(), Invalid> {
        const MILLION: usize = 1_000_000;
        let limits = &self.limits;
        for (option, value, range) in [
            ("workers", self.workers, 1..=1024),
            ("max_header_bytes", limits.header_bytes, 8192..=1024 * 1024),
            ("max_headers", limits.headers, 1..=10_000),
            ("max_connections", limits.connections, 1..=10 * MILLION),
            (
                "max_server_connections",
                limits.server_connections,
                1..=MILLION,
            ),
            (
                "max_server_idle_connections",
                limits.server_idle_connections,
                0..=MILLION,
            ),
            ("retries", self.http.retries, 0..=10),
        ] {
            if !range.contains(&value) {
                let accepted = format!("a whole number from {} to {}", range.start(), range.end());
                return Err(Invalid::new(option, value, accepted));
            }
        }
        Ok(())
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}
