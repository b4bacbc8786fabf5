//! The desired state, and the one function that changes it. One file for each kind of object.

mod acme;
mod batch;
mod certificates;
mod epochs;
mod listeners;
mod pools;
mod principals;
mod restore;
mod rules;
mod servers;
mod touched;

use std::{net::SocketAddr, sync::Arc};

use rpds::RedBlackTreeMapSync;

pub use touched::Touched;

use super::{
    Acme, Applied, Certificate, CertificateName, Command, Listener, ListenerName, ListenerSpec,
    Outcome, Pool, PoolName, PoolSettings, Principal, Principals, Priority, Rejection,
    RemovedListener, Revision, Rule, SecretEpochs, SecretSeries, Server,
};

/// All pools and listeners, at one revision. Cloning it is cheap: versions share what they have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredState {
    /// The number of changes so far.
    pub revision: Revision,
    /// The pools by name.
    pub pools: RedBlackTreeMapSync<PoolName, Pool>,
    /// The listeners by name.
    pub listeners: RedBlackTreeMapSync<ListenerName, Arc<Listener>>,
    /// The certificates by name.
    pub certificates: RedBlackTreeMapSync<CertificateName, Arc<Certificate>>,
    /// Who may call the management API. A rollback or restore leaves it alone, so that neither brings a revoked token back.
    pub principals: Principals,
    /// The listeners that were removed last and have not come back.
    pub removed_listeners: RedBlackTreeMapSync<ListenerName, RemovedListener>,
    /// The epochs of TLS session tickets, with their secrets. A rollback leaves them alone, so that it brings back none that was rotated out.
    pub ticket_epochs: Arc<SecretEpochs>,
    /// The same of the cookies of sessions that stick to a server.
    pub stickiness_epochs: Arc<SecretEpochs>,
    /// The account for ACME, and how far its certificates are. A rollback leaves it alone: what an authority knows stays so.
    pub acme: Acme,
    /// The last id of an object, if it is beyond `revision`: one change may add several.
    pub last_id: u64,
    touched: Touched,
}

impl DesiredState {
    /// How many servers a pool may hold; bounds the memory that a client of the management API can use.
    pub const MOST_SERVERS: usize = 100_000;
    /// How many principals there may be.
    pub const MOST_PRINCIPALS: usize = 1000;
    /// How many pools there may be.
    pub const MOST_POOLS: usize = 10_000;
    /// How many listeners there may be.
    pub const MOST_LISTENERS: usize = 256;
    /// How many rules all listeners together may have.
    pub const MOST_RULES: usize = 50_000;
    /// How many certificates there may be.
    pub const MOST_CERTIFICATES: usize = 100_000;

    /// The state before the first change: the default pool, with `settings` and no server, and the default listener, which
    /// forwards to it.
    pub fn new(settings: PoolSettings) -> Self {
        let mut pools = RedBlackTreeMapSync::new_sync();
        pools.insert_mut(PoolName::default(), Pool::new(settings));
        Self {
            revision: Revision::default(),
            pools,
            listeners: Self::default_listener(),
            certificates: RedBlackTreeMapSync::new_sync(),
            principals: Principals::default(),
            removed_listeners: RedBlackTreeMapSync::new_sync(),
            ticket_epochs: Arc::default(),
            acme: Acme::default(),
            stickiness_epochs: Arc::default(),
            last_id: 0,
            touched: Touched::default(),
        }
    }

    /// The listeners of a state of a version that had none: the default one.
    pub fn default_listener() -> RedBlackTreeMapSync<ListenerName, Arc<Listener>> {
        let listener = Listener::new(ListenerSpec::default(), Revision::default());
        let mut listeners = RedBlackTreeMapSync::new_sync();
        listeners.insert_mut(ListenerName::default(), Arc::new(listener));
        listeners
    }

