//! Brings objects back to what they were: in an earlier revision, or in a backup.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use super::DesiredState;
use crate::model::{
    Applied, CertificateName, CertificateSpec, Command, Listener, ListenerName, ListenerSpec,
    Outcome, Pool, PoolName, PoolSettings, Priority, Rejection, Rule, RuleId, SecretSeries,
    ServerPatch, ServerSpec, Target, TargetRule, Timestamp,
};

/// How long the connections of a listener may go on that is removed by a rollback or a restore.
const DRAIN_DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);

impl DesiredState {
    /// Restores what `target` names, in as many revisions as needed. A server that is restored gets a new id; a server that
    /// `target` does not contain is removed as by a command, except with its pool, which is removed at once. If any part is
    /// refused, nothing changes.
    ///
    /// # Errors
    /// Refuses a target with a value out of its range ([`Target::validate`]), and one that the state does not allow.
    pub fn bring_back(&mut self, target: Target, at: Timestamp) -> Result<Applied, Rejection> {
        target.validate()?;
        self.bring_back_earlier(target, at)
    }

    /// Restores a target of a log that was written before values were validated here, as
    /// [`apply_earlier`](Self::apply_earlier) does.
    ///
    /// # Errors
    /// Refuses a target that the state does not allow.
    pub fn bring_back_earlier(
        &mut self,
        target: Target,
        at: Timestamp,
    ) -> Result<Applied, Rejection> {
        let mut after = self.clone();
        after.begin_change();
        let Target {
            servers,
            settings,
            listeners,
            certificates,
            rules,
            ticket_epochs,
            acme_account,
            stickiness_epochs,
        } = target;
        let removed_certificates = after.bring_back_certificates(certificates)?;
        let mut removed_pools = BTreeSet::new();
        for (pool, settings) in settings {
            match settings {
                Some(settings) => after.bring_back_pool(&pool, settings)?,
                None => _ = removed_pools.insert(pool),
            }
        }
        for ((pool, address), spec) in servers {
            if removed_pools.contains(&pool) {
                continue;
            }
            if let Some(command) = after.command_to(&pool, address, spec, at) {
                let outcome = after.change(command)?;
                after.count(outcome);
            }
        }
        let mut removed_listeners = Vec::new();
        for (name, spec) in listeners {
            match spec {
                Some(spec) => after.bring_back_listener(&name, spec)?,
                None => removed_listeners.push(name),
            }
        }
        for ((listener, priority), rule) in rules {
            after.bring_back_rule(&listener, priority, rule)?;
        }
        for name in removed_listeners {
            if after.listeners.contains_key(&name) {
                let outcome = after.remove_listener(&name, DRAIN_DEADLINE, None)?;
                after.count(outcome);
            }
        }
        removed_pools.retain(|pool| after.pools.contains_key(pool));
        for pool in &removed_pools {
            let outcome = after.remove_pool(pool, None)?;
            after.count(outcome);
        }
        removed_certificates
            .iter()
            .try_for_each(|name| after.bring_back_absence(name))?;
        after.bring_back_secrets(SecretSeries::Tickets, ticket_epochs);
        after.bring_back_secrets(SecretSeries::Stickiness, stickiness_epochs);
        after.bring_back_acme(acme_account);
        after.expect_unused(&removed_pools)?;
        after.expect_consistent()?;
        let outcome = if after.revision == self.revision {
            Outcome::Unchanged
        } else {
            Outcome::Changed
        };
        *self = after;
        Ok(Applied {
            revision: self.revision,
            outcome,
        })
    }

    /// Brings back the certificates that were there, and returns the others: they go when nothing names them any more.
    fn bring_back_certificates(
        &mut self,
        certificates: BTreeMap<CertificateName, Option<Arc<CertificateSpec>>>,
    ) -> Result<Vec<CertificateName>, Rejection> {
        let mut removed = Vec::new();
        for (name, spec) in certificates {
            match spec {
                Some(spec) => self.bring_back_certificate(&name, spec)?,
                None => removed.push(name),
            }
        }
        Ok(removed)
    }

