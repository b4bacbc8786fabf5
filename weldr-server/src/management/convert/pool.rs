//! Pools and their settings.

use std::time::Duration;

use weldr_proto::v1;

use crate::{
    model::{
        Balancing, HashKey, HealthState, Invalid, OutlierPatch, PolicyPatch, PoolName, PoolPatch,
        PoolPolicy, PoolSettings, RequestLimitPatch, SendProxyProtocol, Stickiness,
        StickinessPatch,
    },
    snapshot::PoolView,
};

use super::{
    Violations, check, check_override, duration, proto_duration,
    tls::{pool_protocol, pool_tls, proto_pool_protocol, proto_pool_tls},
};

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
        slow_start: given
            .slow_start
            .and_then(|time| found.take(duration("slow_start", time))),
        outlier: outlier(given.outlier.unwrap_or_default(), &mut found),
        limit: limit(given.limit.unwrap_or_default(), &mut found),
        hash_key: given
            .hash_key
            .and_then(|key| found.take(key.parse::<HashKey>())),
        policy: PolicyPatch {
            set: pool_policy(given.policy.unwrap_or_default(), &mut found),
            unset: Vec::new(),
        },
        protocol: found.take(pool_protocol(given.protocol)).flatten(),
        tls: pool_tls(given.tls.unwrap_or_default(), &mut found),
        stickiness: stickiness(given.stickiness.unwrap_or_default(), &mut found),
    };
    if found.is_empty() {
        found = out_of_range(&patch);
    }
    violations.add_within("settings", found);
    patch
}

fn outlier(given: v1::OutlierEjection, violations: &mut Violations) -> OutlierPatch {
    let mut time =
        |field, given: Option<_>| given.and_then(|time| violations.take(duration(field, time)));
    OutlierPatch {
        failures: given.failures,
        time: time("outlier.time", given.time),
        longest: time("outlier.longest", given.longest),
        share_percent: given.share_percent,
    }
}

fn limit(given: v1::RequestLimit, violations: &mut Violations) -> RequestLimitPatch {
    RequestLimitPatch {
        requests: given.requests,
        queue: given.queue,
        queue_timeout: given
            .queue_timeout
            .and_then(|time| violations.take(duration("limit.queue_timeout", time))),
    }
}

fn stickiness(given: v1::Stickiness, violations: &mut Violations) -> StickinessPatch {
    let name = |given: Option<String>| given.map(|name| (!name.is_empty()).then_some(name));
    StickinessPatch {
        cookie: name(given.cookie),
        application_cookie: name(given.application_cookie),
        duration: given
            .duration
            .and_then(|time| violations.take(duration("stickiness.duration", time))),
    }
}

fn proto_stickiness(stickiness: &Stickiness) -> v1::Stickiness {
    v1::Stickiness {
        cookie: Some(stickiness.cookie.clone().unwrap_or_default()),
        application_cookie: Some(stickiness.application_cookie.clone().unwrap_or_default()),
        duration: proto_duration(stickiness.duration),
    }
}

