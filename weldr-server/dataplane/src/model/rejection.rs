//! Why a command is refused.

use std::{borrow::Cow, net::SocketAddr};

use serde::{Deserialize, Serialize};

use super::{
    CertificateName, Invalid, ListenerName, PoolName, PrincipalName, Priority, Revision, Setting,
    differences::Differences,
};

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
        differences: Vec<Setting>,
    },
    /// An object exists with other settings.
    #[error("{object} is there already with {}", Differences(.differences))]
    Present {
        /// The object, as a phrase.
        object: String,
        /// What differs.
        differences: Vec<Setting>,
    },
    /// The listener does not exist.
    #[error("there is no listener {listener}")]
    NoSuchListener {
        /// Its name.
        listener: ListenerName,
    },
    /// The rule does not exist.
    #[error("listener {listener} has no rule {priority}")]
    NoSuchRule {
        /// The listener.
        listener: ListenerName,
        /// The number.
        priority: Priority,
    },
    /// A route names a pool that does not exist.
    #[error("{object} names pool {pool}, which does not exist: add the pool first")]
    MissingPool {
        /// Whose route it is, as a phrase.
        object: String,
        /// The pool.
        pool: PoolName,
    },
    /// Routes name the pool that is to be removed.
    #[error(
        "pool {pool} is named by {}: change that first, or force the removal, after which a route without a pool responds 503",
        .by.join(", ")
    )]
    InUse {
        /// The pool.
        pool: PoolName,
        /// The routes, as phrases.
        by: Vec<String>,
    },
    /// A pool that routes name would have no server left that may get requests.
    #[error(
        "pool {pool} would be left without a server for requests, and is named by {}: keep one that is ready and has a weight, \
         or force the change",
        .by.join(", ")
    )]
    WouldBeEmpty {
        /// The pool.
        pool: PoolName,
        /// The routes, as phrases.
        by: Vec<String>,
    },
    /// The certificate does not exist.
    #[error("there is no certificate {certificate}")]
    NoSuchCertificate {
        /// Its name.
        certificate: CertificateName,
    },
    /// A listener or a pool names a certificate that does not exist.
    #[error(
        "{object} names certificate {certificate}, which does not exist: add the certificate first"
    )]
    MissingCertificate {
        /// What names it, as a phrase.
        object: String,
        /// The certificate.
        certificate: CertificateName,
    },
    /// Listeners or pools name the certificate that is to be removed.
    #[error("certificate {certificate} is named by {}: change that first", .by.join(", "))]
    CertificateInUse {
        /// The certificate.
        certificate: CertificateName,
        /// What names it, as phrases.
        by: Vec<String>,
    },
    /// A certificate is to be obtained by ACME, and there is no account.
    #[error("there is no ACME account: set it first (weldrctl acme set)")]
    NoAcmeAccount,
    /// Certificates are obtained with the account that is to be removed.
    #[error("the ACME account is used by {}: remove or replace them first", .by.join(", "))]
    AcmeAccountInUse {
        /// The certificates, as phrases.
        by: Vec<String>,
    },
    /// The certificate is uploaded by operators, and not obtained by ACME.
    #[error("certificate {certificate} is not obtained by ACME: upload the next one instead")]
    NotByAcme {
        /// Its name.
        certificate: CertificateName,
    },
    /// Another listener has the address.
    #[error("{address} is the address of listener {listener}")]
    AddressTaken {
        /// The address.
        address: SocketAddr,
        /// The listener.
        listener: ListenerName,
    },
    /// The object always exists.
    #[error("{object} cannot be removed: it always exists")]
    Permanent {
        /// The object, as a phrase.
        object: String,
    },
    /// There are as many objects as there may be.
    #[error("there are {limit} {what}, which is the limit")]
    Full {
        /// The objects, as a phrase.
        what: String,
        /// How many there may be.
        limit: usize,
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
