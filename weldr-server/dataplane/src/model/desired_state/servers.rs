//! The servers of the desired state.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{DesiredState, expect_unchanged};
use crate::model::{
    Outcome, PoolName, Rejection, Removal, Revision, Server, ServerId, ServerPatch, ServerSpec,
    Setting, Timestamp, Weight,
};

impl DesiredState {
    pub(super) fn add_server(
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
                id: ServerId(self.new_id()),
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

    pub(super) fn update_server(
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

    pub(super) fn begin_removal(
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

    pub(super) fn end_removal(
        &mut self,
        pool: &PoolName,
        address: SocketAddr,
        id: ServerId,
    ) -> Outcome {
        match self.server(pool, address) {
            Ok(server) if server.id == id && server.removal.is_some() => {
                self.take(pool, address);
                Outcome::Removed
            }
            _ => Outcome::Unchanged,
        }
    }

    pub(super) fn expect_server_unchanged(
        &self,
        pool: &PoolName,
        address: SocketAddr,
        expected: Option<Revision>,
    ) -> Result<(), Rejection> {
        let server = self.server(pool, address)?;
        expect_unchanged(expected, server.revision, || format!("server {address}"))
    }

    fn put(&mut self, pool: &PoolName, server: Server) {
        self.last_id = self.last_id.max(server.id.0);
        self.touched.server(pool, server.address);
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.servers_revision = server.revision;
            pool.recent.record(server.revision, server.address);
            pool.servers.insert_mut(server.address, Arc::new(server));
        }
    }

    fn take(&mut self, pool: &PoolName, address: SocketAddr) {
        self.touched.server(pool, address);
        let revision = self.revision.next();
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.servers_revision = revision;
            pool.recent.record(pool.servers_revision, address);
            pool.servers.remove_mut(&address);
        }
    }
}

fn differences(present: &ServerSpec, asked: &ServerSpec) -> Vec<Setting> {
    let mut differences = Vec::new();
    let mut compare = |name: &'static str, present: String, asked: String| {
        if present != asked {
            differences.push(Setting {
                name: name.into(),
                present,
                asked,
            });
        }
    };
    let text = |weight: Weight| weight.get().to_string();
    compare("weight", text(present.weight), text(asked.weight));
    compare(
        "admin_state",
        present.admin.as_str().into(),
        asked.admin.as_str().into(),
    );
    compare("check", present.check.to_string(), asked.check.to_string());
    differences
}
