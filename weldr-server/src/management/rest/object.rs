//! Reads a JSON object key by key, and collects all violations: wrong types, words
//! that do not exist, and unknown keys. A key with a typo must not be ignored silently.

use std::time::Duration;

use prost_types::Duration as ProtoDuration;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use weldr_proto::v1;

use crate::{management::convert::Violations, model::Invalid};

use super::json::{self, shown};

/// An object from which keys are taken one after the other.
#[derive(Debug)]
pub(super) struct Object {
    left: Map<String, Value>,
    known: Vec<&'static str>,
    violations: Violations,
}

impl Object {
    pub(super) fn new(map: Map<String, Value>) -> Self {
        Self {
            left: map,
            known: Vec::new(),
            violations: Violations::default(),
        }
    }

    /// All violations, including each key that was not taken.
    pub(super) fn finish(mut self) -> Violations {
        let accepted = format!("one of the keys {}", self.known.join(", "));
        for (key, value) in self.left {
            self.violations
                .add(Invalid::new(key, shown(&value), &accepted));
        }
        self.violations
    }

    /// Takes `key` and reads it. If `read` returns `None`, the value is refused, and the error says what is `accepted`.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        accepted: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        self.known.push(key);
        let value = self.left.remove(key)?;
        let result = read(&value).ok_or_else(|| Invalid::new(key, shown(&value), accepted));
        self.violations.take(result)
    }

    /// The same for a required key.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        accepted: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        if !self.left.contains_key(key) {
            self.known.push(key);
            self.violations.add(Invalid::new(key, "", accepted));
            return None;
        }
        self.take(key, accepted, read)
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.take(key, "a string", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn whole(&mut self, key: &'static str) -> Option<u32> {
        self.take(key, "a whole number that is not negative", |value| {
            u32::try_from(value.as_u64()?).ok()
        })
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.take(key, "true or false", Value::as_bool)
    }

    /// A number of seconds, possibly with a fraction.
    pub(super) fn seconds(&mut self, key: &'static str) -> Option<ProtoDuration> {
        self.take(key, "a number of seconds that is not negative", |value| {
            let duration = Duration::try_from_secs_f64(value.as_f64()?).ok()?;
            ProtoDuration::try_from(duration).ok()
        })
    }

    /// A value that is a message of the proto, or a part of one.
    pub(super) fn message<T: DeserializeOwned + Serialize>(
        &mut self,
        key: &'static str,
    ) -> Option<T> {
        self.known.push(key);
        let value = self.left.remove(key)?;
        let message = json::message(&value).map_err(|invalid| match invalid.field.as_str() {
            "body" => invalid.named(key),
            path if path.starts_with('[') => {
                let field = format!("{key}{path}");
                invalid.named(field)
            }
            _ => invalid.within(key),
        });
        self.violations.take(message)
    }

    /// The `pool` and the `expected_revision` of every call.
    pub(super) fn pool(&mut self) -> String {
        self.text("pool").unwrap_or_default()
    }

    pub(super) fn expected_revision(&mut self) -> u64 {
        self.take("expected_revision", "a revision", Value::as_u64)
            .unwrap_or_default()
    }

    pub(super) fn admin_state(&mut self) -> v1::AdminState {
        self.word("admin_state", "ready, drain or maintenance", |word| {
            v1::AdminState::from_str_name(&format!("ADMIN_STATE_{word}"))
        })
    }

    pub(super) fn balancing(&mut self) -> v1::Balancing {
        let accepted = "round_robin, weighted_round_robin, least_requests or consistent_hash";
        self.word("balancing", accepted, |word| {
            v1::Balancing::from_str_name(&format!("BALANCING_{word}"))
        })
    }

    pub(super) fn pool_protocol(&mut self) -> v1::PoolProtocol {
        self.word("protocol", "http1 or https", |word| {
            v1::PoolProtocol::from_str_name(&format!("POOL_PROTOCOL_{word}"))
        })
    }

    pub(super) fn role(&mut self) -> v1::Role {
        self.word("role", "metrics, viewer, operator or admin", |word| {
            v1::Role::from_str_name(&format!("ROLE_{word}"))
        })
    }

    /// A value of an enum of the proto: the name without that of the enum, in lower case. If the key is absent, the default,
    /// which means "unspecified" and cannot be given as a word.
    fn word<T: Default + PartialEq>(
        &mut self,
        key: &'static str,
        accepted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        self.take(key, accepted, |value| {
            let word = value.as_str()?;
            let lower = !word.contains(|letter: char| letter.is_ascii_uppercase());
            let parsed = parse(&word.to_ascii_uppercase())?;
            (lower && parsed != T::default()).then_some(parsed)
        })
        .unwrap_or_default()
    }

    /// A health check; fields of HTTP make it an HTTP check when no type is given. A key that is `null` counts as
    /// absent, so that a check can be sent as it was received.
    pub(super) fn check(&mut self) -> Option<v1::HealthCheck> {
        let mut map = self.take("check", "an object", |value| value.as_object().cloned())?;
        map.retain(|_, value| !value.is_null());
        let mut object = Self::new(map);
        let kind = object.take("type", "http or tcp", |value| {
            value
                .as_str()
                .filter(|word| ["http", "tcp"].contains(word))
                .map(str::to_owned)
        });
        let path = object.text("path");
        let expected_status = object.take(
            "expected_status",
            "codes and ranges, such as \"200-299,401\"",
            |value| {
                // A single code may be a number.
                value
                    .as_str()
                    .map(str::to_owned)
                    .or_else(|| value.as_u64().map(|code| code.to_string()))
            },
        );
        let host = object.text("host");
        let method = object.text("method");
        let wanted_body = object.text("body");
        let http_given = path.is_some()
            || expected_status.is_some()
            || host.is_some()
            || method.is_some()
            || wanted_body.is_some();
        let kind = match kind.as_deref() {
            Some("tcp") if http_given => {
                let accepted =
                    "http, because path, expected_status, host, method and body belong to it";
                object.violations.add(Invalid::new("type", "tcp", accepted));
                None
            }
            Some("tcp") => Some(v1::health_check::Type::Tcp(v1::TcpCheck {})),
            None if !http_given => None,
            _ => Some(v1::health_check::Type::Http(v1::HttpCheck {
                path: path.unwrap_or_default(),
                expected_status: expected_status.unwrap_or_default(),
                host: host.unwrap_or_default(),
                method: method.unwrap_or_default(),
                body: wanted_body.unwrap_or_default(),
            })),
        };
        let check = v1::HealthCheck {
            r#type: kind,
            interval: object.seconds("interval_seconds"),
            timeout: object.seconds("timeout_seconds"),
            healthy_threshold: object.whole("healthy_threshold"),
            unhealthy_threshold: object.whole("unhealthy_threshold"),
            port: object.whole("port"),
            grace: object.seconds("grace_seconds"),
            begins_healthy: object.flag("begins_healthy"),
        };
        self.violations.add_within("check", object.finish());
        Some(check)
    }

    /// An object within this one, whose keys `read` takes; keys that are `null` count as absent.
    pub(super) fn nested<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        let mut map = self.take(key, "an object", |value| value.as_object().cloned())?;
        map.retain(|_, value| !value.is_null());
        let mut object = Self::new(map);
        let found = read(&mut object);
        self.violations.add_within(key, object.finish());
        Some(found)
    }
}
