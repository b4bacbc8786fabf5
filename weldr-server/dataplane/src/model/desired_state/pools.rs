//! The pools of the desired state.

use std::collections::BTreeSet;

use super::{DesiredState, expect_unchanged, first_of};
use crate::model::{
    Outcome, Pool, PoolName, PoolPatch, PoolSettings, Rejection, Revision, differences,
};

impl DesiredState {
    pub(super) fn add_pool(
        &mut self,
        name: &PoolName,
        settings: PoolSettings,
    ) -> Result<Outcome, Rejection> {
        if let Some(present) = self.pools.get(name) {
            let differences = differences(&present.settings, &settings);
            if differences.is_empty() {
                return Ok(Outcome::Unchanged);
            }
            return Err(Rejection::Present {
                object: format!("pool {name}"),
                differences,
            });
        }
        if self.pools.size() >= Self::MOST_POOLS {
            return Err(Rejection::Full {
                what: "pools".to_owned(),
                limit: Self::MOST_POOLS,
            });
        }
        let revision = self.revision.next();
        let pool = Pool {
            settings_revision: revision,
            servers_revision: revision,
            ..Pool::new(settings)
        };
        self.touched.pool(name);
        self.pools.insert_mut(name.clone(), pool);
        Ok(Outcome::Created)
    }

    pub(super) fn update_pool(
        &mut self,
        name: &PoolName,
        patch: &PoolPatch,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let pool = self.pool(name)?;
        expect_unchanged(expected, pool.settings_revision, || {
            format!("the settings of pool {name}")
        })?;
        let settings = patch.applied_to(&pool.settings);
        if settings == pool.settings {
            return Ok(Outcome::Unchanged);
        }
        settings.validate_together()?;
        self.set_settings(name, settings);
        Ok(Outcome::Changed)
    }

    pub(super) fn set_settings(&mut self, name: &PoolName, settings: PoolSettings) {
        let revision = self.revision.next();
        self.touched.pool(name);
        if let Some(pool) = self.pools.get_mut(name) {
            pool.settings = settings;
            pool.settings_revision = revision;
        }
    }

    /// Removes a pool with its servers. Whether a route names it is another question.
    pub(super) fn remove_pool(
        &mut self,
        name: &PoolName,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let pool = self.pool(name)?;
        let last_change = pool.settings_revision.max(pool.servers_revision);
        expect_unchanged(expected, last_change, || format!("pool {name}"))?;
        if *name == PoolName::default() {
            return Err(Rejection::Permanent {
                object: format!("pool {name}"),
            });
        }
        let addresses: Vec<_> = pool.servers.keys().copied().collect();
        for address in addresses {
            self.touched.server(name, address);
        }
        self.touched.pool(name);
        self.pools.remove_mut(name);
        Ok(Outcome::Removed)
    }

    /// Refuses to go on without `pools` while routes name them.
    pub(super) fn expect_unused(&self, pools: &BTreeSet<PoolName>) -> Result<(), Rejection> {
        for pool in pools {
            let by = self.users_of(pool);
            if !by.is_empty() {
                let pool = pool.clone();
                return Err(Rejection::InUse { pool, by });
            }
        }
        Ok(())
    }

    /// The routes that name a pool, as phrases: `rule 10 of listener web`. Of many, the first ones and their number.
    pub fn users_of(&self, pool: &PoolName) -> Vec<String> {
        let mut users = Vec::new();
        for (name, listener) in &self.listeners {
            if listener.spec.default_route.pools().any(|used| used == pool) {
                users.push(format!("the default action of listener {name}"));
            }
            for (priority, rule) in &listener.rules {
                if rule.spec.route.pools().any(|used| used == pool) {
                    users.push(format!("rule {priority} of listener {name}"));
                }
            }
        }
        first_of(users)
    }
}
