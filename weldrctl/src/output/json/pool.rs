//! `pool get` and `pool set`: the settings of a pool, and how its servers are.

use serde::Serialize;
use weldr_proto::v1;

use super::Check;
use crate::output::{figures, words};

/// A pool.
#[derive(Debug, Serialize)]
pub(crate) struct Pool {
    pub(crate) name: String,
    /// Of the answer. Good for `--expected-revision`.
    pub(crate) revision: u64,
    pub(crate) settings: Settings,
    pub(crate) counts: Counts,
}

impl Pool {
    /// A pool, at the revision of the answer that it came in.
    pub(crate) fn new(pool: &v1::Pool, revision: u64) -> Self {
        let counts = pool.counts.unwrap_or_default();
        Self {
            name: pool.name.clone(),
            revision,
            settings: Settings::from(&pool.settings.clone().unwrap_or_default()),
            counts: Counts {
                initial: counts.initial,
                healthy: counts.healthy,
                unhealthy: counts.unhealthy,
                draining: counts.draining,
                unused: counts.unused,
            },
        }
    }
}

/// The settings of a pool.
#[derive(Debug, Serialize)]
pub(crate) struct Settings {
    pub(crate) check: Option<Check>,
    pub(crate) balancing: String,
    pub(crate) fail_open: bool,
    pub(crate) drain_deadline_seconds: Option<f64>,
    /// 0 is off.
    pub(crate) deregister_after_seconds: Option<f64>,
}

impl From<&v1::PoolSettings> for Settings {
    fn from(settings: &v1::PoolSettings) -> Self {
        Self {
            check: settings.check.as_ref().map(Check::from),
            balancing: words::balancing(settings.balancing),
            fail_open: settings.fail_open(),
            drain_deadline_seconds: settings.drain_deadline.map(figures::seconds),
            deregister_after_seconds: settings.deregister_after.map(figures::seconds),
        }
    }
}

/// How many servers are in each state.
#[derive(Debug, Serialize)]
pub(crate) struct Counts {
    pub(crate) initial: u32,
    pub(crate) healthy: u32,
    pub(crate) unhealthy: u32,
    pub(crate) draining: u32,
    pub(crate) unused: u32,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::settings::proto_duration;

    #[test]
    fn a_pool_has_its_settings_and_counts() {
        let pool = v1::Pool {
            name: "default".to_owned(),
            settings: Some(v1::PoolSettings {
                balancing: v1::Balancing::RoundRobin.into(),
                fail_open: Some(true),
                drain_deadline: Some(proto_duration(Duration::from_secs(30))),
                deregister_after: Some(proto_duration(Duration::ZERO)),
                check: None,
            }),
            revision: 2,
            counts: Some(v1::PoolCounts {
                healthy: 4,
                ..v1::PoolCounts::default()
            }),
        };
        assert_eq!(
            json!(Pool::new(&pool, 9)),
            json!({
                "name": "default",
                "revision": 9,
                "settings": {
                    "check": null,
                    "balancing": "round_robin",
                    "fail_open": true,
                    "drain_deadline_seconds": 30.0,
                    "deregister_after_seconds": 0.0,
                },
                "counts": {"initial": 0, "healthy": 4, "unhealthy": 0, "draining": 0, "unused": 0},
            })
        );
    }
}
