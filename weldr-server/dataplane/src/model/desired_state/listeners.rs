//! The listeners of the desired state.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{DesiredState, expect_unchanged};
use crate::model::{
    Listener, ListenerName, ListenerPatch, ListenerSpec, Outcome, PoolName, Rejection,
    RemovedListener, Revision, Route, differences,
};

impl DesiredState {
    pub(super) fn add_listener(
        &mut self,
        name: &ListenerName,
        spec: ListenerSpec,
    ) -> Result<Outcome, Rejection> {
        if let Some(present) = self.listeners.get(name) {
            let differences = differences(&present.spec, &spec);
            if differences.is_empty() {
                return Ok(Outcome::Unchanged);
            }
            return Err(Rejection::Present {
                object: format!("listener {name}"),
                differences,
            });
        }
        if self.listeners.size() >= Self::MOST_LISTENERS {
            return Err(Rejection::Full {
                what: "listeners".to_owned(),
                limit: Self::MOST_LISTENERS,
            });
        }
        self.put_listener(name, Listener::new(spec, self.revision.next()));
        Ok(Outcome::Created)
    }

    pub(super) fn update_listener(
        &mut self,
        name: &ListenerName,
        patch: &ListenerPatch,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let present = self.listener(name)?;
        expect_unchanged(expected, present.spec_revision, || {
            format!("listener {name}")
        })?;
        let spec = patch.applied_to(&present.spec);
        if spec == present.spec {
            return Ok(Outcome::Unchanged);
        }
        spec.validate_tls()?;
        let listener = Listener {
            spec,
            spec_revision: self.revision.next(),
            ..Listener::clone(present)
        };
        self.put_listener(name, listener);
        Ok(Outcome::Changed)
    }

    pub(super) fn remove_listener(
        &mut self,
        name: &ListenerName,
        drain_deadline: Duration,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let present = self.listener(name)?;
        let last_change = present.spec_revision.max(present.rules_revision);
        expect_unchanged(expected, last_change, || format!("listener {name}"))?;
        if *name == ListenerName::default() {
            return Err(Rejection::Permanent {
                object: format!("listener {name}"),
            });
        }
        let rules: Vec<_> = present.rules.keys().copied().collect();
        for priority in rules {
            self.touched.rule(name, priority);
        }
        self.touched.listener(name);
        self.listeners.remove_mut(name);
        let removed = RemovedListener {
            revision: self.revision.next(),
            drain_deadline,
        };
        self.removed_listeners.insert_mut(name.clone(), removed);
        self.forget_removed_listeners();
        Ok(Outcome::Removed)
    }

    /// Keeps as many removed listeners as there may be listeners, those that were removed last.
    fn forget_removed_listeners(&mut self) {
        while self.removed_listeners.size() > Self::MOST_LISTENERS {
            let removed = self.removed_listeners.iter();
            let oldest = removed.min_by_key(|(_, removed)| removed.revision);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                return;
            };
            self.removed_listeners.remove_mut(&oldest);
        }
    }

    pub(super) fn put_listener(&mut self, name: &ListenerName, listener: Listener) {
        self.touched.listener(name);
        self.removed_listeners.remove_mut(name);
        self.listeners.insert_mut(name.clone(), Arc::new(listener));
    }

    /// Refuses a route that names a pool that does not exist. `object` says whose route it is.
    pub(super) fn expect_pools(
        &self,
        route: &Route,
        object: impl FnOnce() -> String,
    ) -> Result<(), Rejection> {
        let missing = route.pools().find(|pool| !self.pools.contains_key(*pool));
        match missing {
            Some(pool) => Err(Rejection::MissingPool {
                pool: PoolName::clone(pool),
                object: object(),
            }),
            None => Ok(()),
        }
    }

    /// Refuses an address that a listener other than `name` has.
    pub(super) fn expect_free(
        &self,
        address: SocketAddr,
        name: &ListenerName,
    ) -> Result<(), Rejection> {
        let mut others = self.listeners.iter().filter(|(other, _)| *other != name);
        let at_address = others.find(|(_, other)| other.spec.address == Some(address));
        match at_address {
            Some((listener, _)) => Err(Rejection::AddressTaken {
                address,
                listener: listener.clone(),
            }),
            None => Ok(()),
        }
    }
}
