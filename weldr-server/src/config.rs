//! Options from flags, variables and a file become one validated [`Config`]; its `Default` is the one
//! table of defaults.

mod virtual_addresses;

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZero,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use ipnet::IpNet;

pub use crate::args::{AccessLogFormat, DesyncMode, ForwardedHeaders};
use crate::{
    args::{BalancingName, CheckType, LogFormat, Options, Span},
    model::{Balancing, CheckKind, HttpCheck, Invalid, PoolSettings, in_range, server_address},
};

pub use virtual_addresses::VirtualAddresses;

/// The port of the management API, unless another is asked for.
pub const MANAGEMENT_PORT: u16 = 8687;

/// Everything a node is told when it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where to proxy.
    pub listen: Vec<SocketAddr>,
    /// Where to serve the management API.
    pub management: SocketAddr,
    /// Allow `management` off loopback without authentication.
    pub management_insecure: bool,
    /// Serve REST beside gRPC.
    pub rest: bool,
    /// Where the pool is kept.
    pub storage: Storage,
    /// What to call the node.
    pub node_name: String,
    /// How the node meets others; `None`: it is alone.
    pub cluster: Option<Cluster>,
    /// Threads that proxy.
    pub workers: usize,
    /// Servers to add at the start.
    pub servers: Vec<SocketAddr>,
    /// Run the demonstration.
    pub demo: bool,
    /// How the log is written.
    pub log_format: LogFormat,
    /// How long running requests may go on when the node stops.
    pub shutdown_timeout: Duration,
    /// The settings of the default pool when it is new.
    pub pool: PoolSettings,
    /// How long the data path waits.
    pub timeouts: Timeouts,
    /// How much the data path holds.
    pub limits: Limits,
    /// The addresses that the node holds while it leads.
    pub vip: Option<VirtualAddresses>,
    /// What the data path makes of messages.
    pub http: HttpPolicy,
    /// What is written of requests.
    pub access_log: AccessLogOptions,
}

/// Where the pool is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In this directory.
    Directory(PathBuf),
    /// In memory only.
    Ephemeral,
}

/// How a node meets others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Where it listens for them.
    pub listen: SocketAddr,
    /// Where they reach it; `None`: where it listens.
    pub advertise: Option<SocketAddr>,
    /// Who lets it join; empty: it founds a cluster.
    pub join: Vec<SocketAddr>,
    /// The file of the shared secret.
    pub secret_file: Option<PathBuf>,
    /// Certificate, key and authority.
    pub tls: Option<ClusterTls>,
    /// Allow it off loopback without TLS.
    pub insecure: bool,
}

/// The PEM files of mutual TLS between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterTls {
    /// What the node shows.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who signs the certificates of all nodes.
    pub ca: PathBuf,
}

/// How long the data path waits for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a request to the end of its head.
    pub client_header: Duration,
    /// Between two requests of a connection.
    pub client_idle: Duration,
    /// For a connection to a server.
    pub connect: Duration,
    /// From the end of a request to the head of its answer.
    pub response_header: Duration,
    /// For the next part of a body, in either direction.
    pub stream_idle: Duration,
    /// How long an unused connection to a server is kept.
    pub server_idle: Duration,
    /// How long a client may be waited for, over a whole body, beyond what its bytes take at the minimum rate.
    pub client_body: Duration,
    /// How long nothing may pass through a connection that has changed its protocol.
    pub tunnel_idle: Duration,
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
    /// Connections to one server.
    pub server_connections: usize,
    /// Unused connections to one server.
    pub server_idle_connections: usize,
}

/// What the data path makes of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpPolicy {
    /// What happens to a request that some server might read in another way.
    pub desync_mode: DesyncMode,
    /// What becomes of the fields that say whose request it is.
    pub forwarded_headers: ForwardedHeaders,
    /// Peers whose word is taken for those fields.
    pub trusted_proxies: Vec<IpNet>,
    /// Bytes of a request's body; `None`: any number.
    pub max_body_bytes: Option<u64>,
    /// Bytes a second that a client has to send of a body; 0: any rate will do.
    pub body_min_rate: u64,
    /// How often a request that failed may be sent again.
    pub retries: usize,
}

