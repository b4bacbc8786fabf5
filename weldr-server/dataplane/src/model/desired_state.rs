//! The desired state, and the one function that changes it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use rpds::RedBlackTreeMapSync;

use super::{
    Applied, Command, Listener, ListenerName, ListenerSpec, Outcome, Pool, PoolName, PoolPatch,
    PoolSettings, Principal, PrincipalName, Principals, Rejection, Removal, Revision, Server,
    ServerId, ServerPatch, ServerSetting, ServerSpec, Target, Timestamp,
};

/// All pools and listeners, at one revision. Cloning it is cheap: versions share what they have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredState {
    /// The number of changes so far.
    pub revision: Revision,
    /// The pools by name.
    pub pools: BTreeMap<PoolName, Pool>,
    /// The listeners by name.
    pub listeners: RedBlackTreeMapSync<ListenerName, Arc<Listener>>,
    /// Who may call the management API. A rollback or restore leaves it alone, so that neither brings a revoked token back.
    pub principals: Principals,
}

impl DesiredState {
    /// How many servers a pool may hold; bounds the memory that a client of the management API can use.
    pub const MOST_SERVERS: usize = 100_000;
    /// How many principals there may be.
    pub const MOST_PRINCIPALS: usize = 1000;

    /// The state before the first change: the default pool, with `settings` and no server, and the default listener, which
    /// forwards to it.
    pub fn new(settings: PoolSettings) -> Self {
        Self {
            revision: Revision::default(),
            pools: BTreeMap::from([(PoolName::default(), Pool::new(settings))]),
            listeners: Self::default_listener(),
            principals: Principals::default(),
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
    pub fn pool(&self, name: &PoolName) -> Result<&Pool, Rejection> {
        let missing = || Rejection::NoSuchPool { pool: name.clone() };
        self.pools.get(name).ok_or_else(missing)
    }

    /// The server at `address`.
    pub fn server(&self, pool: &PoolName, address: SocketAddr) -> Result<&Arc<Server>, Rejection> {
        let missing = || Rejection::NoSuchServer {
            pool: pool.clone(),
            address,
        };
        self.pool(pool)?.servers.get(&address).ok_or_else(missing)
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
        let outcome = match command {
            Command::AddServer {
                pool,
                address,
                spec,
                expected,
                at,
            } => self.add_server(&pool, address, spec, expected, at)?,
            Command::UpdateServer {
                pool,
                address,
                patch,
                expected,
                at,
            } => self.update_server(&pool, address, patch, expected, at)?,
            Command::BeginRemoval {
                pool,
                address,
                id,
                deadline,
                expected,
                at,
            } => {
                self.expect_server_unchanged(&pool, address, expected)?;
                self.begin_removal(&pool, address, id, deadline, at)?
            }
            Command::EndRemoval { pool, address, id } => self.end_removal(&pool, address, id),
            Command::UpdatePool {
                pool,
                patch,
                expected,
            } => self.update_pool(&pool, &patch, expected)?,
            Command::CreatePrincipal {
                name,
                role,
                pools,
                credential,
                at,
            } => {
                let revision = self.revision.next();
                let principal = Principal {
                    role,
                    pools,
                    credential,
                    created_at: at,
                    revision,
                };
                self.create_principal(name, principal)?
            }
            Command::RevokePrincipal { name } => self.revoke_principal(name)?,
        };
        if outcome != Outcome::Unchanged {
            self.revision = self.revision.next();
        }
        Ok(Applied {
            revision: self.revision,
            outcome,
        })
    }

    /// Restores the servers and pool settings of `target`, in as many revisions as needed. A server that is restored gets a
    /// new id; a server that `target` does not contain is removed as by a command. If any part is refused, nothing
    /// changes.
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
        for (pool, settings) in target.settings {
            after.set_settings(&pool, settings);
        }
        for ((pool, address), spec) in target.servers {
            if let Some(command) = self.command_to(&pool, address, spec, at) {
                after.apply_earlier(command)?;
            }
        }
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

    fn set_settings(&mut self, pool: &PoolName, settings: PoolSettings) {
        let revision = self.revision.next();
        if let Some(pool) = self.pools.get_mut(pool)
            && pool.settings != settings
        {
            pool.settings = settings;
            pool.settings_revision = revision;
            self.revision = revision;
        }
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

    fn add_server(
        &mut self,
        pool_name: &PoolName,
        address: SocketAddr,
        spec: ServerSpec,
        expected: Option<Revision>,
        at: Timestamp,
    ) -> Result<Outcome, Rejection> {
        let pool = self.pool(pool_name)?;
        expect_unchanged(expected, pool.servers_revision, || {
            format!("the set of servers of pool {pool_name}")
        })?;
        let revision = self.revision.next();
        let server = match pool.servers.get(&address) {
            Some(present) if present.removal.is_some() => Server {
                spec,
                removal: None,
                intent_since: at,
                revision,
                ..Server::clone(present)
            },
            Some(present) => {
                let differences = differences(&present.spec, &spec);
                if differences.is_empty() {
                    return Ok(Outcome::Unchanged);
                }
                return Err(Rejection::Exists {
                    address,
                    differences,
                });
            }
            None if pool.servers.size() >= Self::MOST_SERVERS => {
                let (pool, limit) = (pool_name.clone(), Self::MOST_SERVERS);
                return Err(Rejection::PoolFull { pool, limit });
            }
            None => Server {
                id: ServerId(revision.0),
                address,
                spec,
                removal: None,
                added_at: at,
                intent_since: at,
                revision,
            },
        };
        self.put(pool_name, server);
        Ok(Outcome::Created)
    }

    fn update_server(
        &mut self,
        pool: &PoolName,
        address: SocketAddr,
        patch: ServerPatch,
        expected: Option<Revision>,
        at: Timestamp,
    ) -> Result<Outcome, Rejection> {
        self.expect_server_unchanged(pool, address, expected)?;
        let present = self.server(pool, address)?;
        let spec = patch.applied_to(&present.spec);
        if spec == present.spec {
            return Ok(Outcome::Unchanged);
        }
        let mut server = Server {
            spec,
            revision: self.revision.next(),
            ..Server::clone(present)
        };
        let intent = |server: &Server| (server.spec.admin, server.spec.weight.get() == 0);
        if intent(&server) != intent(present) {
            server.intent_since = at;
        }
        self.put(pool, server);
        Ok(Outcome::Changed)
    }

    fn begin_removal(
        &mut self,
        pool: &PoolName,
        address: SocketAddr,
        id: Option<ServerId>,
        deadline: Option<Duration>,
        at: Timestamp,
    ) -> Result<Outcome, Rejection> {
        let present = self.server(pool, address)?;
        if id.is_some_and(|id| id != present.id) {
            return Err(Rejection::NoSuchServer {
                pool: pool.clone(),
                address,
            });
        }
        if deadline == Some(Duration::ZERO) {
            self.take(pool, address);
            return Ok(Outcome::Removed);
        }
        let drain_deadline = match (present.removal, deadline) {
            // Said again without a deadline: the first one stands, or a repeated call would move it.
            (Some(_), None) => return Ok(Outcome::Unchanged),
            (_, Some(deadline)) => deadline,
            (None, None) => self.pool(pool)?.settings.drain_deadline,
        };
        let removal = Removal {
            drain_deadline,
            deadline: at.after(drain_deadline),
        };
        if present.removal == Some(removal) {
            return Ok(Outcome::Unchanged);
        }
        let intent_since = if present.removal.is_some() {
            present.intent_since
        } else {
            at
        };
        let server = Server {
            removal: Some(removal),
            intent_since,
            revision: self.revision.next(),
            ..Server::clone(present)
        };
        self.put(pool, server);
        Ok(Outcome::Changed)
    }

    fn end_removal(&mut self, pool: &PoolName, address: SocketAddr, id: ServerId) -> Outcome {
        match self.server(pool, address) {
            Ok(server) if server.id == id && server.removal.is_some() => {
                self.take(pool, address);
                Outcome::Removed
            }
            _ => Outcome::Unchanged,
        }
    }

    fn update_pool(
        &mut self,
        name: &PoolName,
        patch: &PoolPatch,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let revision = self.revision.next();
        let missing = || Rejection::NoSuchPool { pool: name.clone() };
        let pool = self.pools.get_mut(name).ok_or_else(missing)?;
        expect_unchanged(expected, pool.settings_revision, || {
            format!("the settings of pool {name}")
        })?;
        let settings = patch.applied_to(&pool.settings);
        if settings == pool.settings {
            return Ok(Outcome::Unchanged);
        }
        pool.settings = settings;
        pool.settings_revision = revision;
        Ok(Outcome::Changed)
    }

    /// A name, an id of a token and a subject of a certificate each belong to one principal.
    fn create_principal(
        &mut self,
        name: PrincipalName,
        principal: Principal,
    ) -> Result<Outcome, Rejection> {
        if self.principals.contains_key(&name) {
            let what = "principal of this name".into();
            return Err(Rejection::PrincipalExists { name, what });
        }
        let mut present = self.principals.iter();
        let same = present.find(|(_, present)| present.credential.is_same(&principal.credential));
        if let Some((name, _)) = same {
            let name = name.clone();
            let what = "principal with this credential".into();
            return Err(Rejection::PrincipalExists { name, what });
        }
        if self.principals.len() >= Self::MOST_PRINCIPALS {
            let limit = Self::MOST_PRINCIPALS;
            return Err(Rejection::TooManyPrincipals { limit });
        }
        Arc::make_mut(&mut self.principals).insert(name, Arc::new(principal));
        Ok(Outcome::Created)
    }

    fn revoke_principal(&mut self, name: PrincipalName) -> Result<Outcome, Rejection> {
        if !self.principals.contains_key(&name) {
            return Err(Rejection::NoSuchPrincipal { name });
        }
        Arc::make_mut(&mut self.principals).remove(&name);
        Ok(Outcome::Removed)
    }

    fn expect_server_unchanged(
        &self,
        pool: &PoolName,
        address: SocketAddr,
        expected: Option<Revision>,
    ) -> Result<(), Rejection> {
        let server = self.server(pool, address)?;
        expect_unchanged(expected, server.revision, || format!("server {address}"))
    }

    fn put(&mut self, pool: &PoolName, server: Server) {
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.servers_revision = server.revision;
            pool.recent.record(server.revision, server.address);
            pool.servers.insert_mut(server.address, Arc::new(server));
        }
    }

    fn take(&mut self, pool: &PoolName, address: SocketAddr) {
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.servers_revision = self.revision.next();
            pool.recent.record(pool.servers_revision, address);
            pool.servers.remove_mut(&address);
        }
    }
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

fn differences(present: &ServerSpec, asked: &ServerSpec) -> Vec<ServerSetting> {
    let mut differences = Vec::new();
    let mut compare = |name: &'static str, present: String, asked: String| {
        if present != asked {
            differences.push(ServerSetting {
                name: name.into(),
                present,
                asked,
            });
        }
    };
    let text = |weight: super::Weight| weight.get().to_string();
    compare("weight", text(present.weight), text(asked.weight));
    compare(
        "admin_state",
        present.admin.as_str().into(),
        asked.admin.as_str().into(),
    );
    compare("check", present.check.to_string(), asked.check.to_string());
    differences
}

#[cfg(test)]
mod tests;
