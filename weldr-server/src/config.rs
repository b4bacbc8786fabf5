//! Options from flags, environment variables and a file become one validated [`Config`]. Its `Default` is the only
//! place with defaults, together with the defaults in `policy` and `model`.

mod changes;
mod fields;
mod file;
mod options;
mod own_addresses;
mod reading;
mod validation;
mod virtual_addresses;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    num::NonZero,
    path::PathBuf,
    thread,
    time::Duration,
};

use ipnet::IpNet;

use crate::{
    args::{LogFormat, Secret, Switch},
    model::{Failover, Invalid, ListenerName, PoolSettings},
    policy::{AccessLogOptions, HttpPolicy, Limits, Timeouts},
};

pub use changes::ChangedOptions;
pub use virtual_addresses::VirtualAddresses;

/// The default port of the management API.
pub const MANAGEMENT_PORT: u16 = 8687;

/// The configuration of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The addresses on which to accept requests.
    pub listen: Vec<SocketAddr>,
    /// The addresses on which to accept requests by HTTPS.
    pub listen_https: Vec<SocketAddr>,
    /// The certificate for HTTPS (PEM).
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate for HTTPS (PEM).
    pub tls_key: Option<PathBuf>,
    /// The addresses that listeners have on this node instead of their own; none of them is the default listener, which has
    /// those of `listen`.
    pub listener_addresses: BTreeMap<ListenerName, SocketAddr>,
    /// The address of the management API.
    pub management: SocketAddr,
    /// Whether callers of `management` need a credential; `None`: unless it is a loopback address.
    pub management_auth: Option<Switch>,
    /// The Unix socket of the management API; `None`: in the data directory, if there is one; `off`: there is none.
    pub management_socket: Option<PathBuf>,
    /// The names under which the management API is called, besides IP addresses and localhost.
    pub management_hosts: Vec<String>,
    /// The certificate of `management` (PEM).
    pub management_tls_cert: Option<PathBuf>,
    /// The private key of the certificate (PEM).
    pub management_tls_key: Option<PathBuf>,
    /// The authority of client certificates (PEM).
    pub management_client_ca: Option<PathBuf>,
    /// The address that serves only health.
    pub health_listen: Option<SocketAddr>,
    /// Whether `management` may be an address that is not loopback, without TLS.
    pub management_insecure: bool,
    /// Whether to serve REST in addition to gRPC.
    pub rest: bool,
    /// Where the pool is stored.
    pub storage: Storage,
    /// The name of the node.
    pub node_name: String,
    /// The connections to other nodes; `None` for a single node.
    pub cluster: Option<Cluster>,
    /// The number of threads that proxy requests.
    pub workers: usize,
    /// The servers to add at the start.
    pub servers: Vec<SocketAddr>,
    /// The networks in which servers may be added through this node; empty: all but link-local addresses.
    pub allow_servers: Vec<IpNet>,
    /// Whether to run the demonstration.
    pub demo: bool,
    /// The format of the log.
    pub log_format: LogFormat,
    /// How soon another node leads when the leader is lost.
    pub failover: Failover,
    /// The program that is run with `leader` or `follower` when the role of this node changes.
    pub on_role_change: Option<PathBuf>,
    /// The scheduled backups.
    pub backups: Backups,
    /// The time that running requests get to finish when the node stops.
    pub shutdown_timeout: Duration,
    /// The settings with which the default pool is created.
    pub pool: PoolSettings,
    /// The timeouts of the data path.
    pub timeouts: Timeouts,
    /// The limits of the data path.
    pub limits: Limits,
    /// The addresses that the node holds while it leads the cluster.
    pub vip: Option<VirtualAddresses>,
    /// Whether this node is preferred as the holder of the addresses.
    pub preference: HolderPreference,
    /// How the data path treats messages.
    pub http: HttpPolicy,
    /// The access log.
    pub access_log: AccessLogOptions,
}

/// Where the pool is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In this directory.
    Directory(PathBuf),
    /// In memory only.
    Ephemeral,
}

/// Whether a node is preferred as the holder of the virtual addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HolderPreference {
    /// The node with the highest number takes the addresses back. The default is 0.
    pub priority: usize,
    /// How long it has to be ready before that. The default is a minute.
    pub preempt_delay: Duration,
}

impl Default for HolderPreference {
    fn default() -> Self {
        Self {
            priority: 0,
            preempt_delay: Duration::from_mins(1),
        }
    }
}

/// The scheduled backups of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backups {
    /// Where they are written; `None`: there are none.
    pub directory: Option<PathBuf>,
    /// The time between two of them. The default is an hour.
    pub interval: Duration,
    /// How many are kept. The default is 24.
    pub keep: usize,
}

impl Default for Backups {
    fn default() -> Self {
        Self {
            directory: None,
            interval: Duration::from_hours(1),
            keep: 24,
        }
    }
}

