//! Opens the data directory and joins or founds the cluster, as configured.

use std::time::Duration;

use super::StartError;
use crate::{
    cluster::{self, JoinToken, NetworkOptions, Opened, StoreOptions, TlsFiles},
    config::{Config, Storage},
    liveness::Tasks,
    threads,
};

/// How long a node that founds a cluster listens before that for calls of a cluster that it may have belonged to. Members
/// call once in 1 to 1.7 s.
const FOUNDING_WAIT: Duration = Duration::from_millis(2500);

pub(super) async fn open_store(
    config: &Config,
    tasks: &Tasks,
    max_connections: usize,
) -> Result<Opened, StartError> {
    let data_dir = match &config.storage {
        Storage::Directory(directory) => Some(directory.clone()),
        Storage::Ephemeral => None,
    };
    let network = config.cluster.as_ref().map(|cluster| NetworkOptions {
        listen: cluster.listen,
        advertise: cluster.advertise,
        join: cluster.join.clone(),
        found: cluster.found.then_some(FOUNDING_WAIT),
        max_connections,
        join_token: match (&cluster.join_token, &cluster.join_token_file) {
            (Some(token), _) => Some(JoinToken::Text(token.expose().to_owned())),
            (None, Some(path)) => Some(JoinToken::File(path.clone())),
            (None, None) => None,
        },
        secret_file: cluster.secret_file.clone(),
        accept_previous: cluster.accept_previous,
        tls: cluster.tls.as_ref().map(|tls| TlsFiles {
            cert: tls.cert.clone(),
            key: tls.key.clone(),
            ca: tls.ca.clone(),
        }),
    });
    let options = StoreOptions {
        data_dir,
        initial: config.pool.clone(),
        name: config.node_name.clone(),
        network,
        recover: config
            .cluster
            .as_ref()
            .is_some_and(|cluster| cluster.recover),
        witness: config.is_witness(),
        failover: config.failover,
        tasks: tasks.clone(),
    };
    Ok(threads::run("weldr-open", || cluster::open(options)).await??)
}
