//! The backup file: pools, servers, listeners, rules and certificates as readable JSON, and secrets as they are sealed, with keys
//! that are elsewhere. Pure.

use std::{net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::model::{
    AcmeAccount, CertificateName, CertificateSpec, DesiredState, ListenerName, ListenerSpec,
    PoolName, PoolSettings, Priority, Revision, RuleSpec, SecretEpochs, ServerSpec, Target,
    TargetRule,
};

/// The version of the file format. Format 1 had one pool, and no listeners; format 2 had no certificates.
const FORMAT: u32 = 3;

/// The content of a backup: a desired state without the data that is specific to its cluster (ids, revisions of parts).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    format: u32,
    /// The revision of the state that was backed up.
    pub revision: Revision,
    pools: Vec<PoolBackup>,
    /// `None` in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listeners: Option<Vec<ListenerBackup>>,
    /// `None` in formats 1 and 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificates: Option<Vec<CertificateBackup>>,
    /// Sealed with keys that are not in the backup. A version that does not know them loses nothing but resumed sessions, so
    /// that they need no new format.
    #[serde(default, skip_serializing_if = "SecretEpochs::is_empty")]
    ticket_epochs: SecretEpochs,
    /// The same: a version that does not know them loses nothing but sessions.
    #[serde(default, skip_serializing_if = "SecretEpochs::is_empty")]
    stickiness_epochs: SecretEpochs,
    /// The account for ACME, with secrets that are sealed. A version that does not know it refuses the certificates that are
    /// obtained with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acme_account: Option<Arc<AcmeAccount>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct CertificateBackup {
    name: CertificateName,
    #[serde(flatten)]
    spec: Arc<CertificateSpec>,
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ListenerBackup {
    name: ListenerName,
    #[serde(flatten)]
    spec: ListenerSpec,
    rules: Vec<RuleBackup>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct RuleBackup {
    priority: Priority,
    #[serde(flatten)]
    spec: RuleSpec,
}

/// Why a file is not accepted as a backup.
#[derive(Debug, thiserror::Error)]
pub enum NoBackup {
    /// It cannot be parsed.
    #[error("the file is not a backup of weldr: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A newer version of Weldr wrote it.
    #[error("the backup has format {0}, and this weldr knows formats up to {FORMAT}")]
    NewerFormat(u32),
    /// A value is out of range.
    #[error("the backup holds a value that is not accepted: {0}")]
    Invalid(#[from] crate::model::Invalid),
}

impl Backup {
    /// A backup of `state`, without servers that are being removed.
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
        let listeners = state.listeners.iter().map(|(name, listener)| {
            let rules = listener.rules.values().map(|rule| RuleBackup {
                priority: rule.priority,
                spec: rule.spec.clone(),
            });
            ListenerBackup {
                name: name.clone(),
                spec: listener.spec.clone(),
                rules: rules.collect(),
            }
        });
        let certificates = state.certificates.iter();
        let certificates = certificates.map(|(name, certificate)| CertificateBackup {
            name: name.clone(),
            spec: Arc::clone(&certificate.spec),
        });
        Self {
            format: FORMAT,
            revision: state.revision,
            pools: pools.collect(),
            listeners: Some(listeners.collect()),
            certificates: Some(certificates.collect()),
            ticket_epochs: SecretEpochs::clone(&state.ticket_epochs),
            stickiness_epochs: SecretEpochs::clone(&state.stickiness_epochs),
            acme_account: state.acme.account.clone(),
        }
    }

    /// Parses a backup file.
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
        backup
            .target(&DesiredState::new(PoolSettings::default()))
            .validate()?;
        Ok(backup)
    }

    /// The addresses of all its servers.
    pub fn servers(&self) -> impl Iterator<Item = SocketAddr> {
        let servers = self.pools.iter().flat_map(|pool| &pool.servers);
        servers.map(|server| server.address)
    }

    /// The content of the file.
    pub fn to_file(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec_pretty(self)
    }

    /// The objects to restore so that `state` becomes the state of the backup. One of format 1 says nothing about pools
    /// that it does not name, nor about listeners, and one of format 2 nothing about certificates.
    pub(in crate::cluster) fn target(&self, state: &DesiredState) -> Target {
        let mut target = Target {
            ticket_epochs: self.ticket_epochs.clone(),
            acme_account: self.acme_account.clone(),
            stickiness_epochs: self.stickiness_epochs.clone(),
            ..Target::default()
        };
        for (name, pool) in &state.pools {
            let addresses = pool.servers.keys();
            let gone = addresses.map(|address| ((name.clone(), *address), None));
            target.servers.extend(gone);
            if self.listeners.is_some() && *name != PoolName::default() {
                target.settings.insert(name.clone(), None);
            }
        }
        for pool in &self.pools {
            if self.listeners.is_some() || state.pools.contains_key(&pool.name) {
                let settings = Some(pool.settings.clone());
                target.settings.insert(pool.name.clone(), settings);
            }
            for server in &pool.servers {
                let key = (pool.name.clone(), server.address);
                target.servers.insert(key, Some(server.spec.clone()));
            }
        }
        if let Some(listeners) = &self.listeners {
            add_listeners(listeners, state, &mut target);
        }
        if let Some(certificates) = &self.certificates {
            let gone = state.certificates.keys().map(|name| (name.clone(), None));
            target.certificates.extend(gone);
            let there = certificates.iter();
            let there = there.map(|backup| (backup.name.clone(), Some(Arc::clone(&backup.spec))));
            target.certificates.extend(there);
        }
        target
    }
}

fn add_listeners(listeners: &[ListenerBackup], state: &DesiredState, target: &mut Target) {
    for (name, listener) in &state.listeners {
        let places = listener.rules.keys();
        let gone = places.map(|priority| ((name.clone(), *priority), None));
        target.rules.extend(gone);
        if *name != ListenerName::default() {
            target.listeners.insert(name.clone(), None);
        }
    }
    for listener in listeners {
        let name = &listener.name;
        target
            .listeners
            .insert(name.clone(), Some(listener.spec.clone()));
        let rules = listener.rules.iter().map(|rule| {
            let spec = rule.spec.clone();
            let rule_before = TargetRule { id: None, spec };
            ((name.clone(), rule.priority), Some(rule_before))
        });
        target.rules.extend(rules);
    }
}