fn balancing(given: i32) -> Result<Option<Balancing>, Invalid> {
    match v1::Balancing::try_from(given) {
        Ok(v1::Balancing::Unspecified) => Ok(None),
        Ok(v1::Balancing::RoundRobin) => Ok(Some(Balancing::RoundRobin)),
        Ok(v1::Balancing::WeightedRoundRobin) => Ok(Some(Balancing::WeightedRoundRobin)),
        Ok(v1::Balancing::LeastRequests) => Ok(Some(Balancing::LeastRequests)),
        Ok(v1::Balancing::ConsistentHash) => Ok(Some(Balancing::ConsistentHash)),
        Err(_) => Err(Invalid::new(
            "balancing",
            given,
            "BALANCING_ROUND_ROBIN, BALANCING_WEIGHTED_ROUND_ROBIN, BALANCING_LEAST_REQUESTS or \
             BALANCING_CONSISTENT_HASH",
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
        PoolPatch {
            slow_start: patch.slow_start,
            ..PoolPatch::default()
        },
        PoolPatch {
            outlier: patch.outlier,
            ..PoolPatch::default()
        },
        PoolPatch {
            limit: patch.limit,
            ..PoolPatch::default()
        },
        PoolPatch {
            stickiness: patch.stickiness.clone(),
            ..PoolPatch::default()
        },
        PoolPatch {
            policy: patch.policy.clone(),
            ..PoolPatch::default()
        },
        PoolPatch {
            tls: patch.tls.clone(),
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
        Balancing::ConsistentHash => v1::Balancing::ConsistentHash,
    };
    v1::PoolSettings {
        check: Some(check::full_check(&settings.check)),
        balancing: balancing.into(),
        fail_open: Some(settings.fail_open),
        drain_deadline: proto_duration(settings.drain_deadline),
        deregister_after: proto_duration(settings.deregister_after.unwrap_or_default()),
        strict_responses: Some(settings.strict_responses),
        slow_start: proto_duration(settings.slow_start),
        outlier: Some(v1::OutlierEjection {
            failures: Some(settings.outlier.failures),
            time: proto_duration(settings.outlier.time),
            longest: proto_duration(settings.outlier.longest),
            share_percent: Some(settings.outlier.share_percent),
        }),
        limit: Some(v1::RequestLimit {
            requests: Some(settings.limit.requests),
            queue: Some(settings.limit.queue),
            queue_timeout: proto_duration(settings.limit.queue_timeout),
        }),
        hash_key: Some(settings.hash_key.to_string()),
        policy: Some(proto_pool_policy(&settings.policy)),
        protocol: proto_pool_protocol(settings.protocol),
        tls: Some(proto_pool_tls(&settings.tls)),
        stickiness: Some(proto_stickiness(&settings.stickiness)),
    }
}

/// The values of a policy that `given` sets.
fn pool_policy(given: v1::PoolPolicy, violations: &mut Violations) -> PoolPolicy {
    let mut found = Violations::default();
    let send_proxy_protocol = found
        .take(send_proxy_protocol(given.send_proxy_protocol))
        .flatten();
    let mut time = |field: &str, given: Option<prost_types::Duration>| {
        given.and_then(|given| found.take(duration(field, given)))
    };
    let policy = PoolPolicy {
        connect_timeout: time("connect_timeout", given.connect_timeout),
        server_selection_timeout: time("server_selection_timeout", given.server_selection_timeout),
        response_header_timeout: time("response_header_timeout", given.response_header_timeout),
        stream_idle_timeout: time("stream_idle_timeout", given.stream_idle_timeout),
        server_idle_timeout: time("server_idle_timeout", given.server_idle_timeout),
        tunnel_idle_timeout: time("tunnel_idle_timeout", given.tunnel_idle_timeout),
        retries: given.retries,
        max_server_connections: given.max_server_connections,
        max_server_idle_connections: given.max_server_idle_connections,
        send_proxy_protocol,
    };
    violations.add_within("policy", found);
    policy
}

fn send_proxy_protocol(given: i32) -> Result<Option<SendProxyProtocol>, Invalid> {
    match v1::SendProxyProtocol::try_from(given) {
        Ok(v1::SendProxyProtocol::Unspecified) => Ok(None),
        Ok(v1::SendProxyProtocol::Off) => Ok(Some(SendProxyProtocol::Off)),
        Ok(v1::SendProxyProtocol::V1) => Ok(Some(SendProxyProtocol::V1)),
        Ok(v1::SendProxyProtocol::V2) => Ok(Some(SendProxyProtocol::V2)),
        Err(_) => {
            let accepted =
                "SEND_PROXY_PROTOCOL_OFF, SEND_PROXY_PROTOCOL_V1 or SEND_PROXY_PROTOCOL_V2";
            Err(Invalid::new("send_proxy_protocol", given, accepted))
        }
    }
}

fn proto_pool_policy(policy: &PoolPolicy) -> v1::PoolPolicy {
    let time = |duration: Option<Duration>| duration.and_then(proto_duration);
    v1::PoolPolicy {
        connect_timeout: time(policy.connect_timeout),
        server_selection_timeout: time(policy.server_selection_timeout),
        response_header_timeout: time(policy.response_header_timeout),
        stream_idle_timeout: time(policy.stream_idle_timeout),
        server_idle_timeout: time(policy.server_idle_timeout),
        tunnel_idle_timeout: time(policy.tunnel_idle_timeout),
        retries: policy.retries,
        max_server_connections: policy.max_server_connections,
        max_server_idle_connections: policy.max_server_idle_connections,
        send_proxy_protocol: match policy.send_proxy_protocol {
            None => v1::SendProxyProtocol::Unspecified,
            Some(SendProxyProtocol::Off) => v1::SendProxyProtocol::Off,
            Some(SendProxyProtocol::V1) => v1::SendProxyProtocol::V1,
            Some(SendProxyProtocol::V2) => v1::SendProxyProtocol::V2,
        }
        .into(),
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
            slow_start: seconds(30),
            outlier: Some(v1::OutlierEjection {
                failures: Some(5),
                time: seconds(10),
                longest: seconds(100),
                share_percent: Some(50),
            }),
            limit: Some(v1::RequestLimit {
                requests: Some(100),
                queue: Some(0),
                queue_timeout: seconds(2),
            }),
            hash_key: Some("cookie:SID".to_owned()),
            policy: Some(v1::PoolPolicy {
                connect_timeout: seconds(2),
                retries: Some(0),
                ..v1::PoolPolicy::default()
            }),
            protocol: v1::PoolProtocol::Https.into(),
            tls: Some(v1::PoolTls {
                server_name: Some("api.internal".to_owned()),
                verify_ca: None,
                client_certificate: Some("weldr".to_owned()),
                insecure: Some(true),
            }),
            stickiness: Some(v1::Stickiness {
                cookie: Some("SRV".to_owned()),
                application_cookie: Some("SID".to_owned()),
                duration: seconds(60),
            }),
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
                    balancing: 5,
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

    #[test]
    fn each_violation_about_servers_under_load_is_named_by_its_path() {
        type Given = v1::PoolSettings;
        let none = Given::default;
        for (given, field) in [
            (
                Given {
                    slow_start: seconds(3_601),
                    ..none()
                },
                "settings.slow_start",
            ),
            (
                Given {
                    outlier: Some(v1::OutlierEjection {
                        share_percent: Some(0),
                        ..v1::OutlierEjection::default()
                    }),
                    ..none()
                },
                "settings.outlier.share_percent",
            ),
            (
                Given {
                    limit: Some(v1::RequestLimit {
                        queue_timeout: seconds(-1),
                        ..v1::RequestLimit::default()
                    }),
                    ..none()
                },
                "settings.limit.queue_timeout",
            ),
            (
                Given {
                    hash_key: Some("query:a".to_owned()),
                    ..none()
                },
                "settings.hash_key",
            ),
            (
                Given {
                    protocol: 9,
                    ..none()
                },
                "settings.protocol",
            ),
            (
                Given {
                    tls: Some(v1::PoolTls {
                        server_name: Some("a b".to_owned()),
                        ..v1::PoolTls::default()
                    }),
                    ..none()
                },
                "settings.tls.server_name",
            ),
            (
                Given {
                    tls: Some(v1::PoolTls {
                        verify_ca: Some("no PEM".to_owned()),
                        ..v1::PoolTls::default()
                    }),
                    ..none()
                },
                "settings.tls.verify_ca",
            ),
        ] {
            assert_eq!(convert(given), Err(vec![field.to_owned()]));
        }
    }

    #[test]
    fn each_violation_about_stickiness_is_named_by_its_path() {
        type Given = v1::PoolSettings;
        let none = Given::default;
        for (given, field) in [
            (
                Given {
                    stickiness: Some(v1::Stickiness {
                        application_cookie: Some("a b".to_owned()),
                        ..v1::Stickiness::default()
                    }),
                    ..none()
                },
                "settings.stickiness.application_cookie",
            ),
            (
                Given {
                    stickiness: Some(v1::Stickiness {
                        duration: seconds(0),
                        ..v1::Stickiness::default()
                    }),
                    ..none()
                },
                "settings.stickiness.duration",
            ),
        ] {
            assert_eq!(convert(given), Err(vec![field.to_owned()]));
        }
    }
}
