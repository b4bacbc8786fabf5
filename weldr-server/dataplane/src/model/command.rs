//! The commands that change the desired state, and their results.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    AcmeSettings, AcmeStep, CertificateName, CertificateSpec, Credential, ListenerName,
    ListenerPatch, ListenerSpec, PoolName, PoolPatch, PoolSettings, PrincipalName, Priority,
    Revision, Role, RuleSpec, Sealed, ServerId, ServerPatch, ServerSpec, Timestamp,
};

/// One change of the desired state. It contains everything that is needed to apply it: the time was read before it was
/// proposed.
///
/// `expected`: the command is refused if its object has changed after this revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "most commands are about servers, so a box would only be one more allocation"
)]
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
    /// Adds a pool without a server.
    AddPool {
        /// Its name.
        pool: PoolName,
        /// Its settings.
        settings: Box<PoolSettings>,
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
    /// Removes a pool, with its servers, at once.
    RemovePool {
        /// Its name.
        pool: PoolName,
        /// Also if a route names it. It is taken out of that route, and a route that is left without a pool responds 503.
        force: bool,
        /// Compared with the last change of the pool and its servers.
        expected: Option<Revision>,
    },
    /// Adds a listener without a rule.
    AddListener {
        /// Its name.
        listener: ListenerName,
        /// What operators want of it.
        spec: Box<ListenerSpec>,
    },
    /// Changes a listener.
    UpdateListener {
        /// Its name.
        listener: ListenerName,
        /// The changes.
        patch: Box<ListenerPatch>,
        /// Compared with the last change of the listener without its rules.
        expected: Option<Revision>,
    },
    /// Removes a listener with its rules. Each node stops accepting connections at once.
    RemoveListener {
        /// Its name.
        listener: ListenerName,
        /// How long running requests may go on.
        drain_deadline: Duration,
        /// Compared with the last change of the listener and its rules.
        expected: Option<Revision>,
    },
    /// Adds a rule.
    AddRule {
        /// The listener.
        listener: ListenerName,
        /// Its place; `None`: after the last rule, unless there is an equal one.
        priority: Option<Priority>,
        /// What operators want of it.
        spec: Box<RuleSpec>,
        /// Compared with the last change of any rule of the listener.
        expected: Option<Revision>,
    },
    /// Replaces a rule.
    UpdateRule {
        /// The listener.
        listener: ListenerName,
        /// Its place.
        priority: Priority,
        /// What operators want of it.
        spec: Box<RuleSpec>,
        /// Compared with the last change of the rule.
        expected: Option<Revision>,
    },
    /// Removes a rule.
    RemoveRule {
        /// The listener.
        listener: ListenerName,
        /// Its place.
        priority: Priority,
        /// Compared with the last change of the rule.
        expected: Option<Revision>,
    },
    /// Gives a rule another place. Rules in the way move on by one number each, up to the first that is free.
    MoveRule {
        /// The listener.
        listener: ListenerName,
        /// Its place.
        from: Priority,
        /// Its new place.
        to: Priority,
        /// Compared with the last change of the rule.
        expected: Option<Revision>,
    },
    /// Adds a certificate.
    AddCertificate {
        /// Its name.
        certificate: CertificateName,
        /// What it consists of.
        spec: Box<CertificateSpec>,
    },
    /// Replaces the chain and the private key of a certificate.
    UpdateCertificate {
        /// Its name.
        certificate: CertificateName,
        /// What it consists of from now on.
        spec: Box<CertificateSpec>,
        /// Compared with the last change of the certificate.
        expected: Option<Revision>,
    },
    /// Removes a certificate that nothing names.
    RemoveCertificate {
        /// Its name.
        certificate: CertificateName,
        /// Compared with the last change of the certificate.
        expected: Option<Revision>,
    },
    /// Sets the account for ACME. Another directory or another external account is another account.
    SetAcmeAccount {
        /// What operators want.
        settings: Box<AcmeSettings>,
        /// Compared with the last change of the settings.
        expected: Option<Revision>,
    },
    /// Forgets the account for ACME. Refused while a certificate is obtained with it.
    RemoveAcmeAccount {
        /// Compared with the last change of the settings.
        expected: Option<Revision>,
    },
    /// Renews a certificate that is obtained by ACME at once.
    RenewCertificate {
        /// Its name.
        certificate: CertificateName,
        /// When the operator requested it.
        at: Timestamp,
        /// Compared with the last change of the certificate.
        expected: Option<Revision>,
    },
    /// Notes what the leader has done for ACME.
    Acme(Box<AcmeStep>),
    /// Makes several changes as one: all of them or none, and nobody sees a part of them.
    Apply {
        /// The changes in their order, none of which is an `Apply`. Pools, listeners and rules may need what a later one adds.
        changes: Vec<Command>,
        /// Compared with the last change of anything.
        expected: Option<Revision>,
        /// Also if a pool is removed that a route names, as in `RemovePool`, or a pool that a route names loses its last server.
        force: bool,
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
    /// Begins the next epoch of TLS session tickets. Changes nothing if that was done in the meantime.
    RotateTickets {
        /// The epoch before; 0: there was none.
        after: u64,
        /// The secret of the next epoch, sealed for it.
        secret: Sealed,
    },
    /// Begins the next epoch of the cookies of sessions. Changes nothing if that was done in the meantime.
    RotateStickiness {
        /// The epoch before; 0: there was none.
        after: u64,
        /// The secret of the next epoch, sealed for it.
        secret: Sealed,
    },
}

impl Command {
    /// How many changes one [`Apply`](Self::Apply) may have.
    pub const MOST_CHANGES: usize = 100_000;

    /// The pool that it changes, if it changes one.
    pub fn pool(&self) -> Option<&PoolName> {
        match self {
            Self::AddServer { pool, .. }
            | Self::UpdateServer { pool, .. }
            | Self::BeginRemoval { pool, .. }
            | Self::EndRemoval { pool, .. }
            | Self::UpdatePool { pool, .. }
            | Self::AddPool { pool, .. }
            | Self::RemovePool { pool, .. } => Some(pool),
            Self::AddListener { .. }
            | Self::UpdateListener { .. }
            | Self::RemoveListener { .. }
            | Self::AddRule { .. }
            | Self::UpdateRule { .. }
            | Self::RemoveRule { .. }
            | Self::MoveRule { .. }
            | Self::AddCertificate { .. }
            | Self::UpdateCertificate { .. }
            | Self::RemoveCertificate { .. }
            | Self::SetAcmeAccount { .. }
            | Self::RemoveAcmeAccount { .. }
            | Self::RenewCertificate { .. }
            | Self::Acme(_)
            | Self::Apply { .. }
            | Self::CreatePrincipal { .. }
            | Self::RevokePrincipal { .. }
            | Self::RotateTickets { .. }
            | Self::RotateStickiness { .. } => None,
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
    /// An object was removed.
    Removed,
    /// The state was already as the command requires.
    Unchanged,
}
