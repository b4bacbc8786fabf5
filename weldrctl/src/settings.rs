//! Converts options of the command line to settings of the API.
//!
//! The API replaces all overrides of a server at once, and all parameters of an HTTP check at once. An operator who
//! types `--check-path /health` means to change only the path. So the options are combined with the present settings,
//! and the write has the revision that was read as its expected revision.

use std::time::Duration;

use weldr_proto::v1::{
    AdminState, Balancing, ClientAuth, HealthCheck, HttpCheck, ListenerProtocol, ListenerTls,
    OutlierEjection, PoolPolicy, PoolProtocol, PoolSettings, PoolTls, RequestLimit,
    SendProxyProtocol, Stickiness, TcpCheck, TlsPolicy, health_check::Type,
};

use crate::{
    args::{
        AdminChoice, BalancingChoice, CheckOptions, CheckType, ClientAuthChoice,
        ListenerProtocolChoice, ListenerTlsArgs, PoolPolicyArgs, PoolProtocolChoice, PoolSetArgs,
        PoolSettingsArgs, PoolTlsArgs, ProtectionOptions, SendProxyChoice, StickinessArgs,
        TlsPolicyChoice,
    },
    error::CtlError,
};

impl CheckOptions {
    /// Whether none of the options is given.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an option of an HTTP check is given, which can only be written together with the other parameters.
    pub(crate) fn touches_http(&self) -> bool {
        let texts = [
            &self.check_path,
            &self.check_expect,
            &self.check_host,
            &self.check_method,
            &self.check_body,
        ];
        texts.iter().any(|text| text.is_some())
    }

