//! Pools and their settings.

use serde::{Deserialize, Serialize};

use super::{HealthCheck, Seconds, form};
use crate::{v1, words};

/// A pool.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct Pool {
    pub name: String,
    /// The settings, as in `settings`.
    #[serde(flatten)]
    pub flat: PoolSettings,
    /// In REST, the revision of the last change of the settings; in `weldrctl`, the revision of the response. Both can
    /// be given as the expected revision of a change. `settings_revision` means the former in both.
    pub revision: u64,
    pub counts: PoolCounts,
    pub settings: PoolSettings,
    pub settings_revision: u64,
}

impl From<&v1::Pool> for Pool {
    fn from(pool: &v1::Pool) -> Self {
        let settings = PoolSettings::from(&pool.settings.clone().unwrap_or_default());
        Self {
            name: pool.name.clone(),
            flat: settings.clone(),
            revision: pool.revision,
            counts: pool.counts.unwrap_or_default().into(),
            settings,
            settings_revision: pool.revision,
        }
    }
}

/// The settings of a pool. In what is read, each may be absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct PoolSettings {
    pub check: Option<HealthCheck>,
    pub balancing: String,
    pub fail_open: Option<bool>,
    pub drain_deadline_seconds: Option<Seconds>,
    /// 0 means never.
    pub deregister_after_seconds: Option<Seconds>,
    pub strict_responses: Option<bool>,
    pub slow_start_seconds: Option<Seconds>,
    pub outlier: Option<OutlierEjection>,
    pub limit: Option<RequestLimit>,
    pub hash_key: Option<String>,
    pub policy: Option<v1::PoolPolicy>,
    /// `http1` or `https`.
    pub protocol: Option<String>,
    pub tls: Option<v1::PoolTls>,
    pub stickiness: Option<Stickiness>,
}

impl From<v1::PoolSettings> for PoolSettings {
    fn from(settings: v1::PoolSettings) -> Self {
        Self::from(&settings)
    }
}

impl TryFrom<PoolSettings> for v1::PoolSettings {
    type Error = String;

    fn try_from(settings: PoolSettings) -> Result<Self, String> {
        let balancing = match settings.balancing.as_str() {
            "" => 0,
            word => form::balancing::parse(word).ok_or_else(|| {
                format!(
                    "balancing: {word:?} is not accepted: round_robin, weighted_round_robin, least_requests or consistent_hash"
                )
            })?,
        };
        let protocol = match settings.protocol.as_deref() {
            None | Some("") => 0,
            Some(word) => form::pool_protocol::parse(word)
                .ok_or_else(|| format!("protocol: {word:?} is not accepted: http1 or https"))?,
        };
        Ok(Self {
            check: settings.check.map(TryInto::try_into).transpose()?,
            balancing,
            fail_open: settings.fail_open,
            drain_deadline: settings.drain_deadline_seconds.map(|seconds| seconds.0),
            deregister_after: settings.deregister_after_seconds.map(|seconds| seconds.0),
            strict_responses: settings.strict_responses,
            slow_start: settings.slow_start_seconds.map(|seconds| seconds.0),
            outlier: settings.outlier.map(v1::OutlierEjection::from),
            limit: settings.limit.map(v1::RequestLimit::from),
            hash_key: settings.hash_key,
            policy: settings.policy,
            protocol,
            tls: settings.tls,
            stickiness: settings.stickiness.map(v1::Stickiness::from),
        })
    }
}

impl From<&v1::PoolSettings> for PoolSettings {
    fn from(settings: &v1::PoolSettings) -> Self {
        Self {
            check: settings.check.as_ref().map(HealthCheck::from),
            balancing: words::balancing(settings.balancing),
            fail_open: settings.fail_open,
            drain_deadline_seconds: settings.drain_deadline.map(Seconds),
            deregister_after_seconds: settings.deregister_after.map(Seconds),
            strict_responses: settings.strict_responses,
            slow_start_seconds: settings.slow_start.map(Seconds),
            outlier: settings.outlier.map(OutlierEjection::from),
            limit: settings.limit.map(RequestLimit::from),
            hash_key: settings.hash_key.clone(),
            policy: settings.policy,
            protocol: words::pool_protocol(settings.protocol),
            tls: settings.tls.clone(),
            stickiness: settings.stickiness.clone().map(Stickiness::from),
        }
    }
}

/// When a server is ejected.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct OutlierEjection {
    /// 0 means never.
    pub failures: Option<u32>,
    pub time_seconds: Option<Seconds>,
    pub longest_seconds: Option<Seconds>,
    pub share_percent: Option<u32>,
}

impl From<v1::OutlierEjection> for OutlierEjection {
    fn from(outlier: v1::OutlierEjection) -> Self {
        Self {
            failures: outlier.failures,
            time_seconds: outlier.time.map(Seconds),
            longest_seconds: outlier.longest.map(Seconds),
            share_percent: outlier.share_percent,
        }
    }
}

/// How many requests run on each server, and how many wait.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct RequestLimit {
    /// 0 means no limit.
    pub requests: Option<u32>,
    pub queue: Option<u32>,
    pub queue_timeout_seconds: Option<Seconds>,
}

impl From<OutlierEjection> for v1::OutlierEjection {
    fn from(outlier: OutlierEjection) -> Self {
        Self {
            failures: outlier.failures,
            time: outlier.time_seconds.map(|seconds| seconds.0),
            longest: outlier.longest_seconds.map(|seconds| seconds.0),
            share_percent: outlier.share_percent,
        }
    }
}

impl From<RequestLimit> for v1::RequestLimit {
    fn from(limit: RequestLimit) -> Self {
        Self {
            requests: limit.requests,
            queue: limit.queue,
            queue_timeout: limit.queue_timeout_seconds.map(|seconds| seconds.0),
        }
    }
}

impl From<v1::RequestLimit> for RequestLimit {
    fn from(limit: v1::RequestLimit) -> Self {
        Self {
            requests: limit.requests,
            queue: limit.queue,
            queue_timeout_seconds: limit.queue_timeout.map(Seconds),
        }
    }
}

/// How the requests of a session are recognised.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct Stickiness {
    /// Empty means that requests do not stick.
    pub cookie: Option<String>,
    /// Empty means that each client has a session.
    pub application_cookie: Option<String>,
    pub duration_seconds: Option<Seconds>,
}

impl From<v1::Stickiness> for Stickiness {
    fn from(stickiness: v1::Stickiness) -> Self {
        Self {
            cookie: stickiness.cookie,
            application_cookie: stickiness.application_cookie,
            duration_seconds: stickiness.duration.map(Seconds),
        }
    }
}

impl From<Stickiness> for v1::Stickiness {
    fn from(stickiness: Stickiness) -> Self {
        Self {
            cookie: stickiness.cookie,
            application_cookie: stickiness.application_cookie,
            duration: stickiness.duration_seconds.map(|seconds| seconds.0),
        }
    }
}

/// The number of servers in each state.
#[derive(Debug, Clone, Copy, Serialize)]
#[allow(missing_docs, reason = "the names are those of the states")]
pub struct PoolCounts {
    pub initial: u32,
    pub healthy: u32,
    pub unhealthy: u32,
    pub draining: u32,
    pub unused: u32,
}

impl From<v1::PoolCounts> for PoolCounts {
    fn from(counts: v1::PoolCounts) -> Self {
        Self {
            initial: counts.initial,
            healthy: counts.healthy,
            unhealthy: counts.unhealthy,
            draining: counts.draining,
            unused: counts.unused,
        }
    }
}