/// What is written of requests, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessLogOptions {
    /// How a line looks.
    pub format: AccessLogFormat,
    /// Where lines go; `None`: standard output.
    pub file: Option<PathBuf>,
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
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![(Ipv4Addr::UNSPECIFIED, 8080).into()],
            management: (Ipv4Addr::LOCALHOST, MANAGEMENT_PORT).into(),
            management_insecure: false,
            rest: true,
            storage: Storage::Directory("./weldr-data".into()),
            node_name: host_name(),
            cluster: None,
            workers: thread::available_parallelism().map_or(1, NonZero::get),
            servers: Vec::new(),
            demo: false,
            log_format: LogFormat::Text,
            shutdown_timeout: Duration::from_secs(30),
            pool: PoolSettings::default(),
            timeouts: Timeouts {
                client_header: Duration::from_secs(10),
                client_idle: Duration::from_mins(1),
                connect: Duration::from_secs(2),
                response_header: Duration::from_mins(1),
                stream_idle: Duration::from_mins(1),
                server_idle: Duration::from_mins(1),
                client_body: Duration::from_secs(20),
                tunnel_idle: Duration::from_hours(1),
            },
            limits: Limits {
                header_bytes: 32 * 1024,
                headers: 128,
                connections: 20_000,
                server_connections: 4096,
                server_idle_connections: 256,
            },
            vip: None,
            http: HttpPolicy::default(),
            access_log: AccessLogOptions::default(),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {} cannot be read", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("line {line} of the configuration file {} is not valid", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What was expected.
        source: Box<toml::de::Error>,
    },
    /// A value is out of range.
    #[error("invalid configuration")]
    Invalid(#[from] Invalid),
    /// Two options contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
    /// Management would be open to the network.
    #[error(
        "management = {0} is not a loopback address, and management has no authentication yet: whoever \
         reaches that port could change the pool. Use 127.0.0.1 or [::1], or say --management-insecure"
    )]
    ManagementOpen(SocketAddr),
    /// Nodes would talk in the clear over the network.
    #[error(
        "cluster = {0} is not a loopback address: give certificates with --cluster-cert, --cluster-key and \
         --cluster-ca, or a secret with --cluster-secret-file and say --cluster-insecure"
    )]
    ClusterOpen(SocketAddr),
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

/// The name of this machine.
fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = name.chars().filter(|c| allowed(*c)).take(64).collect();
    if name.is_empty() {
        return "weldr".to_owned();
    }
    name
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

impl Options {
    /// Whether something is said that only an HTTP check has.
    fn asks_http(&self) -> bool {
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
            max_server_idle_connections vip vip_interface vip_hook client_body_timeout tunnel_idle_timeout desync_mode
            forwarded_headers trusted_proxy max_body_bytes body_min_rate retries access_log access_log_file
        }
    }
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

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
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

