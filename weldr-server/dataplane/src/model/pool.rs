//! A pool and its settings.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::ValueEnum;
use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::{
    HashKey, HealthCheck, Invalid, LONGEST_DRAIN, OutlierEjection, OutlierPatch, Policy,
    PolicyPatch, PoolPolicy, PoolProtocol, PoolTls, PoolTlsPatch, RecentChanges, RequestLimit,
    RequestLimitPatch, Revision, Server, Stickiness, StickinessPatch, in_range,
};

/// A named set of servers with one policy.
///
/// The map shares structure between versions: a change of one server among ten thousand copies a path of
/// the tree, and handing a version to a reader copies nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// The policy.
    pub settings: PoolSettings,
    /// The revision of the last change of `settings`.
    pub settings_revision: Revision,
    /// The revision of the last change of any server, removals included.
    pub servers_revision: Revision,
    /// The servers by address.
    pub servers: RedBlackTreeMapSync<SocketAddr, Arc<Server>>,
    /// The servers that changed last.
    pub recent: RecentChanges,
}

impl Pool {
    /// A pool with no server.
    pub fn new(settings: PoolSettings) -> Self {
        Self {
            settings,
            settings_revision: Revision::default(),
            servers_revision: Revision::default(),
            servers: RedBlackTreeMapSync::new_sync(),
            recent: RecentChanges::default(),
        }
    }
}

/// The policy of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSettings {
    /// The health check of its servers, except for settings that a server overrides.
    pub check: HealthCheck,
    /// The algorithm that chooses the server of a request.
    pub balancing: Balancing,
    /// When no server is healthy: send requests to all that are ready (true), or respond with 503 (false).
    pub fail_open: bool,
    /// How long running requests of a removed server may go on.
    pub drain_deadline: Duration,
    /// A server that is unhealthy for this long is removed; `None`: never.
    pub deregister_after: Option<Duration>,
    /// How to treat a response with a defect that leaves only one meaning, such as white space before a field's colon:
    /// refuse it with 502 and fail the check (true), or forward it in correct form (false).
    #[serde(default)]
    pub strict_responses: bool,
    /// How requests are sent to its servers.
    #[serde(default)]
    pub policy: PoolPolicy,
    /// How long a server that has become healthy gets fewer requests than its share; zero: it gets its share at once.
    #[serde(default)]
    pub slow_start: Duration,
    /// When a server is taken out of the rounds because its responses fail.
    #[serde(default)]
    pub outlier: OutlierEjection,
    /// How many requests run on each server, and how many wait.
    #[serde(default)]
    pub limit: RequestLimit,
    /// What decides which server gets a request, if `balancing` is [`Balancing::ConsistentHash`].
    #[serde(default)]
    pub hash_key: HashKey,
    /// Whether the requests of a client keep going to the same server.
    #[serde(default)]
    pub stickiness: Stickiness,
    /// What is spoken to its servers.
    #[serde(default)]
    pub protocol: PoolProtocol,
    /// How TLS is spoken to its servers.
    #[serde(default)]
    pub tls: PoolTls,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            check: HealthCheck::default(),
            balancing: Balancing::default(),
            fail_open: true,
            drain_deadline: Duration::from_secs(30),
            deregister_after: None,
            strict_responses: false,
            policy: PoolPolicy::default(),
            slow_start: Duration::ZERO,
            outlier: OutlierEjection::default(),
            limit: RequestLimit::default(),
            hash_key: HashKey::default(),
            stickiness: Stickiness::default(),
            protocol: PoolProtocol::default(),
            tls: PoolTls::default(),
        }
    }
}

const LONGEST_UNHEALTHY: Duration = Duration::from_hours(24 * 30);
const LONGEST_SLOW_START: Duration = Duration::from_hours(1);

impl PoolSettings {
    /// Accepts the settings when each is in its range.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.check
            .validate()
            .map_err(|invalid| invalid.within("check"))?;
        in_range(
            "drain_deadline",
            self.drain_deadline,
            Duration::ZERO..=LONGEST_DRAIN,
        )?;
        if let Some(after) = self.deregister_after {
            in_range(
                "deregister_after",
                after,
                Duration::from_secs(1)..=LONGEST_UNHEALTHY,
            )?;
        }
        in_range(
            "slow_start",
            self.slow_start,
            Duration::ZERO..=LONGEST_SLOW_START,
        )?;
        let within = |invalid: Invalid| invalid.within("outlier");
        self.outlier.validate().map_err(within)?;
        let within = |invalid: Invalid| invalid.within("limit");
        self.limit.validate().map_err(within)?;
        let within = |invalid: Invalid| invalid.within("stickiness");
        self.stickiness.validate().map_err(within)?;
        let within = |invalid: Invalid| invalid.within("tls");
        self.tls.validate().map_err(within)?;
        let within = |invalid: Invalid| invalid.within("policy");
        self.policy.validate().map_err(within)
    }
}

