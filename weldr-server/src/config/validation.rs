//! Which values are accepted, and which contradict each other.

use std::net::IpAddr;

use super::{Config, ConfigError, HolderPreference};
use crate::{
    model::{AllowedServers, Invalid, ListenerName, node_name, server_address},
    policy::{AccessLogFields, AccessLogFormat, SampleRatio},
};

impl Config {
    /// Accepts the configuration when each value is in its range and no two values contradict each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_ranges()?;
        self.validate_witness()?;
        self.validate_addresses()?;
        self.validate_access_log()?;
        self.validate_cluster()?;
        self.validate_pool()?;
        if let Some(vip) = &self.vip {
            vip.validate(&[self.listen.as_slice(), &self.listen_https].concat())?;
        } else if self.preference != HolderPreference::default() {
            return Err(ConfigError::Contradiction(
                "vip_priority or vip_preempt_delay is given, but vip is not: give the address to hold, for example --vip \
                 10.0.0.100/24",
            ));
        }
        Ok(())
    }

    fn validate_access_log(&self) -> Result<(), ConfigError> {
        let log = &self.access_log;
        let has_all_fields = log.fields == AccessLogFields::default();
        if log.fields.is_empty() {
            return Err(Invalid::new("access_log_fields", "", "at least one field").into());
        }
        let contradiction = match log.format {
            AccessLogFormat::Off if log.file.is_some() => {
                "access_log_file is given, but access_log is off: set access_log to json, logfmt or combined"
            }
            AccessLogFormat::Off if log.syslog.is_some() => {
                "access_log_syslog is given, but access_log is off: set access_log to json, logfmt or combined"
            }
            AccessLogFormat::Off if !has_all_fields => {
                "access_log_fields is given, but access_log is off: set access_log to json or logfmt"
            }
            AccessLogFormat::Off if log.sample != SampleRatio::ALL => {
                "access_log_sample is given, but access_log is off: set access_log to json, logfmt or combined"
            }
            AccessLogFormat::Combined if !has_all_fields => {
                "access_log_fields is given, but the fields of the combined format are fixed: set access_log to json or logfmt"
            }
            _ if log.file.is_some() && log.syslog.is_some() => {
                "access_log_file and access_log_syslog contradict each other: remove one of the two options"
            }
            _ => return Ok(()),
        };
        Err(ConfigError::Contradiction(contradiction))
    }

    fn validate_witness(&self) -> Result<(), ConfigError> {
        if !self.is_witness() {
            return Ok(());
        }
        let contradiction = if self.vip.is_some() {
            "witness and vip contradict each other: a witness serves nothing and holds no virtual address, so remove one of the two \
             options"
        } else if !self.listen.is_empty() {
            "witness and listen contradict each other: a witness accepts no requests, so remove one of the two options"
        } else if !self.listen_https.is_empty() {
            "witness and listen_https contradict each other: a witness accepts no requests, so remove one of the two options"
        } else if self.demo {
            "witness and demo contradict each other: a witness accepts no requests, so remove one of the two options"
        } else {
            return Ok(());
        };
        Err(ConfigError::Contradiction(contradiction))
    }

    fn validate_addresses(&self) -> Result<(), ConfigError> {
        if self.listen.is_empty() && !self.is_witness() {
            return Err(Invalid::new("listen", "", "at least one address").into());
        }
        let plain = self.listen.iter().map(|address| ("listen", address));
        let secured = self
            .listen_https
            .iter()
            .map(|address| ("listen_https", address));
        let mut seen = Vec::new();
        for (option, address) in plain.chain(secured) {
            if address.port() != 0 && seen.contains(&address) {
                return Err(Invalid::new(option, address, "each address once").into());
            }
            seen.push(address);
        }
        self.validate_https()?;
        if let Some(address) = self.listener_addresses.get(&ListenerName::default()) {
            let value = format!("default={address}");
            let accepted =
                "listeners that were added; the addresses of the default one are those of listen";
            return Err(Invalid::new("listener_address", value, accepted).into());
        }
        for &address in &self.servers {
            server_address(address).map_err(|invalid| invalid.named("server"))?;
        }
        let own = self.own_addresses();
        own.check_listener_addresses()?;
        let allowed = AllowedServers::new(self.allow_servers.clone());
        for &address in &self.servers {
            own.check(address)
                .and_then(|address| allowed.check(address))
                .map_err(|invalid| invalid.named("server"))?;
        }
        self.validate_management()
    }

    /// HTTPS needs a certificate with its key; the demonstration makes its own.
    fn validate_https(&self) -> Result<(), ConfigError> {
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(ConfigError::Contradiction(
                "tls_cert and tls_key belong together: one of them is missing",
            ));
        }
        let has_certificate = self.tls_cert.is_some() || self.demo;
        if !self.listen_https.is_empty() && !has_certificate {
            return Err(ConfigError::Contradiction(
                "listen_https needs a certificate: give tls_cert and tls_key",
            ));
        }
        if self.tls_cert.is_some() && self.listen_https.is_empty() {
            return Err(ConfigError::Contradiction(
                "tls_cert is given, but listen_https is not: give the address for HTTPS, for example --listen-https \
                 0.0.0.0:8443",
            ));
        }
        Ok(())
    }

    /// What is reachable from the network needs TLS and authentication.
    fn validate_management(&self) -> Result<(), ConfigError> {
        for name in &self.management_hosts {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || name.len() > 253 || !name.chars().all(allowed) {
                let accepted = "a DNS name without a port";
                return Err(Invalid::new("management_host", name, accepted).into());
            }
        }
        if self.demo && self.management_authentication() {
            return Err(ConfigError::Contradiction(
                "demo and authentication contradict each other: the commands that demo prints have no token, so use a loopback \
                 address without management_auth",
            ));
        }
        let (cert, key) = (&self.management_tls_cert, &self.management_tls_key);
        if cert.is_some() != key.is_some() {
            return Err(ConfigError::Contradiction(
                "management_tls_cert and management_tls_key belong together: one of them is missing",
            ));
        }
        if self.demo && cert.is_some() {
            return Err(ConfigError::Contradiction(
                "demo and management_tls_cert contradict each other: the commands that demo prints are for plain HTTP",
            ));
        }
        if self.management_client_ca.is_some() && cert.is_none() {
            return Err(ConfigError::Contradiction(
                "management_client_ca needs TLS: give management_tls_cert and management_tls_key as well",
            ));
        }
        if is_loopback(self.management.ip()) {
            return Ok(());
        }
        if !self.management_authentication() {
            return Err(ConfigError::ManagementWithoutAuthentication(
                self.management,
            ));
        }
        if cert.is_none() && !self.management_insecure {
            return Err(ConfigError::ManagementOpen(self.management));
        }
        Ok(())
    }

    /// Names what is wrong with the pool's settings by option: the model calls it `check.http.path`.
    fn validate_pool(&self) -> Result<(), Invalid> {
        self.pool.validate().map_err(|invalid| {
            let option = invalid
                .field
                .replace("check.http.", "check.")
                .replace('.', "_");
            let option = match option.as_str() {
                "check_healthy_threshold" => "healthy_threshold".to_owned(),
                "check_unhealthy_threshold" => "unhealthy_threshold".to_owned(),
                _ => option,
            };
            invalid.named(option)
        })
    }

    fn validate_cluster(&self) -> Result<(), ConfigError> {
        node_name(&self.node_name)?;
        let Some(cluster) = &self.cluster else {
            return Ok(());
        };
        let reached = cluster.advertise.unwrap_or(cluster.listen);
        if reached.ip().is_unspecified() {
            let accepted = "an address to which other nodes can connect; if this node listens on all addresses, \
                            give the one for other nodes as cluster_advertise";
            return Err(Invalid::new("cluster", reached, accepted).into());
        }
        Ok(())
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}
