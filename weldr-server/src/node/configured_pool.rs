//! What the configuration says of the pool `default`: its servers and its settings.

use std::net::SocketAddr;

use super::StartError;
use crate::{
    cluster::{Handle, ProposeError},
    config::{Config, ConfigError},
    model::{Command, OwnAddresses, PoolName, PoolSettings, ServerSpec, Timestamp},
};

/// Warns if the configured settings of the pool differ from the stored ones. The configuration is used only for a new
/// pool; after that, operators change the settings at run time.
pub(super) fn warn_of_other_settings(said: &PoolSettings, cluster: &Handle) {
    let state = cluster.current();
    let differs = state
        .pool(&PoolName::default())
        .is_ok_and(|pool| pool.settings != *said);
    if differs && *said != PoolSettings::default() {
        tracing::warn!(
            "the pool keeps the settings that it has: those of flags, variables and file are for a new pool. \
             To change them: weldrctl pool set"
        );
    }
}

/// Where the node listens, now that its sockets are bound.
///
/// # Errors
/// When one of the servers that it is told is there.
pub(super) fn own_addresses(
    config: &Config,
    proxy: &[SocketAddr],
    management: SocketAddr,
) -> Result<OwnAddresses, ConfigError> {
    let own = config.own_addresses_with(proxy, management);
    for &server in &config.servers {
        own.check(server)
            .map_err(|invalid| invalid.named("server"))?;
    }
    Ok(own)
}

/// Adds configured servers that are missing. A server that exists keeps its settings.
pub(super) async fn add_servers(
    cluster: &Handle,
    addresses: &[SocketAddr],
) -> Result<(), StartError> {
    for &address in addresses {
        // A server that exists needs no quorum, so that a node can start without one.
        if cluster
            .current()
            .server(&PoolName::default(), address)
            .is_ok()
        {
            continue;
        }
        let add = Command::AddServer {
            pool: PoolName::default(),
            address,
            spec: ServerSpec::default(),
            expected: None,
            at: Timestamp::now(),
        };
        match cluster.propose(add).await {
            Ok(_) | Err(ProposeError::Rejected(crate::model::Rejection::Exists { .. })) => {}
            Err(
                error @ (ProposeError::NoQuorum { .. }
                | ProposeError::Outdated(_)
                | ProposeError::Unknown { .. }),
            ) => {
                tracing::warn!(server = %address, %error, "a server is not added: add it with weldrctl");
            }
            Err(source) => return Err(StartError::Server { address, source }),
        }
    }
    Ok(())
}
