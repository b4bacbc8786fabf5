//! Options as layers that lie on each other, and as what is in effect.

use super::{Config, Storage, VirtualAddresses};
use crate::{
    args::{BalancingName, CheckType, Options, Span},
    model::{Balancing, CheckKind},
};

/// The effective configuration, as it could be written into a file.
#[expect(
    clippy::too_many_lines,
    reason = "one line for each option, and none may be forgotten"
)]
impl From<&Config> for Options {
    fn from(config: &Config) -> Self {
        let span = |duration| Some(Span(duration));
        let check = &config.pool.check;
        let cluster = config.cluster.as_ref();
        let tls = cluster.and_then(|cluster| cluster.tls.as_ref());
        let http = match &check.kind {
            CheckKind::Http(http) => Some(http),
            CheckKind::Tcp => None,
        };
        Self {
            listen: Some(config.listen.clone()),
            management: Some(config.management),
            management_insecure: Some(config.management_insecure),
            no_rest: Some(!config.rest),
            data_dir: match &config.storage {
                Storage::Directory(directory) => Some(directory.clone()),
                Storage::Ephemeral => None,
            },
            ephemeral: Some(config.storage == Storage::Ephemeral),
            node_name: Some(config.node_name.clone()),
            cluster: cluster.map(|cluster| cluster.listen),
            cluster_advertise: cluster.and_then(|cluster| cluster.advertise),
            join: cluster.map(|cluster| cluster.join.clone()),
            cluster_secret_file: cluster.and_then(|cluster| cluster.secret_file.clone()),
            cluster_cert: tls.map(|tls| tls.cert.clone()),
            cluster_key: tls.map(|tls| tls.key.clone()),
            cluster_ca: tls.map(|tls| tls.ca.clone()),
            cluster_insecure: cluster.map(|cluster| cluster.insecure),
            workers: Some(config.workers),
            server: Some(config.servers.clone()),
            demo: Some(config.demo),
            log_format: Some(config.log_format),
            shutdown_timeout: span(config.shutdown_timeout),
            balancing: Some(config.pool.balancing.into()),
            fail_open: Some(config.pool.fail_open),
            drain_deadline: span(config.pool.drain_deadline),
            deregister_after: span(config.pool.deregister_after.unwrap_or_default()),
            check_type: Some(if http.is_some() {
                CheckType::Http
            } else {
                CheckType::Tcp
            }),
            check_path: http.map(|http| http.path.clone()),
            check_expect: http.map(|http| http.expected_status.to_string()),
            check_host: http.and_then(|http| http.host.clone()),
            check_port: check.port,
            check_interval: span(check.interval),
            check_timeout: span(check.timeout),
            healthy_threshold: Some(check.healthy_threshold),
            unhealthy_threshold: Some(check.unhealthy_threshold),
            client_header_timeout: span(config.timeouts.client_header),
            client_idle_timeout: span(config.timeouts.client_idle),
            connect_timeout: span(config.timeouts.connect),
            response_header_timeout: span(config.timeouts.response_header),
            stream_idle_timeout: span(config.timeouts.stream_idle),
            server_idle_timeout: span(config.timeouts.server_idle),
            max_header_bytes: Some(config.limits.header_bytes),
            max_headers: Some(config.limits.headers),
            max_connections: Some(config.limits.connections),
            max_server_connections: Some(config.limits.server_connections),
            max_server_idle_connections: Some(config.limits.server_idle_connections),
            vip: config.vip.as_ref().map(VirtualAddresses::texts),
            vip_interface: config.vip.as_ref().map(|vip| vip.interface.clone()),
            vip_hook: config.vip.as_ref().and_then(|vip| vip.hook.clone()),
            client_body_timeout: span(config.timeouts.client_body),
            server_selection_timeout: span(config.timeouts.server_selection),
            lingering_timeout: span(config.timeouts.lingering),
            tunnel_idle_timeout: span(config.timeouts.tunnel_idle),
            desync_mode: Some(config.http.desync_mode),
            forwarded_headers: Some(config.http.forwarded_headers),
            trusted_proxy: Some(config.http.trusted_proxies.clone()),
            max_body_bytes: Some(config.http.max_body_bytes.unwrap_or_default()),
            body_min_rate: Some(config.http.body_min_rate),
            retries: Some(config.http.retries),
            access_log: Some(config.access_log.format),
            access_log_file: config.access_log.file.clone(),
        }
    }
}

impl From<Balancing> for BalancingName {
    fn from(balancing: Balancing) -> Self {
        match balancing {
            Balancing::RoundRobin => Self::RoundRobin,
            Balancing::WeightedRoundRobin => Self::WeightedRoundRobin,
            Balancing::LeastRequests => Self::LeastRequests,
        }
    }
}

impl Options {
    /// Whether something is said that only an HTTP check has.
    pub(super) fn asks_http(&self) -> bool {
        self.check_path.is_some() || self.check_expect.is_some() || self.check_host.is_some()
    }

    /// These options, and beneath each that is not said, what `file` says.
    #[must_use]
    pub fn over(self, file: Self) -> Self {
        // One decision in two options: who says either here says both.
        let file = if self.data_dir.is_some() || self.ephemeral.is_some() {
            Self {
                data_dir: None,
                ephemeral: None,
                ..file
            }
        } else {
            file
        };
        let file = match self.check_type {
            Some(CheckType::Tcp) => Self {
                check_path: None,
                check_expect: None,
                check_host: None,
                ..file
            },
            None if self.asks_http() => Self {
                check_type: None,
                ..file
            },
            Some(CheckType::Http) | None => file,
        };
        macro_rules! first_said {
            ($($option:ident)*) => {
                Self { $($option: self.$option.or(file.$option),)* }
            };
        }
        first_said! {
            listen management management_insecure no_rest data_dir ephemeral workers server demo
            node_name cluster cluster_advertise join cluster_secret_file cluster_cert cluster_key cluster_ca
            cluster_insecure
            log_format shutdown_timeout balancing fail_open drain_deadline deregister_after check_type
            check_path check_expect check_host check_port check_interval check_timeout
            healthy_threshold unhealthy_threshold client_header_timeout client_idle_timeout
            connect_timeout response_header_timeout stream_idle_timeout server_idle_timeout
            max_header_bytes max_headers max_connections max_server_connections
            max_server_idle_connections vip vip_interface vip_hook client_body_timeout server_selection_timeout lingering_timeout tunnel_idle_timeout desync_mode
            forwarded_headers trusted_proxy max_body_bytes body_min_rate retries access_log access_log_file
        }
    }
}
