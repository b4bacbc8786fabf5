//! What a node is told when it starts: of its store, and of the other nodes.

use std::{net::SocketAddr, path::PathBuf};

use crate::model::PoolSettings;

/// What a node is told of its cluster.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// Created where it is missing; `None` keeps nothing on disk.
    pub data_dir: Option<PathBuf>,
    /// The settings of the default pool when the cluster is new.
    pub initial: PoolSettings,
    /// What operators call the node.
    pub name: String,
    /// How it meets other nodes; `None`: it is alone.
    pub network: Option<NetworkOptions>,
}

/// How a node meets others.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Where it listens for them.
    pub listen: SocketAddr,
    /// Where they reach it; `None`: where it listens.
    pub advertise: Option<SocketAddr>,
    /// Who lets it join; empty: it founds a cluster.
    pub join: Vec<SocketAddr>,
    /// The file of the shared secret.
    pub secret_file: Option<PathBuf>,
    /// Certificates.
    pub tls: Option<TlsFiles>,
}

/// Certificates of a node, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate that the node shows; it names the address at which others reach it.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who signs the certificates of all nodes.
    pub ca: PathBuf,
}
