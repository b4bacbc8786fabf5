//! A state to be brought back: of an earlier revision, or of a backup.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use super::{
    AcmeAccount, CertificateName, CertificateSpec, ListenerName, ListenerSpec, PoolName,
    PoolSettings, Priority, RuleId, RuleSpec, SecretEpochs, ServerSpec,
};

/// The objects to restore, and what they were. Those that it does not name stay as they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Target {
    /// The settings of each server; `None`: it was not there.
    pub servers: BTreeMap<(PoolName, SocketAddr), Option<ServerSpec>>,
    /// The settings of pools; `None`: the pool was not there.
    pub settings: BTreeMap<PoolName, Option<PoolSettings>>,
    /// The listeners, without their rules; `None`: it was not there.
    pub listeners: BTreeMap<ListenerName, Option<ListenerSpec>>,
    /// The certificates; `None`: it was not there.
    pub certificates: BTreeMap<CertificateName, Option<Arc<CertificateSpec>>>,
    /// The ACME account, for a state that has none; `None` in an earlier revision.
    pub acme_account: Option<Arc<AcmeAccount>>,
    /// The rules by their places; `None`: there was none.
    pub rules: BTreeMap<(ListenerName, Priority), Option<TargetRule>>,
    /// The secrets of TLS session tickets, for a state that has none; empty in an earlier revision.
    pub ticket_epochs: SecretEpochs,
    /// The same of cookies.
    pub stickiness_epochs: SecretEpochs,
}

/// A rule to restore.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetRule {
    /// Which rule it was; `None` if that is not known.
    pub id: Option<RuleId>,
    /// What operators wanted of it.
    pub spec: RuleSpec,
}
