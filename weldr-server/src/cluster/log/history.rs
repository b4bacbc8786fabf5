//! The history of changes, with the values before each change: for listing and rollback. Pure.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::model::{
    AcmeStep, Applied, Certificate, CertificateName, Command, DesiredState, ListenerName,
    ListenerSpec, Outcome, PoolName, PoolSettings, PrincipalName, Priority, Rejection, Revision,
    Rule, Server, Target, TargetRule, Timestamp, Touched,
};

/// The number of changes that are kept.
const MOST_EVENTS: usize = 1000;
/// The number of values before changes that are kept, of all changes together. The last change is kept whatever it has.
const MOST_VALUES: usize = 200_000;

/// A change of the desired state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The revision after the change.
    pub revision: Revision,
    /// When the change was requested.
    pub at: Timestamp,
    /// Who requested it: `token:NAME`, `certificate:NAME`, `unix:USER`, `anonymous IP`, or the name of a node.
    pub from: String,
    /// What was requested.
    pub what: What,
    /// The values before the change.
    before: Vec<Before>,
}

/// What was requested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "almost all are commands, so a box would only be one more allocation"
)]
pub enum What {
    /// A command.
    Command(Command),
    /// Several commands as one change.
    Apply {
        /// How many.
        changes: usize,
    },
    /// A certificate was added or replaced.
    Certificate {
        /// Its name.
        certificate: CertificateName,
        /// Whether it was added.
        added: bool,
    },
    /// A rollback to an earlier revision.
    Rollback {
        /// The revision.
        to: Revision,
    },
    /// The next epoch of TLS session tickets, without the secret: it is gone for good when it is rotated out.
    RotateTickets {
        /// The number of the epoch.
        epoch: u64,
    },
    /// A change of the ACME account, or what the leader did with it.
    Acme {
        /// What, as a phrase: a chain and sealed secrets are in the state.
        done: String,
        /// The certificate that was issued. What was before is not noted, because it is not brought back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        issued: Option<CertificateName>,
    },
    /// The next epoch of the cookies of sessions, without the secret.
    RotateStickiness {
        /// The number of the epoch.
        epoch: u64,
    },
    /// A restore of a backup.
    Restore {
        /// The revision of the backup.
        of: Revision,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Before {
    Server {
        pool: PoolName,
        address: SocketAddr,
        server: Option<Arc<Server>>,
    },
    Settings {
        pool: PoolName,
        /// `None`: the pool was not there.
        settings: Option<PoolSettings>,
    },
    Listener {
        listener: ListenerName,
        spec: Option<ListenerSpec>,
    },
    Rule {
        listener: ListenerName,
        priority: Priority,
        rule: Option<Arc<Rule>>,
    },
    Certificate {
        name: CertificateName,
        certificate: Option<Arc<Certificate>>,
    },
}

impl What {
    /// A command as the history has it: the changes of an `Apply` are as large as their sender likes, and chains and sealed
    /// secrets are in the state, and before the next change of it.
    pub(in crate::cluster) fn of_command(command: &Command) -> Self {
        match command {
            Command::Apply { changes, .. } => Self::Apply {
                changes: changes.len(),
            },
            Command::AddCertificate { certificate, .. } => Self::Certificate {
                certificate: certificate.clone(),
                added: true,
            },
            Command::UpdateCertificate { certificate, .. } => Self::Certificate {
                certificate: certificate.clone(),
                added: false,
            },
            Command::RotateTickets { after, .. } => Self::RotateTickets {
                epoch: after.saturating_add(1),
            },
            Command::RotateStickiness { after, .. } => Self::RotateStickiness {
                epoch: after.saturating_add(1),
            },
            Command::SetAcmeAccount { .. } => Self::Acme {
                done: "set the ACME account".to_owned(),
                issued: None,
            },
            Command::Acme(step) => Self::Acme {
                done: step.phrase(),
                issued: match &**step {
                    AcmeStep::Issued { certificate, .. } => Some(certificate.clone()),
                    _ => None,
                },
            },
            command => Self::Command(command.clone()),
        }
    }
}

/// The objects that several changes have touched.
#[derive(Debug, Clone, Default)]
pub struct ChangedObjects {
    /// All but principals.
    pub touched: Touched,
    /// Principals.
    pub principals: BTreeSet<PrincipalName>,
}

/// The history cannot say what has changed since a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "after_revision: \"{asked}\" is not accepted: the history of changes has what came after the revisions {oldest} to {newest}; \
     begin anew, without after_revision"
)]
pub struct NotInHistory {
    /// The revision that was asked for.
    pub asked: Revision,
    /// The oldest one that would do.
    pub oldest: Revision,
    /// The newest one.
    pub newest: Revision,
}

/// The last changes, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::cluster) struct History(VecDeque<Event>);

/// The values that a change has changed, as they were before it.
pub(in crate::cluster) struct Draft(Vec<Before>);