    /// Refuses options that contradict each other.
    pub(crate) fn validate(&self) -> Result<(), CtlError> {
        if self.check_type == Some(CheckType::Tcp) && self.touches_http() {
            return Err(CtlError::Usage(
                "--check-path, --check-expect, --check-host, --check-method and --check-body belong to \
                 --check-type http, not tcp"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// `base` with the changes of these options.
    pub(crate) fn onto(&self, base: HealthCheck) -> HealthCheck {
        HealthCheck {
            r#type: self.kind_onto(base.r#type),
            interval: self.check_interval.map(proto_duration).or(base.interval),
            timeout: self.check_timeout.map(proto_duration).or(base.timeout),
            healthy_threshold: self.healthy_threshold.or(base.healthy_threshold),
            unhealthy_threshold: self.unhealthy_threshold.or(base.unhealthy_threshold),
            port: self.check_port.map(u32::from).or(base.port),
            grace: self.check_grace.map(proto_duration).or(base.grace),
            begins_healthy: self.check_begins_healthy.or(base.begins_healthy),
        }
    }

    fn kind_onto(&self, base: Option<Type>) -> Option<Type> {
        match self.check_type {
            Some(CheckType::Tcp) => return Some(Type::Tcp(TcpCheck {})),
            None if !self.touches_http() => return base,
            Some(CheckType::Http) | None => {}
        }
        let http = match base {
            Some(Type::Http(http)) => http,
            Some(Type::Tcp(_)) | None => HttpCheck::default(),
        };
        Some(Type::Http(HttpCheck {
            path: self.check_path.clone().unwrap_or(http.path),
            expected_status: self.check_expect.clone().unwrap_or(http.expected_status),
            host: self.check_host.clone().unwrap_or(http.host),
            method: self.check_method.clone().unwrap_or(http.method),
            body: self.check_body.clone().unwrap_or(http.body),
        }))
    }
}

impl PoolSetArgs {
    /// Whether no setting is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.settings == PoolSettingsArgs::default()
            && self.check.is_empty()
            && self.unset.is_empty()
    }
}

impl PoolSettingsArgs {
    /// The settings to write, with those of a check. `kind` is the type of the pool's present check, for the parameters of
    /// an HTTP check that are not given.
    pub(crate) fn with_check(&self, check: &CheckOptions, kind: Option<Type>) -> PoolSettings {
        let check = (!check.is_empty()).then(|| {
            check.onto(HealthCheck {
                r#type: kind,
                ..HealthCheck::default()
            })
        });
        PoolSettings {
            check,
            balancing: self
                .balancing
                .map_or(Balancing::Unspecified, Balancing::from)
                .into(),
            fail_open: self.fail_open,
            drain_deadline: self.drain_deadline.map(proto_duration),
            deregister_after: self.deregister_after.map(proto_duration),
            strict_responses: self.strict_responses,
            slow_start: self.protection.slow_start.map(proto_duration),
            outlier: self.protection.outlier(),
            limit: self.protection.limit(),
            hash_key: self.protection.hash_key.clone(),
            policy: Some(self.policy.values()),
            protocol: self.tls.protocol().into(),
            tls: self.tls.values(),
            stickiness: self.stickiness.values(),
        }
    }
}

impl ProtectionOptions {
    fn outlier(&self) -> Option<OutlierEjection> {
        let outlier = OutlierEjection {
            failures: self.eject_after,
            time: self.eject_time.map(proto_duration),
            longest: self.eject_longest.map(proto_duration),
            share_percent: self.eject_share,
        };
        (outlier != OutlierEjection::default()).then_some(outlier)
    }

    fn limit(&self) -> Option<RequestLimit> {
        let limit = RequestLimit {
            requests: self.max_requests,
            queue: self.max_queue,
            queue_timeout: self.queue_timeout.map(proto_duration),
        };
        (limit != RequestLimit::default()).then_some(limit)
    }
}

impl StickinessArgs {
    fn values(&self) -> Option<Stickiness> {
        let stickiness = Stickiness {
            cookie: self.cookie.clone(),
            application_cookie: self.application_cookie.clone(),
            duration: self.duration.map(proto_duration),
        };
        (stickiness != Stickiness::default()).then_some(stickiness)
    }
}

impl PoolPolicyArgs {
    fn values(&self) -> PoolPolicy {
        PoolPolicy {
            connect_timeout: self.connect_timeout.map(proto_duration),
            server_selection_timeout: self.server_selection_timeout.map(proto_duration),
            response_header_timeout: self.response_header_timeout.map(proto_duration),
            stream_idle_timeout: self.stream_idle_timeout.map(proto_duration),
            server_idle_timeout: self.server_idle_timeout.map(proto_duration),
            tunnel_idle_timeout: self.tunnel_idle_timeout.map(proto_duration),
            retries: self.retries,
            max_server_connections: self.max_server_connections,
            max_server_idle_connections: self.max_server_idle_connections,
            send_proxy_protocol: match self.send_proxy_protocol {
                None => SendProxyProtocol::Unspecified,
                Some(SendProxyChoice::Off) => SendProxyProtocol::Off,
                Some(SendProxyChoice::V1) => SendProxyProtocol::V1,
                Some(SendProxyChoice::V2) => SendProxyProtocol::V2,
            }
            .into(),
        }
    }
}

impl PoolTlsArgs {
    fn protocol(&self) -> PoolProtocol {
        match self.protocol {
            None => PoolProtocol::Unspecified,
            Some(PoolProtocolChoice::Http1) => PoolProtocol::Http1,
            Some(PoolProtocolChoice::Https) => PoolProtocol::Https,
        }
    }

    fn values(&self) -> Option<PoolTls> {
        let tls = PoolTls {
            server_name: self.server_name.clone(),
            verify_ca: self.verify_ca.clone(),
            client_certificate: self.client_certificate.clone(),
            insecure: self.insecure,
        };
        (tls != PoolTls::default()).then_some(tls)
    }
}

impl ListenerTlsArgs {
    /// What clients are to speak.
    pub(crate) fn protocol(&self) -> ListenerProtocol {
        match self.protocol {
            None => ListenerProtocol::Unspecified,
            Some(ListenerProtocolChoice::Http) => ListenerProtocol::Http,
            Some(ListenerProtocolChoice::Https) => ListenerProtocol::Https,
        }
    }

    /// The settings of TLS that are given.
    pub(crate) fn values(&self) -> ListenerTls {
        let policy = match self.tls_policy {
            None => TlsPolicy::Unspecified,
            Some(TlsPolicyChoice::Modern) => TlsPolicy::Modern,
            Some(TlsPolicyChoice::Intermediate) => TlsPolicy::Intermediate,
        };
        let client_auth = match self.client_auth {
            None => ClientAuth::Unspecified,
            Some(ClientAuthChoice::Off) => ClientAuth::Off,
            Some(ClientAuthChoice::Optional) => ClientAuth::Optional,
            Some(ClientAuthChoice::Required) => ClientAuth::Required,
        };
        ListenerTls {
            policy: policy.into(),
            strict_sni: self.strict_sni,
            session_resumption: self.session_resumption,
            client_auth: client_auth.into(),
            client_ca: self.client_ca.clone(),
            forward_client_certificate: self.forward_client_certificate,
        }
    }
}

/// The names of settings as the API has them: the command line has dashes.
pub(crate) fn setting_names(names: &[String]) -> Vec<String> {
    let name = |name: &String| name.trim_start_matches('-').replace('-', "_");
    names.iter().map(name).collect()
}

impl From<AdminChoice> for AdminState {
    fn from(choice: AdminChoice) -> Self {
        match choice {
            AdminChoice::Ready => Self::Ready,
            AdminChoice::Drain => Self::Drain,
            AdminChoice::Maintenance => Self::Maintenance,
        }
    }
}

impl From<BalancingChoice> for Balancing {
    fn from(choice: BalancingChoice) -> Self {
        match choice {
            BalancingChoice::RoundRobin => Self::RoundRobin,
            BalancingChoice::WeightedRoundRobin => Self::WeightedRoundRobin,
            BalancingChoice::LeastRequests => Self::LeastRequests,
            BalancingChoice::ConsistentHash => Self::ConsistentHash,
        }
    }
}

/// A duration of the API. Durations that are too long for it, which the command line does not accept, saturate.
pub(crate) fn proto_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).unwrap_or(prost_types::Duration {
        seconds: i64::MAX,
        nanos: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(path: &str, expected_status: &str, host: &str) -> Type {
        Type::Http(HttpCheck {
            path: path.to_owned(),
            expected_status: expected_status.to_owned(),
            host: host.to_owned(),
            ..HttpCheck::default()
        })
    }

    fn path(path: &str) -> CheckOptions {
        CheckOptions {
            check_path: Some(path.to_owned()),
            ..CheckOptions::default()
        }
    }

    #[test]
    fn a_path_implies_http() {
        let check = path("/health").onto(HealthCheck::default());
        assert_eq!(check.r#type, Some(http("/health", "", "")));
        assert_eq!(check.interval, None);
    }

    #[test]
    fn no_option_changes_nothing() {
        let base = HealthCheck {
            r#type: Some(http("/a", "200", "h")),
            healthy_threshold: Some(4),
            port: Some(9),
            ..HealthCheck::default()
        };
        assert_eq!(CheckOptions::default().onto(base.clone()), base);
    }

    #[test]
    fn a_path_leaves_the_other_parameters() {
        let base = HealthCheck {
            r#type: Some(http("/old", "200-299", "example.org")),
            timeout: Some(proto_duration(Duration::from_secs(1))),
            ..HealthCheck::default()
        };
        let check = path("/new").onto(base);
        assert_eq!(check.r#type, Some(http("/new", "200-299", "example.org")));
        assert_eq!(check.timeout, Some(proto_duration(Duration::from_secs(1))));
    }

    #[test]
    fn tcp_replaces_http_and_takes_no_path() {
        let options = CheckOptions {
            check_type: Some(CheckType::Tcp),
            ..CheckOptions::default()
        };
        let base = HealthCheck {
            r#type: Some(http("/old", "", "")),
            ..HealthCheck::default()
        };
        assert_eq!(options.onto(base).r#type, Some(Type::Tcp(TcpCheck {})));
        assert!(options.validate().is_ok());
        let contradiction = CheckOptions {
            check_type: Some(CheckType::Tcp),
            ..path("/health")
        };
        assert!(matches!(contradiction.validate(), Err(CtlError::Usage(_))));
    }

    #[test]
    fn pool_settings_hold_only_what_is_given() {
        let args = PoolSettingsArgs {
            balancing: Some(BalancingChoice::LeastRequests),
            deregister_after: Some(Duration::ZERO),
            protection: ProtectionOptions {
                eject_after: Some(5),
                ..ProtectionOptions::default()
            },
            ..PoolSettingsArgs::default()
        };
        let settings = args.with_check(&CheckOptions::default(), Some(http("/", "", "")));
        assert_eq!(settings.balancing(), Balancing::LeastRequests);
        assert_eq!(settings.check, None);
        assert_eq!(settings.fail_open, None);
        assert_eq!(settings.drain_deadline, None);
        assert_eq!(settings.strict_responses, None);
        let outlier = OutlierEjection {
            failures: Some(5),
            ..OutlierEjection::default()
        };
        assert_eq!(settings.outlier, Some(outlier));
        assert_eq!(settings.limit, None);
        assert_eq!(
            settings.deregister_after,
            Some(proto_duration(Duration::ZERO))
        );
    }
}
