//! Listeners and their policies.

use std::time::Duration;

use ipnet::IpNet;
use weldr_proto::v1;

use crate::model::{
    DesyncMode, ForwardedHeaders, Invalid, Listener, ListenerName, ListenerPolicy, Rule,
};

use super::{
    Violations, duration, proto_conditions, proto_duration, proto_route,
    route::networks,
    tls::{proto_certificate_names, proto_listener_protocol, proto_listener_tls},
};

/// The values of a policy that `given` sets.
pub(in crate::management) fn listener_policy(
    given: v1::ListenerPolicy,
    violations: &mut Violations,
) -> ListenerPolicy {
    let mut found = Violations::default();
    let desync_mode = found.take(desync_mode(given.desync_mode)).flatten();
    let forwarded_headers = found
        .take(forwarded_headers(given.forwarded_headers))
        .flatten();
    let trusted_proxies = given
        .trusted_proxies
        .and_then(|given| found.take(networks("trusted_proxies", &given.networks)));
    let proxy_protocol_from = given
        .proxy_protocol_from
        .and_then(|given| found.take(networks("proxy_protocol_from", &given.networks)));
    let mut time = |field: &str, given: Option<prost_types::Duration>| {
        given.and_then(|given| found.take(duration(field, given)))
    };
    let policy = ListenerPolicy {
        client_header_timeout: time("client_header_timeout", given.client_header_timeout),
        client_idle_timeout: time("client_idle_timeout", given.client_idle_timeout),
        client_body_timeout: time("client_body_timeout", given.client_body_timeout),
        lingering_timeout: time("lingering_timeout", given.lingering_timeout),
        max_header_bytes: given.max_header_bytes,
        max_headers: given.max_headers,
        max_body_bytes: given.max_body_bytes,
        body_min_rate: given.body_min_rate,
        max_connections: given.max_connections,
        max_connections_per_client: given.max_connections_per_client,
        desync_mode,
        forwarded_headers,
        trusted_proxies,
        access_log: given.access_log,
        proxy_protocol_from,
    };
    found.take(policy.validate());
    violations.add_within("policy", found);
    policy
}

fn desync_mode(given: i32) -> Result<Option<DesyncMode>, Invalid> {
    match v1::DesyncMode::try_from(given) {
        Ok(v1::DesyncMode::Unspecified) => Ok(None),
        Ok(v1::DesyncMode::Strict) => Ok(Some(DesyncMode::Strict)),
        Ok(v1::DesyncMode::Monitor) => Ok(Some(DesyncMode::Monitor)),
        Err(_) => {
            let accepted = "DESYNC_MODE_STRICT or DESYNC_MODE_MONITOR";
            Err(Invalid::new("desync_mode", given, accepted))
        }
    }
}

fn forwarded_headers(given: i32) -> Result<Option<ForwardedHeaders>, Invalid> {
    match v1::ForwardedHeaders::try_from(given) {
        Ok(v1::ForwardedHeaders::Unspecified) => Ok(None),
        Ok(v1::ForwardedHeaders::Append) => Ok(Some(ForwardedHeaders::Append)),
        Ok(v1::ForwardedHeaders::Replace) => Ok(Some(ForwardedHeaders::Replace)),
        Ok(v1::ForwardedHeaders::Off) => Ok(Some(ForwardedHeaders::Off)),
        Err(_) => {
            let accepted =
                "FORWARDED_HEADERS_APPEND, FORWARDED_HEADERS_REPLACE or FORWARDED_HEADERS_OFF";
            Err(Invalid::new("forwarded_headers", given, accepted))
        }
    }
}

pub(in crate::management) fn proto_listener_policy(policy: &ListenerPolicy) -> v1::ListenerPolicy {
    let time = |duration: Option<Duration>| duration.and_then(proto_duration);
    let desync_mode = match policy.desync_mode {
        None => v1::DesyncMode::Unspecified,
        Some(DesyncMode::Strict) => v1::DesyncMode::Strict,
        Some(DesyncMode::Monitor) => v1::DesyncMode::Monitor,
    };
    let forwarded_headers = match policy.forwarded_headers {
        None => v1::ForwardedHeaders::Unspecified,
        Some(ForwardedHeaders::Append) => v1::ForwardedHeaders::Append,
        Some(ForwardedHeaders::Replace) => v1::ForwardedHeaders::Replace,
        Some(ForwardedHeaders::Off) => v1::ForwardedHeaders::Off,
    };
    let proxies = |networks: &Vec<IpNet>| v1::TrustedProxies {
        networks: networks.iter().map(IpNet::to_string).collect(),
    };
    v1::ListenerPolicy {
        client_header_timeout: time(policy.client_header_timeout),
        client_idle_timeout: time(policy.client_idle_timeout),
        client_body_timeout: time(policy.client_body_timeout),
        lingering_timeout: time(policy.lingering_timeout),
        max_header_bytes: policy.max_header_bytes,
        max_headers: policy.max_headers,
        max_body_bytes: policy.max_body_bytes,
        body_min_rate: policy.body_min_rate,
        max_connections: policy.max_connections,
        max_connections_per_client: policy.max_connections_per_client,
        desync_mode: desync_mode.into(),
        forwarded_headers: forwarded_headers.into(),
        trusted_proxies: policy.trusted_proxies.as_ref().map(proxies),
        access_log: policy.access_log,
        proxy_protocol_from: policy.proxy_protocol_from.as_ref().map(proxies),
    }
}

/// A listener, with what each node says of it.
pub(in crate::management) fn listener(
    name: &ListenerName,
    listener: &Listener,
    nodes: Vec<v1::ListenerOnNode>,
) -> v1::Listener {
    let address = listener.spec.address;
    v1::Listener {
        name: name.to_string(),
        address: address
            .map(|address| address.to_string())
            .unwrap_or_default(),
        default_route: Some(proto_route(&listener.spec.default_route)),
        policy: Some(proto_listener_policy(&listener.spec.policy)),
        revision: listener.spec_revision.0,
        rules: u32::try_from(listener.rules.size()).unwrap_or(u32::MAX),
        rules_revision: listener.rules_revision.0,
        nodes,
        protocol: proto_listener_protocol(listener.spec.protocol),
        certificates: proto_certificate_names(&listener.spec.certificates),
        tls: Some(proto_listener_tls(&listener.spec.tls)),
    }
}

/// A rule, with the place of an earlier one that covers it.
pub(in crate::management) fn rule(rule: &Rule, covered_by: Option<u32>) -> v1::Rule {
    v1::Rule {
        priority: rule.priority.0,
        conditions: Some(proto_conditions(&rule.spec.conditions)),
        route: Some(proto_route(&rule.spec.route)),
        id: rule.id.0,
        revision: rule.revision.0,
        covered_by,
        prefix_never_applies: rule.spec.prefix_never_applies(),
    }
}
