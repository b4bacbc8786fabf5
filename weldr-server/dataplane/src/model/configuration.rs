//! What operators want of pools and listeners, as one document, and the changes that lead to it. Pure.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{
    CertificateName, Command, DesiredState, LONGEST_DRAIN, Listener, ListenerName, ListenerPatch,
    ListenerPolicy, ListenerProtocol, ListenerSpec, ListenerTls, ListenerTlsPatch, Policy,
    PolicyPatch, Pool, PoolName, PoolPatch, PoolSettings, Priority, Route, RuleSpec, Server,
    ServerPatch, ServerSpec, Timestamp,
};

/// Pools with their servers, and listeners with their rules.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Configuration {
    /// The pools.
    pub pools: BTreeMap<PoolName, PoolConfiguration>,
    /// The listeners.
    pub listeners: BTreeMap<ListenerName, ListenerConfiguration>,
}

/// A pool of a configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolConfiguration {
    /// Its settings, as far as they are named.
    pub settings: PoolPatch,
    /// Its servers. Without any, those of the pool stay.
    pub servers: BTreeMap<SocketAddr, ServerPatch>,
}

/// A listener of a configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListenerConfiguration {
    /// Where it listens.
    pub address: Option<SocketAddr>,
    /// What becomes of requests that no rule matches.
    pub default_route: Option<Route>,
    /// The values of its policy that are named.
    pub policy: ListenerPolicy,
    /// What clients speak to it.
    pub protocol: Option<ListenerProtocol>,
    /// Its certificates.
    pub certificates: Option<Vec<CertificateName>>,
    /// The settings of TLS that are named.
    pub tls: ListenerTlsPatch,
    /// Its rules.
    pub rules: BTreeMap<Priority, RuleSpec>,
}

/// How long the connections of a listener may go on that a configuration removes.
const DRAIN_DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);
const _: () = assert!(DRAIN_DEADLINE.as_secs() < LONGEST_DRAIN.as_secs());

/// The changes that make `state` what `configuration` says, to be applied as one. What it does not name stays; with `prune`,
/// that is removed, or has its default in an object that is named.
///
/// Applied to the state that results, the same configuration makes no change.
pub fn changes(
    state: &DesiredState,
    configuration: &Configuration,
    prune: bool,
    at: Timestamp,
) -> Vec<Command> {
    let mut changes = Vec::new();
    if prune {
        removals(state, configuration, &mut changes);
    }
    for (name, wanted) in &configuration.pools {
        let present = state.pools.get(name);
        pool_changes(name, present, &wanted.settings, prune, &mut changes);
        server_changes(name, present, &wanted.servers, prune, at, &mut changes);
    }
    for (name, wanted) in &configuration.listeners {
        let present = state.listeners.get(name).map(AsRef::as_ref);
        listener_changes(name, present, wanted, prune, &mut changes);
        rule_changes(name, present, &wanted.rules, prune, &mut changes);
    }
    changes
}

/// Removals come first, so that there is room for what is added.
fn removals(state: &DesiredState, configuration: &Configuration, changes: &mut Vec<Command>) {
    for name in state.listeners.keys() {
        if *name != ListenerName::default() && !configuration.listeners.contains_key(name) {
            changes.push(Command::RemoveListener {
                listener: name.clone(),
                drain_deadline: DRAIN_DEADLINE,
                expected: None,
            });
        }
    }
    for name in state.pools.keys() {
        if *name != PoolName::default() && !configuration.pools.contains_key(name) {
            changes.push(Command::RemovePool {
                pool: name.clone(),
                force: false,
                expected: None,
            });
        }
    }
}

fn pool_changes(
    name: &PoolName,
    present: Option<&Pool>,
    wanted: &PoolPatch,
    prune: bool,
    changes: &mut Vec<Command>,
) {
    let Some(present) = present else {
        changes.push(Command::AddPool {
            pool: name.clone(),
            settings: Box::new(wanted.applied_to(&PoolSettings::default())),
        });
        return;
    };
    let below = if prune {
        PoolSettings::default()
    } else {
        present.settings.clone()
    };
    let settings = wanted.applied_to(&below);
    if settings != present.settings {
        changes.push(Command::UpdatePool {
            pool: name.clone(),
            patch: PoolPatch::to(&settings),
            expected: None,
        });
    }
}

