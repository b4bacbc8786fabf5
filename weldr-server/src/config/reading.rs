//! From options to a configuration.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use super::{Cluster, ClusterTls, Config, ConfigError, Storage, VirtualAddresses};
use crate::{
    args::{BalancingName, CheckType, Options, Span},
    model::{Balancing, CheckKind, HttpCheck, Invalid, PoolSettings, server_address},
    policy::{AccessLogOptions, HttpPolicy, Limits, Timeouts},
};

impl Config {
    /// Makes a configuration of what was said on the command line or in the environment, and beneath it of
    /// what the file at `path` says.
    pub fn load(said: Options, path: Option<&Path>) -> Result<Self, ConfigError> {
        let file = path.map(read_file).transpose()?.unwrap_or_default();
        Self::from_options(said.over(file))
    }

    /// Makes a configuration of options, with defaults for those that are not said.
    pub fn from_options(options: Options) -> Result<Self, ConfigError> {
        let default = Self::default();
        let pool = pool_settings(&options)?;
        let vip = VirtualAddresses::from_options(&options)?;
        let http = http_policy(&options);
        let cluster = cluster(&options)?;
        let span = |span: Option<Span>, default: Duration| span.map_or(default, |span| span.0);
        let demo = options.demo.unwrap_or(default.demo);
        let storage = storage(&options, demo)?;
        let config = Self {
            listen: options.listen.unwrap_or(default.listen),
            management: options.management.unwrap_or(default.management),
            management_insecure: options.management_insecure.unwrap_or(false),
            rest: !options.no_rest.unwrap_or(!default.rest),
            storage: storage.unwrap_or(default.storage),
            node_name: options.node_name.unwrap_or(default.node_name),
            cluster,
            workers: options.workers.unwrap_or(default.workers),
            servers: canonical(options.server.unwrap_or_default()),
            demo,
            log_format: options.log_format.unwrap_or_default(),
            shutdown_timeout: span(options.shutdown_timeout, default.shutdown_timeout),
            pool,
            timeouts: Timeouts {
                client_header: span(
                    options.client_header_timeout,
                    default.timeouts.client_header,
                ),
                client_idle: span(options.client_idle_timeout, default.timeouts.client_idle),
                connect: span(options.connect_timeout, default.timeouts.connect),
                response_header: span(
                    options.response_header_timeout,
                    default.timeouts.response_header,
                ),
                stream_idle: span(options.stream_idle_timeout, default.timeouts.stream_idle),
                server_idle: span(options.server_idle_timeout, default.timeouts.server_idle),
                client_body: span(options.client_body_timeout, default.timeouts.client_body),
                server_selection: span(
                    options.server_selection_timeout,
                    default.timeouts.server_selection,
                ),
                lingering: span(options.lingering_timeout, default.timeouts.lingering),
                tunnel_idle: span(options.tunnel_idle_timeout, default.timeouts.tunnel_idle),
            },
            http,
            access_log: AccessLogOptions {
                format: options.access_log.unwrap_or_default(),
                file: options.access_log_file,
            },
            limits: Limits {
                header_bytes: options
                    .max_header_bytes
                    .unwrap_or(default.limits.header_bytes),
                headers: options.max_headers.unwrap_or(default.limits.headers),
                connections: options
                    .max_connections
                    .unwrap_or(default.limits.connections),
                server_connections: options
                    .max_server_connections
                    .unwrap_or(default.limits.server_connections),
                server_idle_connections: options
                    .max_server_idle_connections
                    .unwrap_or(default.limits.server_idle_connections),
            },
            vip,
        };
        config.validate()?;
        Ok(config)
    }
}

fn http_policy(options: &Options) -> HttpPolicy {
    let default = HttpPolicy::default();
    HttpPolicy {
        desync_mode: options.desync_mode.unwrap_or(default.desync_mode),
        forwarded_headers: options
            .forwarded_headers
            .unwrap_or(default.forwarded_headers),
        trusted_proxies: options.trusted_proxy.clone().unwrap_or_default(),
        max_body_bytes: options.max_body_bytes.filter(|&limit| limit > 0),
        body_min_rate: options.body_min_rate.unwrap_or(default.body_min_rate),
        retries: options.retries.unwrap_or(default.retries),
    }
}

