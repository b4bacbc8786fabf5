//! Health checks.

use weldr_proto::v1;

use crate::model::{
    CheckKind, CheckMethod, CheckOverride, ExpectedStatus, HealthCheck, HttpCheck, Invalid,
};

use super::{Violations, duration, proto_duration};

/// The changes of a check that `given` contains. `path` is its path in the request. Each value is validated by itself,
/// so the result is valid whatever check the changes are applied to.
pub(in crate::management) fn check_override(
    path: &str,
    given: v1::HealthCheck,
    violations: &mut Violations,
) -> CheckOverride {
    let mut found = Violations::default();
    let check = CheckOverride {
        kind: given.r#type.and_then(|kind| found.take(check_kind(kind))),
        interval: given
            .interval
            .and_then(|interval| found.take(duration("interval", interval))),
        timeout: given
            .timeout
            .and_then(|timeout| found.take(duration("timeout", timeout))),
        healthy_threshold: given.healthy_threshold,
        unhealthy_threshold: given.unhealthy_threshold,
        port: given.port.and_then(|given| found.take(port(given))),
        grace: given
            .grace
            .and_then(|grace| found.take(duration("grace", grace))),
        begins_healthy: given.begins_healthy,
    };
    if found.is_empty() {
        found = out_of_range(&check);
    }
    violations.add_within(path, found);
    check
}

fn check_kind(given: v1::health_check::Type) -> Result<CheckKind, Invalid> {
    use v1::health_check::Type;
    let http = match given {
        Type::Tcp(v1::TcpCheck {}) => return Ok(CheckKind::Tcp),
        Type::Http(http) => http,
    };
    let or = |given: String, default: &str| {
        if given.is_empty() {
            default.to_owned()
        } else {
            given
        }
    };
    let expected_status = match http.expected_status.as_str() {
        "" => ExpectedStatus::default(),
        given => given
            .parse()
            .map_err(|invalid: Invalid| invalid.within("http"))?,
    };
    let method = match http.method.as_str() {
        "" => CheckMethod::default(),
        given => given
            .parse()
            .map_err(|invalid: Invalid| invalid.within("http"))?,
    };
    Ok(CheckKind::Http(HttpCheck {
        path: or(http.path, "/"),
        expected_status,
        host: (!http.host.is_empty()).then_some(http.host),
        method,
        body: (!http.body.is_empty()).then_some(http.body),
    }))
}

fn port(given: u32) -> Result<Option<u16>, Invalid> {
    let accepted = "a port from 1 to 65535, or 0 for the port of the traffic";
    match u16::try_from(given) {
        Ok(port) => Ok((port != 0).then_some(port)),
        Err(_) => Err(Invalid::new("port", given, accepted)),
    }
}

/// Every setting that is out of its range. [`HealthCheck::validate`] returns the first one only, so each is validated
/// with all others at their defaults.
fn out_of_range(check: &CheckOverride) -> Violations {
    let none = CheckOverride::default;
    let alone = [
        CheckOverride {
            kind: check.kind.clone(),
            ..none()
        },
        CheckOverride {
            interval: check.interval,
            ..none()
        },
        CheckOverride {
            timeout: check.timeout,
            ..none()
        },
        CheckOverride {
            healthy_threshold: check.healthy_threshold,
            ..none()
        },
        CheckOverride {
            unhealthy_threshold: check.unhealthy_threshold,
            ..none()
        },
        CheckOverride {
            grace: check.grace,
            ..none()
        },
    ];
    let mut violations = Violations::default();
    for setting in alone {
        violations.take(setting.resolve(&HealthCheck::default()).validate());
    }
    violations
}

/// A complete check, in which every field is set.
pub(super) fn full_check(check: &HealthCheck) -> v1::HealthCheck {
    v1::HealthCheck {
        r#type: Some(proto_kind(&check.kind)),
        interval: proto_duration(check.interval),
        timeout: proto_duration(check.timeout),
        healthy_threshold: Some(check.healthy_threshold),
        unhealthy_threshold: Some(check.unhealthy_threshold),
        port: Some(check.port.map_or(0, u32::from)),
        grace: proto_duration(check.grace),
        begins_healthy: Some(check.begins_healthy),
    }
}

/// The overrides of a server; `None` if it overrides nothing.
pub(super) fn overrides(check: &CheckOverride) -> Option<v1::HealthCheck> {
    (!check.is_empty()).then(|| v1::HealthCheck {
        r#type: check.kind.as_ref().map(proto_kind),
        interval: check.interval.and_then(proto_duration),
        timeout: check.timeout.and_then(proto_duration),
        healthy_threshold: check.healthy_threshold,
        unhealthy_threshold: check.unhealthy_threshold,
        port: check.port.map(|port| port.map_or(0, u32::from)),
        grace: check.grace.and_then(proto_duration),
        begins_healthy: check.begins_healthy,
    })
}

fn proto_kind(kind: &CheckKind) -> v1::health_check::Type {
    match kind {
        CheckKind::Tcp => v1::health_check::Type::Tcp(v1::TcpCheck {}),
        CheckKind::Http(http) => v1::health_check::Type::Http(v1::HttpCheck {
            path: http.path.clone(),
            expected_status: http.expected_status.to_string(),
            host: http.host.clone().unwrap_or_default(),
            method: http.method.as_str().to_owned(),
            body: http.body.clone().unwrap_or_default(),
        }),
    }
}

