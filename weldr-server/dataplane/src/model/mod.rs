//! The values that everything else is about: listeners, rules, certificates, pools, servers, their checks, the commands that
//! change them and the desired state that results. Pure: no clock, no randomness, no I/O.

mod acme;
mod allowed_servers;
mod certificate;
mod command;
mod conditions;
mod configuration;
mod coverage;
mod der;
mod desired_state;
mod differences;
mod failover;
mod health;
mod health_check;
mod ids;
mod invalid;
mod listener;
mod listener_address;
mod listener_policy;
mod listener_tls;
mod node_name;
mod overload;
mod own_addresses;
mod policy_patch;
mod pool;
mod pool_policy;
mod pool_tls;
mod principal;
mod recent_changes;
mod rejection;
mod route;
mod rule;
mod sealed;
mod secret_epochs;
mod server;
mod server_address;
mod stickiness;
mod target;
mod validation;
mod virtual_address;

pub use acme::{
    Acme, AcmeAccount, AcmeChallenge, AcmeFailure, AcmeOrder, AcmeProgress, AcmeRegistration,
    AcmeRequest, AcmeSettings, AcmeStep, ChallengeKind, ChallengePreference, ExternalAccount,
    Renewal, RenewalBy,
};
pub use allowed_servers::AllowedServers;
pub use certificate::{Certificate, CertificateSource, CertificateSpec, KeyType};
pub use command::{Applied, Command, Outcome};
pub use conditions::{Conditions, NamedValues, PathPattern};
pub use configuration::{Configuration, ListenerConfiguration, PoolConfiguration, changes};
pub use coverage::{Coverage, covers};
pub use der::{CaBundle, Der};
pub use desired_state::{DesiredState, Touched};
pub use differences::{Setting, differences};
pub use failover::Failover;
pub use health::{Health, HealthState, Reason};
pub use health_check::{
    CheckKind, CheckMethod, CheckOverride, ExpectedStatus, HealthCheck, HttpCheck,
};
pub use ids::{CertificateName, ListenerName, PoolName, Revision, RuleId, ServerId, Timestamp};
pub use invalid::{Invalid, in_range};
pub use listener::{Listener, ListenerPatch, ListenerSpec, RemovedListener};
pub use listener_address::{listener_address, parse_listener_address};
pub use listener_policy::{DesyncMode, ForwardedHeaders, ListenerPolicy};
pub use listener_tls::{
    ClientAuth, ListenerProtocol, ListenerTls, ListenerTlsPatch, TlsPolicy, TlsPolicyContents,
};
pub use node_name::node_name;
pub use overload::{HashKey, OutlierEjection, OutlierPatch, RequestLimit, RequestLimitPatch};
pub use own_addresses::{ListenerRole, OwnAddresses, OwnListener};
pub use policy_patch::{Policy, PolicyPatch};
pub use pool::{Balancing, Pool, PoolPatch, PoolSettings};
pub use pool_policy::{PoolPolicy, SendProxyProtocol};
pub use pool_tls::{PoolProtocol, PoolTls, PoolTlsPatch};
pub use principal::{Credential, Principal, PrincipalName, Principals, Role};
pub use recent_changes::RecentChanges;
pub use rejection::Rejection;
pub use route::{
    Action, FieldChanges, FixedResponse, MessageChanges, PathPrefixChange, Redirect, Route,
    WeightedPool,
};
pub use rule::{Priority, Rule, RuleSpec};
pub use sealed::{Sealed, SealingKeyId};
pub use secret_epochs::{EpochSecret, SecretEpoch, SecretEpochs, SecretSeries};
pub use server::{AdminState, Removal, Server, ServerPatch, ServerSpec, Weight};
pub use server_address::{parse_server_address, server_address};
pub use stickiness::{Stickiness, StickinessPatch};
pub use target::{Target, TargetRule};
pub use validation::LONGEST_DRAIN;
pub use virtual_address::{OnLostQuorum, VirtualAddress};

/// Reads an option of an option: a field that is present is `Some`, even when it holds nothing. Without
/// this, `Some(None)` is read back as `None`, and an override would be lost at the next start.
fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}