impl Draft {
    /// `before` is the state before the change.
    pub(in crate::cluster) fn of(before: &DesiredState, touched: Touched) -> Self {
        let Touched {
            pools,
            servers,
            listeners,
            rules,
            certificates,
        } = touched;
        let servers = servers.into_iter().map(|(pool, address)| Before::Server {
            server: before.server(&pool, address).ok().cloned(),
            pool,
            address,
        });
        let settings = pools.into_iter().map(|pool| Before::Settings {
            settings: before.pool(&pool).ok().map(|pool| pool.settings.clone()),
            pool,
        });
        let listeners = listeners.into_iter().map(|listener| Before::Listener {
            spec: before
                .listener(&listener)
                .ok()
                .map(|there| there.spec.clone()),
            listener,
        });
        let rules = rules.into_iter().map(|(listener, priority)| Before::Rule {
            rule: before.rule(&listener, priority).ok().cloned(),
            listener,
            priority,
        });
        let certificates = certificates.into_iter().map(|name| Before::Certificate {
            certificate: before.certificate(&name).ok().cloned(),
            name,
        });
        Self(
            servers
                .chain(settings)
                .chain(listeners)
                .chain(rules)
                .chain(certificates)
                .collect(),
        )
    }
}

impl History {
    /// Adds a change, unless nothing changed.
    pub(in crate::cluster) fn record(
        &mut self,
        applied: Applied,
        at: Timestamp,
        from: String,
        what: What,
        draft: Draft,
    ) {
        if applied.outcome == Outcome::Unchanged {
            return;
        }
        if self.0.len() >= MOST_EVENTS {
            self.0.pop_front();
        }
        self.0.push_back(Event {
            revision: applied.revision,
            at,
            from,
            what,
            before: draft.0,
        });
        let mut values: usize = self.0.iter().map(|event| event.before.len()).sum();
        while values > MOST_VALUES && self.0.len() > 1 {
            let oldest = self.0.pop_front();
            values -= oldest.map_or(0, |event| event.before.len());
        }
    }

    /// The last `most` changes, the newest first.
    pub(in crate::cluster) fn latest(&self, most: usize) -> Vec<Event> {
        self.0.iter().rev().take(most).cloned().collect()
    }

    /// The oldest revision of which the history has all later changes.
    fn oldest(&self, now: Revision) -> Revision {
        let first = self.0.front();
        first.map_or(now, |event| Revision(event.revision.0 - 1))
    }

    /// The objects that changed after the revision `after`.
    pub(in crate::cluster) fn changed_since(
        &self,
        after: Revision,
        now: Revision,
    ) -> Result<ChangedObjects, NotInHistory> {
        let oldest = self.oldest(now);
        if after < oldest || after > now {
            return Err(NotInHistory {
                asked: after,
                oldest,
                newest: now,
            });
        }
        let mut changed = ChangedObjects::default();
        let later = self.0.iter().rev();
        for event in later.take_while(|event| event.revision > after) {
            for before in &event.before {
                before.add_key_to(&mut changed.touched);
            }
            match &event.what {
                What::Command(
                    Command::CreatePrincipal { name, .. } | Command::RevokePrincipal { name },
                ) => _ = changed.principals.insert(name.clone()),
                What::Acme {
                    issued: Some(name), ..
                } => _ = changed.touched.certificates.insert(name.clone()),
                _ => {}
            }
        }
        Ok(changed)
    }

    /// The values at revision `to` of everything that has changed since.
    pub(in crate::cluster) fn target(
        &self,
        to: Revision,
        now: Revision,
    ) -> Result<Target, Rejection> {
        let oldest = self.oldest(now);
        if to < oldest || to > now {
            let newest = now;
            return Err(Rejection::NoSuchRevision {
                asked: to,
                oldest,
                newest,
            });
        }
        let mut target = Target::default();
        // From the newest to the oldest, so that the value before the first change remains.
        for event in self.0.iter().rev().take_while(|event| event.revision > to) {
            for before in &event.before {
                before.clone().add_to(&mut target);
            }
        }
        Ok(target)
    }
}

impl Before {
    /// Adds the object that was changed.
    fn add_key_to(&self, touched: &mut Touched) {
        match self {
            Self::Server { pool, address, .. } => {
                touched.servers.insert((pool.clone(), *address));
            }
            Self::Settings { pool, .. } => {
                touched.pools.insert(pool.clone());
            }
            Self::Listener { listener, .. } => {
                touched.listeners.insert(listener.clone());
            }
            Self::Rule {
                listener, priority, ..
            } => {
                touched.rules.insert((listener.clone(), *priority));
            }
            Self::Certificate { name, .. } => {
                touched.certificates.insert(name.clone());
            }
        }
    }

    fn add_to(self, target: &mut Target) {
        match self {
            Self::Server {
                pool,
                address,
                server,
            } => {
                let stays = server.filter(|server| server.removal.is_none());
                let spec = stays.map(|server| server.spec.clone());
                target.servers.insert((pool, address), spec);
            }
            Self::Settings { pool, settings } => {
                target.settings.insert(pool, settings);
            }
            Self::Listener { listener, spec } => {
                target.listeners.insert(listener, spec);
            }
            Self::Rule {
                listener,
                priority,
                rule,
            } => {
                let rule = rule.map(|rule| TargetRule {
                    id: Some(rule.id),
                    spec: rule.spec.clone(),
                });
                target.rules.insert((listener, priority), rule);
            }
            Self::Certificate { name, certificate } => {
                let spec = certificate.map(|certificate| Arc::clone(&certificate.spec));
                target.certificates.insert(name, spec);
            }
        }
    }
}
