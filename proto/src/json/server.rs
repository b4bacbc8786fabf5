//! Servers, their health and their health checks.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Seconds, ip_and_port, time};
use crate::{
    v1::{self, health_check::Type},
    words,
};

/// A server of a pool.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct Server {
    pub id: u64,
    pub pool: String,
    pub ip: String,
    pub port: String,
    pub address: String,
    pub weight: u32,
    pub admin_state: String,
    pub state: String,
    pub reason: String,
    pub description: String,
    pub since: Option<String>,
    pub in_flight: u64,
    /// In `weldrctl`, what the server overrides; in REST, the check in effect. `check_override` and `effective_check`
    /// mean the same in both.
    pub check: Option<HealthCheck>,
    pub check_override: Option<HealthCheck>,
    pub effective_check: Option<HealthCheck>,
    pub removal_deadline: Option<String>,
    pub added_at: Option<String>,
    pub revision: u64,
    pub health: Option<Health>,
    pub removal_remaining_seconds: Option<Seconds>,
}

impl From<&v1::Server> for Server {
    fn from(server: &v1::Server) -> Self {
        let (ip, port) = ip_and_port(&server.address);
        let health = Health::from(&server.health.clone().unwrap_or_default());
        let check_override = server.check.as_ref().map(HealthCheck::from);
        Self {
            id: server.id,
            pool: server.pool.clone(),
            ip,
            port,
            address: server.address.clone(),
            weight: server.weight,
            admin_state: words::admin_state(server.admin_state),
            state: health.state.clone(),
            reason: health.reason.clone(),
            description: health.description.clone(),
            since: health.since.clone(),
            in_flight: server.in_flight,
            check: check_override.clone(),
            check_override,
            effective_check: server.effective_check.as_ref().map(HealthCheck::from),
            removal_deadline: time(server.removal_deadline),
            added_at: time(server.added_at),
            revision: server.revision,
            health: server.health.is_some().then_some(health),
            removal_remaining_seconds: server.removal_remaining.map(Seconds),
        }
    }
}

impl Server {
    /// The server as REST shows it: `check` is the check in effect.
    #[must_use]
    pub fn in_rest(server: &v1::Server) -> Self {
        let server = Self::from(server);
        Self {
            check: server.effective_check.clone(),
            ..server
        }
    }
}

/// What a node sees of a server.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct Health {
    pub state: String,
    pub reason: String,
    pub description: String,
    pub since: Option<String>,
}

impl From<&v1::Health> for Health {
    fn from(health: &v1::Health) -> Self {
        Self {
            state: words::state(health.state),
            reason: words::reason(health.reason),
            description: health.description.clone(),
            since: time(health.since),
        }
    }
}

/// A health check. In an override, `null` is what is inherited from the pool.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct HealthCheck {
    /// `http` or `tcp`.
    pub r#type: Option<Cow<'static, str>>,
    pub path: Option<String>,
    pub expected_status: Option<String>,
    pub host: Option<String>,
    pub interval_seconds: Option<Seconds>,
    pub timeout_seconds: Option<Seconds>,
    pub healthy_threshold: Option<u32>,
    pub unhealthy_threshold: Option<u32>,
    pub port: Option<u32>,
    pub method: Option<String>,
    pub body: Option<String>,
    pub grace_seconds: Option<Seconds>,
    pub begins_healthy: Option<bool>,
}

impl From<&v1::HealthCheck> for HealthCheck {
    fn from(check: &v1::HealthCheck) -> Self {
        let of_type = match &check.r#type {
            None => Self::default(),
            Some(Type::Tcp(_)) => Self {
                r#type: Some("tcp".into()),
                ..Self::default()
            },
            Some(Type::Http(http)) => Self {
                r#type: Some("http".into()),
                path: Some(http.path.clone()),
                expected_status: Some(http.expected_status.clone()),
                host: Some(http.host.clone()),
                method: Some(http.method.clone()),
                body: Some(http.body.clone()),
                ..Self::default()
            },
        };
        Self {
            interval_seconds: check.interval.map(Seconds),
            timeout_seconds: check.timeout.map(Seconds),
            healthy_threshold: check.healthy_threshold,
            unhealthy_threshold: check.unhealthy_threshold,
            port: check.port,
            grace_seconds: check.grace.map(Seconds),
            begins_healthy: check.begins_healthy,
            ..of_type
        }
    }
}

impl From<v1::HealthCheck> for HealthCheck {
    fn from(check: v1::HealthCheck) -> Self {
        Self::from(&check)
    }
}

/// Fields of HTTP make it an HTTP check when no type is given.
impl TryFrom<HealthCheck> for v1::HealthCheck {
    type Error = String;

    fn try_from(check: HealthCheck) -> Result<Self, String> {
        let texts = [
            &check.path,
            &check.expected_status,
            &check.host,
            &check.method,
            &check.body,
        ];
        let is_http = texts.iter().any(|text| text.is_some());
        let http = v1::HttpCheck {
            path: check.path.unwrap_or_default(),
            expected_status: check.expected_status.unwrap_or_default(),
            host: check.host.unwrap_or_default(),
            method: check.method.unwrap_or_default(),
            body: check.body.unwrap_or_default(),
        };
        let r#type = match check.r#type.as_deref() {
            Some("http") => Some(Type::Http(http)),
            Some("tcp") if is_http => {
                return Err(
                    "type: \"tcp\" is not accepted: http, because path, expected_status, host, method and body belong to it"
                        .to_owned(),
                );
            }
            Some("tcp") => Some(Type::Tcp(v1::TcpCheck {})),
            Some(other) => return Err(format!("type: {other:?} is not accepted: http or tcp")),
            None => is_http.then_some(Type::Http(http)),
        };
        Ok(Self {
            r#type,
            interval: check.interval_seconds.map(|seconds| seconds.0),
            timeout: check.timeout_seconds.map(|seconds| seconds.0),
            healthy_threshold: check.healthy_threshold,
            unhealthy_threshold: check.unhealthy_threshold,
            port: check.port,
            grace: check.grace_seconds.map(|seconds| seconds.0),
            begins_healthy: check.begins_healthy,
        })
    }
}