/// Changes of a pool's settings; `None` leaves a setting as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolPatch {
    /// Changes of the health check.
    pub check: super::CheckOverride,
    /// The algorithm that chooses the server of a request.
    pub balancing: Option<Balancing>,
    /// Whether to send requests to all ready servers when no server is healthy.
    pub fail_open: Option<bool>,
    /// How long running requests of a removed server may go on.
    pub drain_deadline: Option<Duration>,
    /// `Some(None)` turns it off.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::present"
    )]
    pub deregister_after: Option<Option<Duration>>,
    /// Whether responses with a defect that leaves only one meaning are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict_responses: Option<bool>,
    /// How long a server that has become healthy gets fewer requests than its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Duration>,
    /// When a server is taken out of the rounds because its responses fail.
    #[serde(default, skip_serializing_if = "OutlierPatch::is_empty")]
    pub outlier: OutlierPatch,
    /// How many requests run on each server, and how many wait.
    #[serde(default, skip_serializing_if = "RequestLimitPatch::is_empty")]
    pub limit: RequestLimitPatch,
    /// What decides which server gets a request under consistent hashing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_key: Option<HashKey>,
    /// Whether the requests of a client keep going to the same server.
    #[serde(default, skip_serializing_if = "StickinessPatch::is_empty")]
    pub stickiness: StickinessPatch,
    /// What is spoken to its servers. Without TLS it has no settings of TLS any more, unless these are set as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<PoolProtocol>,
    /// How TLS is spoken to its servers.
    #[serde(default, skip_serializing_if = "PoolTlsPatch::is_empty")]
    pub tls: PoolTlsPatch,
    /// How requests are sent to its servers.
    #[serde(default)]
    pub policy: PolicyPatch<PoolPolicy>,
}

impl PoolPatch {
    /// The changes that make any settings `settings`.
    #[must_use]
    pub fn to(settings: &PoolSettings) -> Self {
        let PoolSettings {
            check,
            balancing,
            fail_open,
            drain_deadline,
            deregister_after,
            strict_responses,
            policy,
            slow_start,
            outlier,
            limit,
            hash_key,
            stickiness,
            protocol,
            tls,
        } = settings.clone();
        let set = policy.set_fields();
        let unset = PoolPolicy::FIELDS.iter();
        let unset = unset.filter(|field| !set.contains(field));
        Self {
            check: super::CheckOverride::to(&check),
            balancing: Some(balancing),
            fail_open: Some(fail_open),
            drain_deadline: Some(drain_deadline),
            deregister_after: Some(deregister_after),
            strict_responses: Some(strict_responses),
            slow_start: Some(slow_start),
            outlier: outlier.into(),
            limit: limit.into(),
            hash_key: Some(hash_key),
            stickiness: stickiness.into(),
            protocol: Some(protocol),
            tls: tls.into(),
            policy: PolicyPatch {
                unset: unset.map(|field| (*field).to_owned()).collect(),
                set: policy,
            },
        }
    }

    /// `settings` with these changes.
    #[must_use]
    pub fn applied_to(&self, settings: &PoolSettings) -> PoolSettings {
        let is_plain = self.protocol == Some(PoolProtocol::Http1);
        let tls = if is_plain {
            &PoolTls::default()
        } else {
            &settings.tls
        };
        PoolSettings {
            check: self.check.resolve(&settings.check),
            balancing: self.balancing.unwrap_or(settings.balancing),
            fail_open: self.fail_open.unwrap_or(settings.fail_open),
            drain_deadline: self.drain_deadline.unwrap_or(settings.drain_deadline),
            deregister_after: self.deregister_after.unwrap_or(settings.deregister_after),
            strict_responses: self.strict_responses.unwrap_or(settings.strict_responses),
            policy: self.policy.applied_to(&settings.policy),
            slow_start: self.slow_start.unwrap_or(settings.slow_start),
            outlier: self.outlier.applied_to(settings.outlier),
            limit: self.limit.applied_to(settings.limit),
            hash_key: self
                .hash_key
                .clone()
                .unwrap_or_else(|| settings.hash_key.clone()),
            stickiness: self.stickiness.applied_to(&settings.stickiness),
            protocol: self.protocol.unwrap_or(settings.protocol),
            tls: self.tls.applied_to(tls),
        }
    }
}

/// The algorithm that chooses the server of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Balancing {
    /// The servers in turn, in proportion to their weights.
    #[default]
    #[value(alias = "round-robin")]
    RoundRobin,
    /// Another name of the same.
    #[value(alias = "weighted-round-robin")]
    WeightedRoundRobin,
    /// Of two servers picked at random, the one with fewer running requests relative to its weight.
    #[value(alias = "least-requests")]
    LeastRequests,
    /// Requests with the same value of the hash key to the same server, in proportion to the weights.
    #[value(alias = "consistent-hash")]
    ConsistentHash,
}

impl Balancing {
    /// The word in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::LeastRequests => "least_requests",
            Self::ConsistentHash => "consistent_hash",
        }
    }
}