    /// The same certificate stays as it is: its key may have been sealed anew since, because the other key was replaced.
    fn bring_back_certificate(
        &mut self,
        name: &CertificateName,
        spec: Arc<CertificateSpec>,
    ) -> Result<(), Rejection> {
        let outcome = match self.certificates.get(name) {
            Some(present) if present.spec.is_same(&spec) => Outcome::Unchanged,
            Some(_) => {
                self.put_certificate(name, spec);
                Outcome::Changed
            }
            None => self.add_certificate(name, CertificateSpec::clone(&spec))?,
        };
        self.count(outcome);
        Ok(())
    }

    fn bring_back_absence(&mut self, name: &CertificateName) -> Result<(), Rejection> {
        if self.certificates.contains_key(name) {
            let outcome = self.remove_certificate(name, None)?;
            self.count(outcome);
        }
        Ok(())
    }

    fn bring_back_pool(
        &mut self,
        name: &PoolName,
        settings: PoolSettings,
    ) -> Result<(), Rejection> {
        let outcome = match self.pools.get(name) {
            Some(Pool {
                settings: present, ..
            }) if *present == settings => Outcome::Unchanged,
            Some(_) => {
                self.set_settings(name, settings);
                Outcome::Changed
            }
            None => self.add_pool(name, settings)?,
        };
        self.count(outcome);
        Ok(())
    }

    fn bring_back_listener(
        &mut self,
        name: &ListenerName,
        spec: ListenerSpec,
    ) -> Result<(), Rejection> {
        let outcome = match self.listeners.get(name) {
            Some(present) if present.spec == spec => Outcome::Unchanged,
            Some(present) => {
                let listener = Listener {
                    spec,
                    spec_revision: self.revision.next(),
                    ..Listener::clone(present)
                };
                self.put_listener(name, listener);
                Outcome::Changed
            }
            None => self.add_listener(name, spec)?,
        };
        self.count(outcome);
        Ok(())
    }

    /// Puts a rule at a place, or empties it. A rule that was removed comes back with its id, unless that is not known.
    fn bring_back_rule(
        &mut self,
        listener: &ListenerName,
        priority: Priority,
        rule: Option<TargetRule>,
    ) -> Result<(), Rejection> {
        let present = self.rule(listener, priority).ok();
        let id = present.map(|present| present.id);
        let Some(TargetRule { id: earlier, spec }) = rule else {
            if id.is_some() {
                self.take_rule(listener, priority);
                self.count(Outcome::Removed);
            }
            return Ok(());
        };
        let asked = earlier.or(id);
        if present.is_some_and(|present| present.spec == spec && Some(present.id) == asked) {
            return Ok(());
        }
        self.listener(listener)?;
        let rule = Rule {
            id: asked.unwrap_or_else(|| RuleId(self.new_id())),
            priority,
            spec,
            revision: self.revision.next(),
        };
        self.put_rule(listener, rule);
        self.count(Outcome::Changed);
        Ok(())
    }

    /// The command that gives a server the settings of `spec`, or removes it.
    fn command_to(
        &self,
        pool: &PoolName,
        address: SocketAddr,
        spec: Option<ServerSpec>,
        at: Timestamp,
    ) -> Option<Command> {
        let present = self.server(pool, address).ok();
        let stays = present.filter(|present| present.removal.is_none());
        let pool = pool.clone();
        match (spec, stays) {
            (None, None) => None,
            (None, Some(_)) => Some(Command::BeginRemoval {
                pool,
                address,
                id: None,
                deadline: None,
                expected: None,
                at,
            }),
            (Some(spec), None) => Some(Command::AddServer {
                pool,
                address,
                spec,
                expected: None,
                at,
            }),
            (Some(spec), Some(_)) => Some(Command::UpdateServer {
                pool,
                address,
                patch: ServerPatch {
                    weight: Some(spec.weight),
                    admin: Some(spec.admin),
                    check: Some(spec.check),
                },
                expected: None,
                at,
            }),
        }
    }
}
