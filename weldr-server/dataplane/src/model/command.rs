//! The commands that change the desired state, and their results.

use std::{borrow::Cow, fmt, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Credential, Invalid, PoolName, PoolPatch, PrincipalName, Revision, Role, ServerId, ServerPatch,
    ServerSpec, Timestamp,
};

/// One change of the desired state. It contains everything that is needed to apply it: the time was read before it was
/// proposed.
///
/// `expected`: the command is refused if its object has changed after this revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Adds a server, or keeps one that is being removed.
    AddServer {
        /// The pool.
        pool: PoolName,
        /// The address of the server.
        address: SocketAddr,
        /// Its settings.
        spec: ServerSpec,
        /// Compared with the last change of any server of the pool.
        expected: Option<Revision>,
        /// When the operator requested it.
        at: Timestamp,
    },
    /// Changes settings of a server.
    UpdateServer {
        /// The pool of the server.
        pool: PoolName,
        /// The address of the server.
        address: SocketAddr,
        /// The changes.
        patch: ServerPatch,
        /// Compared with the last change of the server.
        expected: Option<Revision>,
        /// When the operator requested it.
        at: Timestamp,
    },
    /// Begins the removal of a server; ends it at once when the deadline is zero.
    BeginRemoval {
        /// The pool of the server.
        pool: PoolName,
        /// The address of the server.
        address: SocketAddr,
        /// Only the server with this id; `None`: any server at the address.
        id: Option<ServerId>,
        /// How long running requests may go on; `None`: the pool's `drain_deadline`, or the deadline of an earlier
        /// removal.
        deadline: Option<Duration>,
        /// Compared with the last change of the server.
        expected: Option<Revision>,
        /// When the operator requested it.
        at: Timestamp,
    },
    /// Ends a removal that has begun, and deletes the server. Changes nothing if the server was already deleted, or its
    /// removal was cancelled in the meantime.
    EndRemoval {
        /// The pool of the server.
        pool: PoolName,
        /// The address of the server.
        address: SocketAddr,
        /// Only the server with this id.
        id: ServerId,
    },
    /// Changes settings of a pool.
    UpdatePool {
        /// The pool.
        pool: PoolName,
        /// The changes.
        patch: PoolPatch,
        /// Compared with the last change of the settings.
        expected: Option<Revision>,
    },
    /// Lets somebody call the management API.
    CreatePrincipal {
        /// Its name.
        name: PrincipalName,
        /// What it may do.
        role: Role,
        /// The pools that an operator may change; empty: all.
        pools: Vec<PoolName>,
        /// How it proves who it is.
        credential: Credential,
        /// When the operator requested it.
        at: Timestamp,
    },
    /// Deletes a principal: what it proves itself with is refused from then on, for good.
    RevokePrincipal {
        /// Its name.
        name: PrincipalName,
    },
}

impl Command {
    /// The pool that it changes, if it changes one.
    pub fn pool(&self) -> Option<&PoolName> {
        match self {
            Self::AddServer { pool, .. }
            | Self::UpdateServer { pool, .. }
            | Self::BeginRemoval { pool, .. }
            | Self::EndRemoval { pool, .. }
            | Self::UpdatePool { pool, .. } => Some(pool),
            Self::CreatePrincipal { .. } | Self::RevokePrincipal { .. } => None,
        }
    }
}

/// The result of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The revision of the state after it.
    pub revision: Revision,
    /// The kind of the change.
    pub outcome: Outcome,
}

/// The kind of change that a command made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// An object was created.
    Created,
    /// An object was changed.
    Changed,
    /// A server was removed.
    Removed,
    /// The state was already as the command requires.
    Unchanged,
}

/// Why a command was refused. The state is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The pool does not exist.
    #[error("there is no pool {pool}")]
    NoSuchPool {
        /// Its name.
        pool: PoolName,
    },
    /// The server does not exist.
    #[error("there is no server {address} in pool {pool}")]
    NoSuchServer {
        /// The pool that was searched.
        pool: PoolName,
        /// Its address.
        address: SocketAddr,
    },
    /// The server exists with other settings.
    #[error("server {address} is there already with {}", Differences(.differences))]
    Exists {
        /// Its address.
        address: SocketAddr,
        /// What differs.
        differences: Vec<ServerSetting>,
    },
    /// The object has changed after the revision that the writer had read.
    #[error("{object} has changed at revision {actual}, after the expected revision {expected}")]
    Changed {
        /// What has changed, as a phrase.
        object: String,
        /// The last revision that the writer knew.
        expected: Revision,
        /// The revision of the change.
        actual: Revision,
    },
    /// The pool holds as many servers as it may.
    #[error("pool {pool} is full: it holds {limit} servers")]
    PoolFull {
        /// Its name.
        pool: PoolName,
        /// How many it may hold.
        limit: usize,
    },
    /// The revision is not remembered.
    #[error("revision {asked} cannot be brought back: remembered are {oldest} to {newest}")]
    NoSuchRevision {
        /// What was asked for.
        asked: Revision,
        /// The oldest that can be brought back.
        oldest: Revision,
        /// The newest, which is the present.
        newest: Revision,
    },
    /// A principal of that name, or with that id or subject, exists.
    #[error("there is already a {what}, which is principal {name}")]
    PrincipalExists {
        /// The name of the one that exists.
        name: PrincipalName,
        /// What is the same, as a phrase: `principal of this name`.
        what: Cow<'static, str>,
    },
    /// The principal does not exist.
    #[error("there is no principal {name}")]
    NoSuchPrincipal {
        /// Its name.
        name: PrincipalName,
    },
    /// There are as many principals as there may be.
    #[error("there are {limit} principals, which is the most: revoke one first")]
    TooManyPrincipals {
        /// How many there may be.
        limit: usize,
    },
    /// A value is out of its range.
    #[error("{field}: {value:?} is not accepted: {accepted}")]
    Invalid {
        /// The field by its path in the change.
        field: String,
        /// The value that was given.
        value: String,
        /// What would be accepted.
        accepted: String,
    },
}

impl From<Invalid> for Rejection {
    fn from(invalid: Invalid) -> Self {
        let Invalid {
            field,
            value,
            accepted,
        } = invalid;
        Self::Invalid {
            field,
            value,
            accepted,
        }
    }
}

/// A setting in which a server that is there differs from one that is to be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSetting {
    /// Its field.
    pub name: Cow<'static, str>,
    /// What the server that is there has.
    pub present: String,
    /// What was asked for.
    pub asked: String,
}

struct Differences<'a>(&'a [ServerSetting]);

impl fmt::Display for Differences<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, setting) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let ServerSetting {
                name,
                present,
                asked,
            } = setting;
            write!(f, "{separator}{name} {present} (asked for: {asked})")?;
        }
        Ok(())
    }
}
