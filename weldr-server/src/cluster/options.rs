//! What a node is configured with.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    liveness::Tasks,
    model::{Failover, PoolSettings},
};

/// The storage and the network of a node.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// Created if it does not exist; `None` keeps everything in memory.
    pub data_dir: Option<PathBuf>,
    /// The settings of the default pool if the cluster is new.
    pub initial: PoolSettings,
    /// The name of the node.
    pub name: String,
    /// How the node connects to other nodes; `None` for a node without others.
    pub network: Option<NetworkOptions>,
    /// Makes this node the only one of a new cluster, with what it has, because the majority of its cluster is lost.
    pub recover: bool,
    /// Whether this node votes and stores the log, and serves nothing. It leads only while no other node can.
    pub witness: bool,
    /// How soon another node leads when the leader is lost. All nodes should have the same profile.
    pub failover: Failover,
    /// Where the tasks of the cluster show that they go on.
    pub tasks: Tasks,
}

/// How a node connects to others.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// The address to listen on for other nodes.
    pub listen: SocketAddr,
    /// The address that other nodes use to reach this one; `None`: the address it listens on.
    pub advertise: Option<SocketAddr>,
    /// Addresses of members to ask for admission.
    pub join: Vec<SocketAddr>,
    /// Whether a node that belongs to no cluster and has nobody to ask founds one, and how long it listens before that for
    /// calls of a cluster that it may have belonged to. `None`: it does not start.
    pub found: Option<Duration>,
    /// The maximum number of connections of other nodes, and of strangers.
    pub max_connections: usize,
    /// The token of an invite, or the file that contains it.
    pub join_token: Option<JoinToken>,
    /// The file with the shared secret.
    pub secret_file: Option<PathBuf>,
    /// Whether to talk to members of version 0.1.0, which have no key in the membership, in their way. It can be replayed.
    pub accept_previous: bool,
    /// The files with a certificate of the operators' authority; `None`: the node makes a key of its own.
    pub tls: Option<TlsFiles>,
}

/// The token of an invite.
#[derive(Clone, PartialEq, Eq)]
pub enum JoinToken {
    /// Its text.
    Text(String),
    /// A file that contains it.
    File(PathBuf),
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// The TLS files of a node, in PEM format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of this node. It must be valid for the name of the node, or for the address at which others reach it.
    pub cert: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
    /// The certificate authority that signs the certificates of all nodes.
    pub ca: PathBuf,
}
