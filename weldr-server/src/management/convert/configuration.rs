//! Configurations: what `weldrctl apply` reads and `weldrctl export` writes.

use std::net::SocketAddr;

use weldr_proto::v1;

use crate::{
    management::error::Error,
    model::{
        Configuration, DesiredState, Invalid, ListenerConfiguration, ListenerName, ListenerSpec,
        Pool, PoolConfiguration, PoolName, Priority, Server, ServerPatch, parse_listener_address,
        parse_server_address,
    },
};

use super::{
    Violations, admin_state, certificate_names,
    check::overrides,
    check_override, listener_policy, listener_protocol, listener_tls, new_name, pool_patch,
    pool_settings, proto_conditions, proto_listener_policy, proto_route, route, rule_spec,
    tls::{proto_certificate_names, proto_listener_protocol, proto_listener_tls},
    weight,
};

/// A configuration of a request. Each violation has the names of its objects in its path: `pools.api.servers.10.0.0.1:80`.
pub(in crate::management) fn configuration(
    given: v1::Configuration,
) -> Result<Configuration, Error> {
    let mut violations = Violations::default();
    let mut configuration = Configuration::default();
    for pool in given.pools {
        let mut found = Violations::default();
        let path = format!("pools.{}", pool.name);
        if let Some((name, pool)) = self::pool(pool, &mut found)
            && configuration.pools.insert(name.clone(), pool).is_some()
        {
            found.add(Invalid::new("name", name, "each pool once"));
        }
        violations.add_within(&path, found);
    }
    for listener in given.listeners {
        let mut found = Violations::default();
        let path = format!("listeners.{}", listener.name);
        if let Some((name, listener)) = self::listener(listener, &mut found)
            && configuration
                .listeners
                .insert(name.clone(), listener)
                .is_some()
        {
            found.add(Invalid::new("name", name, "each listener once"));
        }
        violations.add_within(&path, found);
    }
    violations.settle(Some(configuration))
}

fn pool(
    given: v1::PoolConfiguration,
    violations: &mut Violations,
) -> Option<(PoolName, PoolConfiguration)> {
    let name = violations.take(new_name(&given.name))?;
    let mut pool = PoolConfiguration {
        settings: pool_patch(given.settings.unwrap_or_default(), violations),
        ..PoolConfiguration::default()
    };
    for server in given.servers {
        let mut found = Violations::default();
        let path = format!("servers.{}", server.address);
        if let Some((address, patch)) = self::server(server, &mut found)
            && pool.servers.insert(address, patch).is_some()
        {
            found.add(Invalid::new("address", address, "each server once"));
        }
        violations.add_within(&path, found);
    }
    Some((name, pool))
}

fn server(
    given: v1::ServerConfiguration,
    violations: &mut Violations,
) -> Option<(SocketAddr, ServerPatch)> {
    let address = violations.take(parse_server_address(&given.address));
    let check = given
        .check
        .map(|check| check_override("check", check, violations));
    let patch = ServerPatch {
        weight: violations.take(weight(given.weight)).flatten(),
        admin: violations.take(admin_state(given.admin_state)).flatten(),
        check,
    };
    Some((address?, patch))
}

fn listener(
    given: v1::ListenerConfiguration,
    violations: &mut Violations,
) -> Option<(ListenerName, ListenerConfiguration)> {
    let name = violations.take(new_name(&given.name))?;
    let address = match given.address.as_str() {
        "" => None,
        text => violations.take(parse_listener_address(text)),
    };
    let default_route = given.default_route.and_then(|given| {
        let within = |invalid: Invalid| invalid.within("default_route");
        violations.take(route(given).map_err(within))
    });
    let policy = listener_policy(given.policy.unwrap_or_default(), violations);
    let mut listener = ListenerConfiguration {
        address,
        default_route,
        policy,
        protocol: violations.take(listener_protocol(given.protocol)).flatten(),
        certificates: given
            .certificates
            .and_then(|given| violations.take(certificate_names(&given.names))),
        tls: listener_tls(&given.tls.unwrap_or_default(), violations),
        ..ListenerConfiguration::default()
    };
    for (index, rule) in given.rules.into_iter().enumerate() {
        let mut found = Violations::default();
        let Some(number) = rule.priority else {
            let accepted = format!(
                "a number from 1 to {}, which every rule of a configuration needs",
                Priority::LAST
            );
            found.add(Invalid::new("priority", "", accepted));
            violations.add_within(&format!("rules[{index}]"), found);
            continue;
        };
        let path = format!("rules.{number}");
        let priority = Priority(number);
        found.take(priority.validate());
        let conditions = rule.conditions.unwrap_or_default();
        if let Some(spec) = rule_spec(conditions, rule.route.unwrap_or_default(), &mut found)
            && listener.rules.insert(priority, spec).is_some()
        {
            found.add(Invalid::new("priority", priority, "each number once"));
        }
        violations.add_within(&path, found);
    }
    Some((name, listener))
}

/// The state as a configuration, without servers that are being removed.
pub(in crate::management) fn export(state: &DesiredState) -> v1::Configuration {
    let pools = state.pools.iter().map(|(name, pool)| {
        let servers = pool.servers.values();
        let stay = servers.filter(|server| server.removal.is_none());
        v1::PoolConfiguration {
            servers: stay.map(|server| exported_server(server)).collect(),
            ..exported_pool(name, pool)
        }
    });
    let listeners = state.listeners.iter().map(|(name, listener)| {
        let rules = listener.rules.values().map(|rule| v1::RuleConfiguration {
            priority: Some(rule.priority.0),
            conditions: Some(proto_conditions(&rule.spec.conditions)),
            route: Some(proto_route(&rule.spec.route)),
        });
        v1::ListenerConfiguration {
            rules: rules.collect(),
            ..exported_listener(name, &listener.spec)
        }
    });
    v1::Configuration {
        pools: pools.collect(),
        listeners: listeners.collect(),
    }
}

/// A pool without its servers.
pub(super) fn exported_pool(name: &PoolName, pool: &Pool) -> v1::PoolConfiguration {
    v1::PoolConfiguration {
        name: name.to_string(),
        settings: Some(pool_settings(&pool.settings)),
        servers: vec![],
    }
}

/// A listener without its rules.
pub(super) fn exported_listener(
    name: &ListenerName,
    spec: &ListenerSpec,
) -> v1::ListenerConfiguration {
    v1::ListenerConfiguration {
        name: name.to_string(),
        address: spec
            .address
            .map(|address| address.to_string())
            .unwrap_or_default(),
        default_route: Some(proto_route(&spec.default_route)),
        policy: Some(proto_listener_policy(&spec.policy)),
        rules: vec![],
        protocol: proto_listener_protocol(spec.protocol),
        certificates: Some(v1::CertificateNames {
            names: proto_certificate_names(&spec.certificates),
        }),
        tls: Some(proto_listener_tls(&spec.tls)),
    }
}

pub(super) fn exported_server(server: &Server) -> v1::ServerConfiguration {
    let admin_state = match server.spec.admin {
        crate::model::AdminState::Ready => v1::AdminState::Ready,
        crate::model::AdminState::Drain => v1::AdminState::Drain,
        crate::model::AdminState::Maintenance => v1::AdminState::Maintenance,
    };
    v1::ServerConfiguration {
        address: server.address.to_string(),
        weight: Some(server.spec.weight.get()),
        admin_state: admin_state.into(),
        check: overrides(&server.spec.check),
    }
}
