//! Pools and their settings.

use std::time::Duration;

use weldr_proto::v1;

use crate::{
    model::{Balancing, HealthState, Invalid, PoolName, PoolPatch, PoolSettings},
    snapshot::PoolView,
};

use super::{Violations, check, check_override, duration, proto_duration};

/// The name of a pool; empty means `default`.
pub(in crate::management) fn pool_name(given: &str) -> Result<PoolName, Invalid> {
    given.parse()
}

/// The changes of a pool's settings that `given` contains.
pub(in crate::management) fn pool_patch(
    given: v1::PoolSettings,
    violations: &mut Violations,
) -> PoolPatch {
    let mut found = Violations::default();
    let patch = PoolPatch {
        check: check_override("check", given.check.unwrap_or_default(), &mut found),
        balancing: found.take(balancing(given.balancing)).flatten(),
        fail_open: given.fail_open,
        drain_deadline: given
            .drain_deadline
            .and_then(|deadline| found.take(duration("drain_deadline", deadline))),
        deregister_after: given
            .deregister_after
            .and_then(|after| found.take(duration("deregister_after", after)))
            .map(|after| (after != Duration::ZERO).then_some(after)),
        strict_responses: given.strict_responses,
    };
    if found.is_empty() {
        found = out_of_range(&patch);
    }
    violations.add_within("settings", found);
    patch
}

fn balancing(given: i32) -> Result<Option<Balancing>, Invalid> {
    match v1::Balancing::try_from(given) {
        Ok(v1::Balancing::Unspecified) => Ok(None),
        Ok(v1::Balancing::RoundRobin) => Ok(Some(Balancing::RoundRobin)),
        Ok(v1::Balancing::WeightedRoundRobin) => Ok(Some(Balancing::WeightedRoundRobin)),
        Ok(v1::Balancing::LeastRequests) => Ok(Some(Balancing::LeastRequests)),
        Err(_) => Err(Invalid::new(
            "balancing",
            given,
            "BALANCING_ROUND_ROBIN, BALANCING_WEIGHTED_ROUND_ROBIN or BALANCING_LEAST_REQUESTS",
        )),
    }
}

/// Every setting that is out of its range. Each is validated with all others at their defaults.
fn out_of_range(patch: &PoolPatch) -> Violations {
    let alone = [
        PoolPatch {
            drain_deadline: patch.drain_deadline,
            ..PoolPatch::default()
        },
        PoolPatch {
            deregister_after: patch.deregister_after,
            ..PoolPatch::default()
        },
    ];
    let mut violations = Violations::default();
    for setting in alone {
        violations.take(setting.applied_to(&PoolSettings::default()).validate());
    }
    violations
}

/// The settings of a pool: every field is set.
pub(in crate::management) fn pool_settings(settings: &PoolSettings) -> v1::PoolSettings {
    let balancing = match settings.balancing {
        Balancing::RoundRobin => v1::Balancing::RoundRobin,
        Balancing::WeightedRoundRobin => v1::Balancing::WeightedRoundRobin,
        Balancing::LeastRequests => v1::Balancing::LeastRequests,
    };
    v1::PoolSettings {
        check: Some(check::full_check(&settings.check)),
        balancing: balancing.into(),
        fail_open: Some(settings.fail_open),
        drain_deadline: proto_duration(settings.drain_deadline),
        deregister_after: proto_duration(settings.deregister_after.unwrap_or_default()),
        strict_responses: Some(settings.strict_responses),
    }
}

/// A pool as a snapshot shows it.
pub(in crate::management) fn pool(view: &PoolView) -> v1::Pool {
    let count = |state| u32::try_from(view.count(state)).unwrap_or(u32::MAX);
    v1::Pool {
        name: view.name().to_string(),
        settings: Some(pool_settings(&view.settings)),
        revision: view.settings_revision.0,
        counts: Some(v1::PoolCounts {
            initial: count(HealthState::Initial),
            healthy: count(HealthState::Healthy),
            unhealthy: count(HealthState::Unhealthy),
            draining: count(HealthState::Draining),
            unused: count(HealthState::Unused),
        }),
    }
}

#[cfg(test)]
#[allow(
    clippy::unnecessary_wraps,
    reason = "the helpers make fields as the proto has them"
)]
mod tests {
    use prost_types::Duration as ProtoDuration;

    use super::*;
    use crate::management::error::Error;

    fn seconds(seconds: i64) -> Option<ProtoDuration> {
        Some(ProtoDuration { seconds, nanos: 0 })
    }

    fn convert(given: v1::PoolSettings) -> Result<PoolPatch, Vec<String>> {
        let mut violations = Violations::default();
        let patch = pool_patch(given, &mut violations);
        violations.settle(Some(patch)).map_err(|error| match error {
            Error::Invalid(all) => all.into_iter().map(|invalid| invalid.field).collect(),
            other => panic!("{other}"),
        })
    }

    #[test]
    fn settings_come_back_as_they_went_in() {
        let given = v1::PoolSettings {
            check: Some(v1::HealthCheck {
                interval: seconds(1),
                ..pool_settings(&PoolSettings::default()).check.unwrap()
            }),
            balancing: v1::Balancing::LeastRequests.into(),
            fail_open: Some(false),
            drain_deadline: seconds(0),
            deregister_after: seconds(60),
            strict_responses: Some(true),
        };
        let patch = convert(given.clone()).unwrap();
        assert_eq!(
            pool_settings(&patch.applied_to(&PoolSettings::default())),
            given
        );
    }

    #[test]
    fn what_is_absent_stays_and_zero_turns_deregistering_off() {
        assert_eq!(
            convert(v1::PoolSettings::default()),
            Ok(PoolPatch::default())
        );
        let off = convert(v1::PoolSettings {
            deregister_after: seconds(0),
            ..v1::PoolSettings::default()
        });
        assert_eq!(off.unwrap().deregister_after, Some(None));
    }

    #[test]
    fn each_violation_is_named_by_its_path() {
        type Given = v1::PoolSettings;
        let none = Given::default;
        let check = v1::HealthCheck {
            timeout: seconds(0),
            ..v1::HealthCheck::default()
        };
        for (given, field) in [
            (
                Given {
                    check: Some(check),
                    ..none()
                },
                "settings.check.timeout",
            ),
            (
                Given {
                    balancing: 4,
                    ..none()
                },
                "settings.balancing",
            ),
            (
                Given {
                    drain_deadline: seconds(86_401),
                    ..none()
                },
                "settings.drain_deadline",
            ),
            (
                Given {
                    drain_deadline: seconds(-1),
                    ..none()
                },
                "settings.drain_deadline",
            ),
            (
                Given {
                    deregister_after: seconds(2_592_001),
                    ..none()
                },
                "settings.deregister_after",
            ),
        ] {
            assert_eq!(convert(given), Err(vec![field.to_owned()]));
        }
    }
}