impl From<Balancing> for BalancingName {
    fn from(balancing: Balancing) -> Self {
        match balancing {
            Balancing::RoundRobin => Self::RoundRobin,
            Balancing::WeightedRoundRobin => Self::WeightedRoundRobin,
            Balancing::LeastRequests => Self::LeastRequests,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Args;

    fn config(text: &str) -> Result<Config, ConfigError> {
        Config::from_options(toml::from_str(text).unwrap())
    }

    #[test]
    fn what_is_said_beats_the_file_and_the_file_beats_the_default() {
        let file: Options = toml::from_str("workers = 3\nconnect_timeout = '7s'").unwrap();
        let said = Options {
            workers: Some(5),
            ..Options::default()
        };
        let config = Config::from_options(said.over(file)).unwrap();
        assert_eq!(config.workers, 5);
        assert_eq!(config.timeouts.connect, Duration::from_secs(7));
        assert_eq!(
            config.timeouts.stream_idle,
            Config::default().timeouts.stream_idle
        );
    }

    #[test]
    fn ephemeral_on_the_command_line_beats_a_directory_in_the_file_and_the_other_way_round() {
        let directory: Options = toml::from_str("data_dir = '/somewhere'").unwrap();
        let said = Options {
            ephemeral: Some(true),
            ..Options::default()
        };
        assert_eq!(
            Config::from_options(said.over(directory)).unwrap().storage,
            Storage::Ephemeral
        );
        let ephemeral: Options = toml::from_str("ephemeral = true").unwrap();
        let said = Options {
            data_dir: Some("/here".into()),
            ..Options::default()
        };
        let config = Config::from_options(said.over(ephemeral)).unwrap();
        assert_eq!(config.storage, Storage::Directory("/here".into()));
    }

    #[test]
    fn the_effective_configuration_is_a_configuration_file() {
        let text = "listen = ['127.0.0.1:1', '[::1]:2']\nephemeral = true\ncheck_path = '/health'\n\
                    deregister_after = '1h'\nbalancing = 'least_requests'\nmax_headers = 7";
        let config = config(text).unwrap();
        let printed = toml::to_string(&Options::from(&config)).unwrap();
        assert_eq!(
            super::Config::from_options(toml::from_str(&printed).unwrap()).unwrap(),
            config
        );
    }

    #[test]
    fn an_http_option_implies_http_checks() {
        let config = config("check_expect = '200,404'").unwrap();
        let CheckKind::Http(http) = config.pool.check.kind else {
            panic!("not an HTTP check")
        };
        assert_eq!(
            (http.path.as_str(), http.expected_status.contains(404)),
            ("/", true)
        );
    }

    #[test]
    fn what_is_refused_names_its_option() {
        for (text, option) in [
            ("workers = 0", "workers"),
            ("max_header_bytes = 100", "max_header_bytes"),
            ("connect_timeout = '0s'", "connect_timeout"),
            ("check_interval = '1ms'", "check_interval"),
            ("unhealthy_threshold = 0", "unhealthy_threshold"),
            ("check_path = 'health'", "check_path"),
            ("check_expect = '999'", "check_expect"),
            ("check_port = 0", "check_port"),
            ("deregister_after = '1ms'", "deregister_after"),
            ("listen = []", "listen"),
        ] {
            match config(text) {
                Err(ConfigError::Invalid(invalid)) => assert_eq!(invalid.field, option, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let tcp_with_path = config("check_type = 'tcp'\ncheck_path = '/health'");
        assert!(matches!(tcp_with_path, Err(ConfigError::Contradiction(_))));
        assert!(
            toml::from_str::<Options>("conect_timeout = '1s'").is_err(),
            "a typo is not ignored"
        );
    }

    #[test]
    fn management_off_loopback_has_to_be_asked_for() {
        let open = config("management = '0.0.0.0:8687'");
        assert!(matches!(open, Err(ConfigError::ManagementOpen(_))));
        assert!(config("management = '0.0.0.0:8687'\nmanagement_insecure = true").is_ok());
        assert!(config("management = '[::1]:8687'").is_ok());
    }

    #[test]
    fn help_tells_the_defaults_that_are_in_force() {
        let config = Config::default();
        let options = toml::Table::try_from(Options::from(&config)).unwrap();
        for argument in Args::command().get_arguments() {
            let help = argument.get_help().unwrap().to_string();
            let Some((_, said)) = help.split_once("[default: ") else {
                continue;
            };
            let said = said.trim_end_matches(']');
            let Some(value) = options.get(argument.get_id().as_str()) else {
                continue;
            };
            let value = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Array(values) => values[0].as_str().unwrap().to_owned(),
                other => other.to_string(),
            };
            let in_words = said.starts_with("one ") || said.starts_with("the ");
            assert!(
                in_words || said == value,
                "{}: {said} against {value}",
                argument.get_id()
            );
        }
    }
}
