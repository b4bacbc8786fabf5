//! Many changes as one, and what must hold after them.

use std::collections::{BTreeMap, BTreeSet};

use super::{DesiredState, expect_unchanged};
use crate::model::{
    Action, Command, FixedResponse, ListenerPatch, Outcome, PoolName, Rejection, Revision, Route,
    Rule,
};

impl DesiredState {
    /// Makes all `changes` or none. What an object needs of others must hold after the last change, in whatever order they
    /// are.
    pub(super) fn apply_all(
        &mut self,
        changes: Vec<Command>,
        expected: Option<Revision>,
        force: bool,
    ) -> Result<Outcome, Rejection> {
        expect_unchanged(expected, self.revision, || "the desired state".to_owned())?;
        let mut after = self.clone();
        let mut outcome = Outcome::Unchanged;
        for command in changes {
            if after.change(command)? != Outcome::Unchanged {
                outcome = Outcome::Changed;
            }
        }
        // A route of these changes must have its pools, also if the change is forced.
        after.expect_consistent()?;
        let removed = after.removed_pools(self);
        if force {
            after.release(&removed);
        } else {
            after.expect_unused(&removed)?;
            after.expect_servers(self)?;
        }
        *self = after;
        Ok(outcome)
    }

    fn removed_pools(&self, before: &Self) -> BTreeSet<PoolName> {
        let touched = self.touched.pools.iter();
        let removed = touched
            .filter(|pool| before.pools.contains_key(*pool) && !self.pools.contains_key(*pool));
        removed.cloned().collect()
    }

    /// Refuses to leave a pool without a server for requests that had one `before` and that a route names. One of weight 0,
    /// or that is drained or in maintenance, is none.
    fn expect_servers(&self, before: &Self) -> Result<(), Rejection> {
        let serves = |state: &Self, name: &PoolName| {
            let pool = state.pools.get(name)?;
            let mut servers = pool.servers.values();
            Some(servers.any(|server| server.wants_requests()))
        };
        let touched: BTreeSet<_> = self.touched.servers.iter().map(|(pool, _)| pool).collect();
        for pool in touched {
            if serves(before, pool) != Some(true) || serves(self, pool) != Some(false) {
                continue;
            }
            let by = self.users_of(pool);
            if !by.is_empty() {
                let pool = pool.clone();
                return Err(Rejection::WouldBeEmpty { pool, by });
            }
        }
        Ok(())
    }

    /// Refuses routes that were touched and name a pool that does not exist, two listeners at one address, and whatever was
    /// touched or not and names a certificate that does not exist.
    pub(super) fn expect_consistent(&self) -> Result<(), Rejection> {
        let certificates = self.touched.certificates.iter();
        let removed = certificates.filter(|name| !self.certificates.contains_key(*name));
        self.expect_certificates_unused(&removed.cloned().collect())?;
        for name in &self.touched.pools {
            if let Ok(pool) = self.pool(name) {
                self.expect_client_certificate(&pool.settings, || format!("pool {name}"))?;
            }
        }
        for (listener, priority) in &self.touched.rules {
            if let Ok(rule) = self.rule(listener, *priority) {
                self.expect_pools(&rule.spec.route, || {
                    format!("rule {priority} of listener {listener}")
                })?;
            }
        }
        for name in &self.touched.listeners {
            let Ok(listener) = self.listener(name) else {
                continue;
            };
            self.expect_pools(&listener.spec.default_route, || {
                format!("the default action of listener {name}")
            })?;
            let certificates = &listener.spec.certificates;
            self.expect_certificates(certificates, || format!("listener {name}"))?;
            if let Some(address) = listener.spec.address {
                self.expect_free(address, name)?;
            }
        }
        Ok(())
    }

    /// Takes `pools`, which were removed, out of the routes that name them. A route that is left without a pool responds
    /// 503.
    pub(super) fn release(&mut self, pools: &BTreeSet<PoolName>) {
        if pools.is_empty() {
            return;
        }
        let is_affected = |route: &Route| route.pools().any(|pool| pools.contains(pool));
        let mut default_routes = BTreeMap::new();
        let mut rules = Vec::new();
        for (name, listener) in &self.listeners {
            if is_affected(&listener.spec.default_route) {
                default_routes.insert(name.clone(), without(&listener.spec.default_route, pools));
            }
            let affected = listener.rules.values();
            let affected = affected.filter(|rule| is_affected(&rule.spec.route));
            rules.extend(affected.map(|rule| (name.clone(), Rule::clone(rule))));
        }
        for (name, route) in default_routes {
            let patch = ListenerPatch {
                default_route: Some(route),
                ..ListenerPatch::default()
            };
            // The listener is there, and no revision is expected of it.
            let _ = self.update_listener(&name, &patch, None);
        }
        for (name, mut rule) in rules {
            rule.spec.route = without(&rule.spec.route, pools);
            rule.revision = self.revision.next();
            self.put_rule(&name, rule);
        }
    }
}

/// The route without `pools`.
fn without(route: &Route, pools: &BTreeSet<PoolName>) -> Route {
    let Action::Forward(forward) = &route.action else {
        return route.clone();
    };
    let mut left = forward.clone();
    left.retain(|weighted| !pools.contains(&weighted.pool));
    let action = if left.iter().all(|weighted| weighted.weight == 0) {
        Action::Respond(FixedResponse {
            status: 503,
            content_type: "text/plain".to_owned(),
            body: "the pool of this route was removed\n".to_owned(),
        })
    } else {
        Action::Forward(left)
    };
    Route {
        action,
        changes: route.changes.clone(),
    }
}
