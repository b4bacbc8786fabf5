//! Options from flags, variables and a file become one validated [`Config`]; its `Default` is the one
//! table of defaults, together with those of `policy`, which are the data path's.

mod options;
mod reading;
mod validation;
mod virtual_addresses;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    num::NonZero,
    path::PathBuf,
    thread,
    time::Duration,
};

use crate::{
    args::LogFormat,
    model::{Invalid, PoolSettings},
    policy::{AccessLogOptions, HttpPolicy, Limits, Timeouts},
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
            timeouts: Timeouts::default(),
            limits: Limits::default(),
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

#[cfg(test)]
mod tests;
