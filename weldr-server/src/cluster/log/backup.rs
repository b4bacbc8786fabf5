//! What is in a backup: the settings of pools and servers, as a file that people can read. Pure.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::model::{DesiredState, PoolName, PoolSettings, Revision, ServerSpec, Target};

/// The layout of the file.
const FORMAT: u32 = 1;

/// A desired state, without what only its cluster knows (ids, revisions of parts).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    format: u32,
    /// The revision that it was taken at.
    pub revision: Revision,
    pools: Vec<PoolBackup>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PoolBackup {
    name: PoolName,
    settings: PoolSettings,
    servers: Vec<ServerBackup>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ServerBackup {
    address: SocketAddr,
    #[serde(flatten)]
    spec: ServerSpec,
}

/// Why a file is no backup.
#[derive(Debug, thiserror::Error)]
pub enum NoBackup {
    /// It does not parse.
    #[error("the file is no backup of weldr: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It is of a newer version.
    #[error("the backup has format {0}, and this weldr knows formats up to {FORMAT}")]
    NewerFormat(u32),
    /// It holds a value that is out of range.
    #[error("the backup holds settings that are not accepted: {0}")]
    Invalid(#[from] crate::model::Invalid),
}

impl Backup {
    /// Of a state; servers that are being removed are not in it.
    pub fn of(state: &DesiredState) -> Self {
        let pools = state.pools.iter().map(|(name, pool)| {
            let servers = pool.servers.values();
            let stay = servers.filter(|server| server.removal.is_none());
            PoolBackup {
                name: name.clone(),
                settings: pool.settings.clone(),
                servers: stay
                    .map(|server| ServerBackup {
                        address: server.address,
                        spec: server.spec.clone(),
                    })
                    .collect(),
            }
        });
        Self {
            format: FORMAT,
            revision: state.revision,
            pools: pools.collect(),
        }
    }

    /// Reads a file.
    pub fn parse(file: &[u8]) -> Result<Self, NoBackup> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let Head { format } = serde_json::from_slice(file)?;
        if format > FORMAT {
            return Err(NoBackup::NewerFormat(format));
        }
        let backup: Self = serde_json::from_slice(file)?;
        for pool in &backup.pools {
            pool.settings.validate()?;
        }
        Ok(backup)
    }

    /// The file.
    pub fn to_file(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec_pretty(self)
    }

    /// What makes `state` what is in the backup.
    pub(in crate::cluster) fn target(&self, state: &DesiredState) -> Target {
        let mut target = Target::default();
        for (name, pool) in &state.pools {
            let addresses = pool.servers.keys();
            let gone = addresses.map(|address| ((name.clone(), *address), None));
            target.servers.extend(gone);
        }
        for pool in &self.pools {
            target
                .settings
                .insert(pool.name.clone(), pool.settings.clone());
            for server in &pool.servers {
                let key = (pool.name.clone(), server.address);
                target.servers.insert(key, Some(server.spec.clone()));
            }
        }
        target
    }
}