#[cfg(test)]
#[allow(
    clippy::unnecessary_wraps,
    reason = "the helpers make fields as the proto has them"
)]
mod tests {
    use std::time::Duration;

    use prost_types::Duration as ProtoDuration;

    use super::*;
    use crate::management::error::Error;

    fn seconds(seconds: i64) -> Option<ProtoDuration> {
        Some(ProtoDuration { seconds, nanos: 0 })
    }

    fn http(path: &str, expected_status: &str, host: &str) -> Option<v1::health_check::Type> {
        Some(v1::health_check::Type::Http(v1::HttpCheck {
            path: path.into(),
            expected_status: expected_status.into(),
            host: host.into(),
            ..v1::HttpCheck::default()
        }))
    }

    fn wanting(method: &str, body: &str) -> Option<v1::health_check::Type> {
        Some(v1::health_check::Type::Http(v1::HttpCheck {
            method: method.into(),
            body: body.into(),
            ..v1::HttpCheck::default()
        }))
    }

    fn convert(given: v1::HealthCheck) -> Result<CheckOverride, Vec<(String, String)>> {
        let mut violations = Violations::default();
        let check = check_override("check", given, &mut violations);
        violations.settle(Some(check)).map_err(|error| match error {
            Error::Invalid(all) => all
                .into_iter()
                .map(|invalid| (invalid.field, invalid.value))
                .collect(),
            other => panic!("{other}"),
        })
    }

    #[test]
    fn what_is_absent_is_inherited() {
        assert!(convert(v1::HealthCheck::default()).unwrap().is_empty());
        let check = convert(v1::HealthCheck {
            r#type: http("", "", ""),
            timeout: seconds(1),
            port: Some(0),
            ..v1::HealthCheck::default()
        });
        let expected = CheckOverride {
            kind: Some(CheckKind::Http(HttpCheck::default())),
            timeout: Some(Duration::from_secs(1)),
            port: Some(None),
            ..CheckOverride::default()
        };
        assert_eq!(check, Ok(expected));
    }

    #[test]
    fn an_override_comes_back_as_it_went_in() {
        let given = v1::HealthCheck {
            r#type: Some(v1::health_check::Type::Http(v1::HttpCheck {
                path: "/health".into(),
                expected_status: "200-299,401".into(),
                host: "example.org".into(),
                method: "OPTIONS".into(),
                body: "ready".into(),
            })),
            grace: seconds(60),
            begins_healthy: Some(true),
            interval: seconds(1),
            timeout: seconds(2),
            healthy_threshold: Some(1),
            unhealthy_threshold: Some(100),
            port: Some(9000),
        };
        let check = convert(given.clone()).unwrap();
        assert_eq!(overrides(&check), Some(given.clone()));
        assert_eq!(full_check(&check.resolve(&HealthCheck::default())), given);
        assert_eq!(overrides(&CheckOverride::default()), None);
    }

    #[test]
    fn each_violation_is_named_by_its_path() {
        type Edit = fn(&mut v1::HealthCheck);
        let cases: [(Edit, &str, &str); 13] = [
            (|check| check.interval = seconds(0), "interval", "0s"),
            (|check| check.interval = seconds(3601), "interval", "1h 1s"),
            (
                |check| check.timeout = seconds(-1),
                "timeout",
                "-1 s and 0 ns",
            ),
            (|check| check.timeout = seconds(61), "timeout", "1m 1s"),
            (
                |check| check.healthy_threshold = Some(0),
                "healthy_threshold",
                "0",
            ),
            (
                |check| check.unhealthy_threshold = Some(101),
                "unhealthy_threshold",
                "101",
            ),
            (|check| check.port = Some(65536), "port", "65536"),
            (|check| check.grace = seconds(86_401), "grace", "1day 1s"),
            (
                |check| check.r#type = wanting("POST", ""),
                "http.method",
                "POST",
            ),
            (
                |check| check.r#type = wanting("HEAD", "up"),
                "http.body",
                "up",
            ),
            (
                |check| check.r#type = http("health", "", ""),
                "http.path",
                "health",
            ),
            (
                |check| check.r#type = http("", "2xx", ""),
                "http.expected_status",
                "2xx",
            ),
            (
                |check| check.r#type = http("", "", "a b"),
                "http.host",
                "a b",
            ),
        ];
        for (change, field, value) in cases {
            let mut given = v1::HealthCheck::default();
            change(&mut given);
            let refused = (format!("check.{field}"), value.to_owned());
            assert_eq!(convert(given), Err(vec![refused]));
        }
    }

    #[test]
    fn several_violations_are_told_at_once() {
        let told = convert(v1::HealthCheck {
            r#type: http("x", "", ""),
            interval: seconds(0),
            unhealthy_threshold: Some(0),
            ..v1::HealthCheck::default()
        });
        let fields: Vec<String> = told
            .unwrap_err()
            .into_iter()
            .map(|(field, _)| field)
            .collect();
        assert_eq!(
            fields,
            [
                "check.http.path",
                "check.interval",
                "check.unhealthy_threshold"
            ]
        );
    }
}