fn cluster(options: &Options) -> Result<Option<Cluster>, ConfigError> {
    let tls = match (
        &options.cluster_cert,
        &options.cluster_key,
        &options.cluster_ca,
    ) {
        (None, None, None) => None,
        (Some(cert), Some(key), Some(ca)) => Some(ClusterTls {
            cert: cert.clone(),
            key: key.clone(),
            ca: ca.clone(),
        }),
        _ => {
            return Err(ConfigError::Contradiction(
                "mutual TLS needs all of `cluster_cert`, `cluster_key` and `cluster_ca`",
            ));
        }
    };
    let Some(listen) = options.cluster else {
        let others = options.join.is_some()
            || options.cluster_advertise.is_some()
            || options.cluster_secret_file.is_some()
            || tls.is_some();
        if others {
            return Err(ConfigError::Contradiction(
                "a node that meets others needs an address for them: say `cluster` too",
            ));
        }
        return Ok(None);
    };
    Ok(Some(Cluster {
        listen,
        advertise: options.cluster_advertise,
        join: options.join.clone().unwrap_or_default(),
        secret_file: options.cluster_secret_file.clone(),
        tls,
        insecure: options.cluster_insecure.unwrap_or(false),
    }))
}

fn read_file(path: &Path) -> Result<Options, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let options: Options = toml::from_str(&text).map_err(|mut source| {
        let before = source.span().and_then(|span| text.get(..span.start));
        // With its input it would quote the line below itself; a log holds a sentence better.
        source.set_input(None);
        ConfigError::Malformed {
            path: path.to_owned(),
            line: 1 + before.unwrap_or_default().matches('\n').count(),
            source: Box::new(source),
        }
    })?;
    if options.ephemeral == Some(true) && options.data_dir.is_some() {
        return Err(ConfigError::Contradiction(
            "the configuration file says both `ephemeral = true` and `data_dir`: one of them has to go",
        ));
    }
    Ok(options)
}

/// Where the pool is to be kept, when that is said.
fn storage(options: &Options, demo: bool) -> Result<Option<Storage>, ConfigError> {
    match &options.data_dir {
        Some(_) if demo => Err(ConfigError::Contradiction(
            "the demonstration keeps nothing on disk: say `demo` or `data_dir`, not both",
        )),
        _ if demo || options.ephemeral == Some(true) => Ok(Some(Storage::Ephemeral)),
        directory => Ok(directory.clone().map(Storage::Directory)),
    }
}

fn pool_settings(options: &Options) -> Result<PoolSettings, ConfigError> {
    let mut pool = PoolSettings::default();
    let check = &mut pool.check;
    let asks_http = options.asks_http();
    match options.check_type {
        Some(CheckType::Tcp) if asks_http => {
            return Err(ConfigError::Contradiction(
                "check_type is tcp, but check_path, check_expect and check_host belong to http checks",
            ));
        }
        Some(CheckType::Http) => check.kind = CheckKind::Http(http_check(options)?),
        None if asks_http => check.kind = CheckKind::Http(http_check(options)?),
        Some(CheckType::Tcp) | None => {}
    }
    set(
        &mut check.interval,
        options.check_interval.map(|span| span.0),
    );
    set(&mut check.timeout, options.check_timeout.map(|span| span.0));
    set(&mut check.healthy_threshold, options.healthy_threshold);
    set(&mut check.unhealthy_threshold, options.unhealthy_threshold);
    check.port = options.check_port;
    if check.port == Some(0) {
        return Err(Invalid::new("check_port", 0, "a port from 1 to 65535").into());
    }
    set(&mut pool.balancing, options.balancing.map(Balancing::from));
    set(&mut pool.fail_open, options.fail_open);
    set(
        &mut pool.drain_deadline,
        options.drain_deadline.map(|span| span.0),
    );
    pool.deregister_after = options
        .deregister_after
        .map(|span| span.0)
        .filter(|after| !after.is_zero());
    Ok(pool)
}

/// One name a server; what is no address of a server is told by [`Config::validate`].
fn canonical(servers: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let servers = servers.into_iter();
    servers
        .map(|given| server_address(given).unwrap_or(given))
        .collect()
}

fn set<T>(setting: &mut T, said: Option<T>) {
    if let Some(said) = said {
        *setting = said;
    }
}

fn http_check(options: &Options) -> Result<HttpCheck, Invalid> {
    let mut http = HttpCheck::default();
    set(&mut http.path, options.check_path.clone());
    if let Some(expect) = &options.check_expect {
        http.expected_status = expect
            .parse()
            .map_err(|invalid: Invalid| invalid.named("check_expect"))?;
    }
    http.host.clone_from(&options.check_host);
    Ok(http)
}

impl From<BalancingName> for Balancing {
    fn from(name: BalancingName) -> Self {
        match name {
            BalancingName::RoundRobin => Self::RoundRobin,
            BalancingName::WeightedRoundRobin => Self::WeightedRoundRobin,
            BalancingName::LeastRequests => Self::LeastRequests,
        }
    }
}