fn server_changes(
    pool: &PoolName,
    present: Option<&Pool>,
    wanted: &BTreeMap<SocketAddr, ServerPatch>,
    prune: bool,
    at: Timestamp,
    changes: &mut Vec<Command>,
) {
    let staying = |address: &SocketAddr| -> Option<&Server> {
        let server = present?.servers.get(address)?;
        server.removal.is_none().then_some(server.as_ref())
    };
    for (address, patch) in wanted {
        let below = match staying(address) {
            Some(server) if !prune => server.spec.clone(),
            _ => ServerSpec::default(),
        };
        let spec = patch.clone().applied_to(&below);
        match staying(address) {
            None => changes.push(Command::AddServer {
                pool: pool.clone(),
                address: *address,
                spec,
                expected: None,
                at,
            }),
            Some(server) if server.spec != spec => changes.push(Command::UpdateServer {
                pool: pool.clone(),
                address: *address,
                patch: ServerPatch {
                    weight: Some(spec.weight),
                    admin: Some(spec.admin),
                    check: Some(spec.check),
                },
                expected: None,
                at,
            }),
            Some(_) => {}
        }
    }
    let Some(present) = present.filter(|_| prune && !wanted.is_empty()) else {
        return;
    };
    for address in present.servers.keys() {
        if staying(address).is_some() && !wanted.contains_key(address) {
            changes.push(Command::BeginRemoval {
                pool: pool.clone(),
                address: *address,
                id: None,
                deadline: None,
                expected: None,
                at,
            });
        }
    }
}

fn listener_changes(
    name: &ListenerName,
    present: Option<&Listener>,
    wanted: &ListenerConfiguration,
    prune: bool,
    changes: &mut Vec<Command>,
) {
    let Some(present) = present else {
        changes.push(Command::AddListener {
            listener: name.clone(),
            spec: Box::new(ListenerSpec {
                address: wanted.address,
                default_route: wanted.default_route.clone().unwrap_or_default(),
                policy: wanted.policy.clone(),
                protocol: wanted.protocol.unwrap_or_default(),
                certificates: wanted.certificates.clone().unwrap_or_default(),
                tls: wanted.tls.applied_to(&ListenerTls::default()),
            }),
        });
        return;
    };
    let default_route = match &wanted.default_route {
        Some(route) => Some(route.clone()),
        None => prune.then(Route::default),
    };
    let unset = if prune {
        let is_set = wanted.policy.set_fields();
        let fields = ListenerPolicy::FIELDS.iter();
        let unset = fields.filter(|field| !is_set.contains(field));
        unset.map(|field| (*field).to_owned()).collect()
    } else {
        Vec::new()
    };
    let mut patch = ListenerPatch {
        address: wanted.address,
        default_route,
        policy: PolicyPatch {
            set: wanted.policy.clone(),
            unset,
        },
        protocol: wanted.protocol,
        certificates: wanted.certificates.clone(),
        tls: wanted.tls.clone(),
    };
    if prune {
        patch.protocol.get_or_insert_default();
        patch.certificates.get_or_insert_default();
        patch.tls = wanted.tls.applied_to(&ListenerTls::default()).into();
    }
    if patch.applied_to(&present.spec) != present.spec {
        changes.push(Command::UpdateListener {
            listener: name.clone(),
            patch: Box::new(patch),
            expected: None,
        });
    }
}

fn rule_changes(
    listener: &ListenerName,
    present: Option<&Listener>,
    wanted: &BTreeMap<Priority, RuleSpec>,
    prune: bool,
    changes: &mut Vec<Command>,
) {
    if let Some(present) = present.filter(|_| prune) {
        for priority in present.rules.keys() {
            if !wanted.contains_key(priority) {
                changes.push(Command::RemoveRule {
                    listener: listener.clone(),
                    priority: *priority,
                    expected: None,
                });
            }
        }
    }
    for (priority, spec) in wanted {
        let there = present.and_then(|present| present.rules.get(priority));
        let (listener, priority, boxed) = (listener.clone(), *priority, || Box::new(spec.clone()));
        match there {
            None => changes.push(Command::AddRule {
                listener,
                priority: Some(priority),
                spec: boxed(),
                expected: None,
            }),
            Some(rule) if rule.spec != *spec => changes.push(Command::UpdateRule {
                listener,
                priority,
                spec: boxed(),
                expected: None,
            }),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