/// The connections of a node to other nodes.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The address on which the node accepts connections.
    pub listen: SocketAddr,
    /// The address to which other nodes connect; `None` if it is `listen`.
    pub advertise: Option<SocketAddr>,
    /// Nodes of the cluster that it joins.
    pub join: Vec<SocketAddr>,
    /// Whether it founds a cluster, if it belongs to none.
    pub found: bool,
    /// Whether it makes itself the only node of a new cluster, with what it has.
    pub recover: bool,
    /// Whether it votes and stores the log, and serves nothing.
    pub witness: bool,
    /// The token of an invite.
    pub join_token: Option<Secret>,
    /// The file that contains it.
    pub join_token_file: Option<PathBuf>,
    /// The file that contains the shared secret.
    pub secret_file: Option<PathBuf>,
    /// The files with a certificate of the operators' authority.
    pub tls: Option<ClusterTls>,
    /// Whether it talks to members of version 0.1.0.
    pub accept_previous: bool,
}

/// The PEM files of mutual TLS between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterTls {
    /// The certificate of the node.
    pub cert: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
    /// The certificate authority of all nodes.
    pub ca: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![(Ipv4Addr::UNSPECIFIED, 8080).into()],
            listen_https: Vec::new(),
            tls_cert: None,
            tls_key: None,
            listener_addresses: BTreeMap::new(),
            management: (Ipv4Addr::LOCALHOST, MANAGEMENT_PORT).into(),
            management_auth: None,
            management_socket: None,
            management_hosts: Vec::new(),
            management_tls_cert: None,
            management_tls_key: None,
            management_client_ca: None,
            health_listen: None,
            management_insecure: false,
            rest: true,
            storage: Storage::Directory("./weldr-data".into()),
            node_name: host_name(),
            cluster: None,
            workers: thread::available_parallelism().map_or(1, NonZero::get),
            servers: Vec::new(),
            allow_servers: Vec::new(),
            demo: false,
            log_format: LogFormat::Text,
            failover: Failover::default(),
            on_role_change: None,
            backups: Backups::default(),
            shutdown_timeout: Duration::from_secs(30),
            pool: PoolSettings::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            vip: None,
            preference: HolderPreference::default(),
            http: HttpPolicy::default(),
            access_log: AccessLogOptions::default(),
        }
    }
}

/// The name of the Unix socket in the data directory.
const SOCKET_NAME: &str = "management.sock";
/// The value of `management_socket` that means that there is none.
const NO_SOCKET: &str = "off";

impl Config {
    /// Whether callers of the management API by TCP need a credential.
    pub fn management_authentication(&self) -> bool {
        match self.management_auth {
            Some(switch) => switch == Switch::On,
            None => !self.management.ip().to_canonical().is_loopback(),
        }
    }

    /// The path of the management API's Unix socket, if there is one, and whether it was configured.
    pub fn management_socket(&self) -> Option<(PathBuf, bool)> {
        match (&self.management_socket, &self.storage) {
            (Some(path), _) if path.as_os_str() == NO_SOCKET => None,
            (Some(path), _) => Some((path.clone(), true)),
            (None, Storage::Directory(directory)) => Some((directory.join(SOCKET_NAME), false)),
            (None, Storage::Ephemeral) => None,
        }
    }

    /// Whether the node votes and stores the log, and serves nothing.
    pub fn is_witness(&self) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| cluster.witness)
    }

    /// The number of workers that it runs: a witness has none.
    pub fn running_workers(&self) -> usize {
        if self.is_witness() { 0 } else { self.workers }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The path is that of a directory, a device, a pipe or a socket.
    #[error("the configuration file {} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// The file is too long.
    #[error("the configuration file {} is longer than 1 MiB", .0.display())]
    TooLong(PathBuf),
    /// The disk of the file does not respond.
    #[error(
        "reading the configuration file {} takes longer than {}",
        path.display(), humantime::format_duration(*patience)
    )]
    TooSlow {
        /// The file.
        path: PathBuf,
        /// How long was waited.
        patience: Duration,
    },
    /// There is no thread to read the file.
    #[error("cannot start a thread: raise the limit of processes (ulimit -u, TasksMax)")]
    Thread(#[source] io::Error),
    /// The file is not valid.
    #[error("line {line} of the configuration file {} is not valid", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The cause, with what is accepted.
        source: Box<toml::de::Error>,
    },
    /// A value is out of range.
    #[error("invalid configuration")]
    Invalid(#[from] Invalid),
    /// Two options contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
    /// The management API would be reachable from the network without TLS.
    #[error(
        "management = {0} is not a loopback address, and without TLS everybody on the way could read tokens and change the \
         pool. Use 127.0.0.1 or [::1], give a certificate with --management-tls-cert and --management-tls-key, or allow it with \
         --management-insecure"
    )]
    ManagementOpen(SocketAddr),
    /// Everybody on the network could change the pool.
    #[error(
        "management = {0} is not a loopback address, so callers need a token: remove management_auth = off. Tokens are \
         created with weldrctl on the machine of the node, through the Unix socket in its data directory"
    )]
    ManagementWithoutAuthentication(SocketAddr),
}

/// The host name, without characters that a node name cannot have.
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

#[cfg(test)]
mod tests;