    /// The pool of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn pool(&self, name: &PoolName) -> Result<&Pool, Rejection> {
        let missing = || Rejection::NoSuchPool { pool: name.clone() };
        self.pools.get(name).ok_or_else(missing)
    }

    /// The server at `address`.
    ///
    /// # Errors
    /// There is none.
    pub fn server(&self, pool: &PoolName, address: SocketAddr) -> Result<&Arc<Server>, Rejection> {
        let missing = || Rejection::NoSuchServer {
            pool: pool.clone(),
            address,
        };
        self.pool(pool)?.servers.get(&address).ok_or_else(missing)
    }

    /// The listener of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn listener(&self, name: &ListenerName) -> Result<&Arc<Listener>, Rejection> {
        let missing = || Rejection::NoSuchListener {
            listener: name.clone(),
        };
        self.listeners.get(name).ok_or_else(missing)
    }

    /// The rule with that number.
    ///
    /// # Errors
    /// There is none.
    pub fn rule(&self, name: &ListenerName, priority: Priority) -> Result<&Arc<Rule>, Rejection> {
        let missing = || Rejection::NoSuchRule {
            listener: name.clone(),
            priority,
        };
        self.listener(name)?
            .rules
            .get(&priority)
            .ok_or_else(missing)
    }

    /// What the last change touched.
    pub fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// Applies `command`. The same commands in the same order make the same state on every node: no clock, randomness or
    /// I/O is used. A command that is refused, or that requires no change, changes nothing, not even the revision.
    ///
    /// # Errors
    /// Refuses a command with a value out of its range ([`Command::validate`]), and one that the state does not allow.
    pub fn apply(&mut self, command: Command) -> Result<Applied, Rejection> {
        command.validate()?;
        self.apply_earlier(command)
    }

    /// Applies a command of a log that was written before values were validated here. It was accepted then, and a node
    /// that has a snapshot made after it has it applied, so a node that replays it must apply it as well.
    ///
    /// # Errors
    /// Refuses a command that the state does not allow.
    pub fn apply_earlier(&mut self, command: Command) -> Result<Applied, Rejection> {
        self.begin_change();
        let outcome = match command {
            Command::Apply {
                changes,
                expected,
                force,
            } => self.apply_all(changes, expected, force)?,
            command => {
                self.expect_references(&command)?;
                let removed = match &command {
                    Command::RemovePool { pool, .. } => [pool.clone()].into(),
                    _ => std::collections::BTreeSet::new(),
                };
                let outcome = self.change(command)?;
                self.release(&removed);
                outcome
            }
        };
        self.count(outcome);
        Ok(Applied {
            revision: self.revision,
            outcome,
        })
    }

    fn begin_change(&mut self) {
        self.touched = Touched::default();
    }

    /// Counts a change as the next revision.
    fn count(&mut self, outcome: Outcome) {
        if outcome != Outcome::Unchanged {
            self.revision = self.revision.next();
        }
        if self.last_id <= self.revision.0 {
            self.last_id = 0;
        }
    }

    /// An id that no object has had.
    fn new_id(&self) -> u64 {
        self.revision.next().0.max(self.last_id + 1)
    }

    /// Refuses a single change that would leave a route without one of its pools, two listeners at one address, or anything
    /// without a certificate that it names.
    fn expect_references(&self, command: &Command) -> Result<(), Rejection> {
        self.expect_named_certificates(command)?;
        match command {
            Command::RemovePool {
                pool, force: false, ..
            } => {
                self.pool(pool)?;
                // Why the default one cannot be removed is said by the removal.
                if *pool == PoolName::default() {
                    return Ok(());
                }
                self.expect_unused(&[pool.clone()].into())
            }
            Command::AddListener { listener, spec } => {
                self.expect_pools(&spec.default_route, || {
                    format!("the default action of listener {listener}")
                })?;
                spec.address
                    .map_or(Ok(()), |address| self.expect_free(address, listener))
            }
            Command::UpdateListener {
                listener, patch, ..
            } => {
                if let Some(route) = &patch.default_route {
                    self.expect_pools(route, || {
                        format!("the default action of listener {listener}")
                    })?;
                }
                patch
                    .address
                    .map_or(Ok(()), |address| self.expect_free(address, listener))
            }
            Command::AddRule {
                listener,
                priority,
                spec,
                ..
            } => self.expect_pools(&spec.route, || match priority {
                Some(priority) => format!("rule {priority} of listener {listener}"),
                None => format!("a rule of listener {listener}"),
            }),
            Command::UpdateRule {
                listener,
                priority,
                spec,
                ..
            } => self.expect_pools(&spec.route, || {
                format!("rule {priority} of listener {listener}")
            }),
            _ => Ok(()),
        }
    }

    /// Refuses a single change after which a certificate is named that does not exist.
    fn expect_named_certificates(&self, command: &Command) -> Result<(), Rejection> {
        match command {
            Command::AddPool { pool, settings } => {
                self.expect_client_certificate(settings, || format!("pool {pool}"))
            }
            Command::UpdatePool { pool, patch, .. } => {
                let named = patch.tls.client_certificate.as_ref();
                let named = named.and_then(Option::as_ref);
                self.expect_certificates(named, || format!("pool {pool}"))
            }
            Command::AddListener { listener, spec } => {
                self.expect_certificates(&spec.certificates, || format!("listener {listener}"))
            }
            Command::UpdateListener {
                listener, patch, ..
            } => {
                let named = patch.certificates.iter().flatten();
                self.expect_certificates(named, || format!("listener {listener}"))
            }
            Command::RemoveCertificate { certificate, .. } => {
                self.certificate(certificate)?;
                self.expect_certificates_unused(&[certificate.clone()].into())
            }
            Command::AddCertificate { spec, .. } | Command::UpdateCertificate { spec, .. } => {
                self.expect_acme_account(spec)
            }
            _ => Ok(()),
        }
    }

    /// Makes one change, without a new revision, and without a look at what objects need of others.
    fn change(&mut self, command: Command) -> Result<Outcome, Rejection> {
        match command {
            Command::AddServer {
                pool,
                address,
                spec,
                expected,
                at,
            } => self.add_server(&pool, address, spec, expected, at),
            Command::UpdateServer {
                pool,
                address,
                patch,
                expected,
                at,
            } => self.update_server(&pool, address, patch, expected, at),
            Command::BeginRemoval {
                pool,
                address,
                id,
                deadline,
                expected,
                at,
            } => {
                self.expect_server_unchanged(&pool, address, expected)?;
                self.begin_removal(&pool, address, id, deadline, at)
            }
            Command::EndRemoval { pool, address, id } => Ok(self.end_removal(&pool, address, id)),
            Command::AddPool { pool, settings } => self.add_pool(&pool, *settings),
            Command::UpdatePool {
                pool,
                patch,
                expected,
            } => self.update_pool(&pool, &patch, expected),
            Command::RemovePool { pool, expected, .. } => self.remove_pool(&pool, expected),
            Command::CreatePrincipal {
                name,
                role,
                pools,
                credential,
                at,
            } => {
                let principal = Principal {
                    role,
                    pools,
                    credential,
                    created_at: at,
                    revision: self.revision.next(),
                };
                self.create_principal(name, principal)
            }
            Command::RevokePrincipal { name } => self.revoke_principal(name),
            Command::RotateTickets { after, secret } => {
                Ok(self.rotate_secret(SecretSeries::Tickets, after, secret))
            }
            Command::RotateStickiness { after, secret } => {
                Ok(self.rotate_secret(SecretSeries::Stickiness, after, secret))
            }
            Command::SetAcmeAccount { settings, expected } => {
                self.set_acme_account(*settings, expected)
            }
            Command::RemoveAcmeAccount { expected } => self.remove_acme_account(expected),
            Command::Acme(step) => Ok(self.note_acme(*step)),
            routing => self.change_routing(routing),
        }
    }

    /// Makes one change of a listener, a rule or a certificate.
    fn change_routing(&mut self, command: Command) -> Result<Outcome, Rejection> {
        match command {
            Command::AddListener { listener, spec } => self.add_listener(&listener, *spec),
            Command::UpdateListener {
                listener,
                patch,
                expected,
            } => self.update_listener(&listener, &patch, expected),
            Command::RemoveListener {
                listener,
                drain_deadline,
                expected,
            } => self.remove_listener(&listener, drain_deadline, expected),
            Command::AddRule {
                listener,
                priority,
                spec,
                expected,
            } => self.add_rule(&listener, priority, *spec, expected),
            Command::UpdateRule {
                listener,
                priority,
                spec,
                expected,
            } => self.update_rule(&listener, priority, *spec, expected),
            Command::RemoveRule {
                listener,
                priority,
                expected,
            } => self.remove_rule(&listener, priority, expected),
            Command::MoveRule {
                listener,
                from,
                to,
                expected,
            } => self.move_rule(&listener, from, to, expected),
            Command::AddCertificate { certificate, spec } => {
                self.add_certificate(&certificate, *spec)
            }
            Command::UpdateCertificate {
                certificate,
                spec,
                expected,
            } => self.update_certificate(&certificate, *spec, expected),
            Command::RemoveCertificate {
                certificate,
                expected,
            } => self.remove_certificate(&certificate, expected),
            Command::RenewCertificate {
                certificate,
                at,
                expected,
            } => self.renew_certificate(&certificate, at, expected),
            // A change of many changes is no part of another: `Command::validate` refuses it. All others are made by `change`.
            _ => Ok(Outcome::Unchanged),
        }
    }
}

/// Of many phrases the first ones, and how many more there are.
fn first_of(mut phrases: Vec<String>) -> Vec<String> {
    /// How many are named.
    const NAMED: usize = 5;
    let more = phrases.len().saturating_sub(NAMED);
    if more > 0 {
        phrases.truncate(NAMED);
        phrases.push(format!("{more} more"));
    }
    phrases
}

fn expect_unchanged(
    expected: Option<Revision>,
    actual: Revision,
    object: impl FnOnce() -> String,
) -> Result<(), Rejection> {
    match expected {
        Some(expected) if actual > expected => Err(Rejection::Changed {
            object: object(),
            expected,
            actual,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
