//! The calls about servers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use weldr_proto::v1;

use crate::{
    management::{
        convert::{self, Violations},
        error::Error,
    },
    model::{
        Command, LONGEST_DRAIN, Outcome, PoolName, Rejection, ServerPatch, ServerSpec, Timestamp,
        in_range, parse_server_address,
    },
    snapshot::{PoolView, ServerView, Snapshot},
};

use super::{ApiCaller, Operations, pool_in, settling::settled};

impl Operations {
    pub(in crate::management) async fn add_server(
        &self,
        caller: ApiCaller,
        request: v1::AddServerRequest,
    ) -> Result<v1::AddServerResponse, Error> {
        let mut violations = Violations::default();
        let target = violations.target(&request.pool, &request.address);
        let target = target.and_then(|(pool, address)| {
            let address = violations.take(self.context.accepts(address))?;
            Some((pool, address))
        });
        let spec = ServerSpec {
            weight: violations
                .take(convert::weight(request.weight))
                .flatten()
                .unwrap_or_default(),
            admin: violations
                .take(convert::admin_state(request.admin_state))
                .flatten()
                .unwrap_or_default(),
            check: convert::check_override(
                "check",
                request.check.unwrap_or_default(),
                &mut violations,
            ),
        };
        let (pool, address) = violations.settle(target)?;
        pool_in(&self.snapshot(), &pool)?;
        let command = Command::AddServer {
            pool: pool.clone(),
            address,
            spec,
            expected: convert::expected_revision(request.expected_revision),
            at: Timestamp::now(),
        };
        let (applied, snapshot) = self.write(caller, command).await?;
        Ok(v1::AddServerResponse {
            revision: applied.revision.0,
            server: Some(shown(&snapshot, &pool, address)?),
            created: applied.outcome == Outcome::Created,
        })
    }

    pub(in crate::management) async fn update_server(
        &self,
        caller: ApiCaller,
        request: v1::UpdateServerRequest,
    ) -> Result<v1::UpdateServerResponse, Error> {
        let mut violations = Violations::default();
        let target = violations.target(&request.pool, &request.address);
        let patch = ServerPatch {
            weight: violations.take(convert::weight(request.weight)).flatten(),
            admin: violations
                .take(convert::admin_state(request.admin_state))
                .flatten(),
            check: request
                .check
                .map(|check| convert::check_override("check", check, &mut violations)),
        };
        let (pool, address) = violations.settle(target)?;
        pool_in(&self.snapshot(), &pool)?;
        let command = Command::UpdateServer {
            pool: pool.clone(),
            address,
            patch,
            expected: convert::expected_revision(request.expected_revision),
            at: Timestamp::now(),
        };
        let (applied, snapshot) = self.write(caller, command).await?;
        Ok(v1::UpdateServerResponse {
            revision: applied.revision.0,
            server: Some(shown(&snapshot, &pool, address)?),
        })
    }

    pub(in crate::management) async fn remove_server(
        &self,
        caller: ApiCaller,
        request: v1::RemoveServerRequest,
    ) -> Result<v1::RemoveServerResponse, Error> {
        let mut violations = Violations::default();
        let target = violations.target(&request.pool, &request.address);
        let deadline = request.deadline.and_then(|given| {
            let deadline = convert::duration("deadline", given);
            violations.take(deadline.and_then(|deadline| {
                in_range("deadline", deadline, Duration::ZERO..=LONGEST_DRAIN)
            }))
        });
        let (pool, address) = violations.settle(target)?;
        let before = self.snapshot();
        let present = pool_in(&before, &pool)?.server(address);
        let command = Command::BeginRemoval {
            pool: pool.clone(),
            address,
            id: None,
            deadline,
            expected: convert::expected_revision(request.expected_revision),
            at: Timestamp::now(),
        };
        let (_, snapshot) = self.write(caller, command).await?;
        let server_in = |snapshot: &Snapshot| {
            let pool = snapshot.pools.get(&pool)?;
            pool.server(address).cloned()
        };
        let Some(draining) = server_in(&snapshot) else {
            return Ok(removal(&snapshot, present, true));
        };
        let snapshot = settled(&self.context.snapshots, &snapshot, &draining).await;
        let present = server_in(&snapshot);
        match present.filter(|view| view.desired.id == draining.desired.id) {
            Some(view) => Ok(removal(&snapshot, Some(&view), false)),
            None => Ok(removal(&snapshot, Some(&draining), true)),
        }
    }

    pub(in crate::management) async fn get_server(
        &self,
        request: &v1::GetServerRequest,
    ) -> Result<v1::GetServerResponse, Error> {
        let mut violations = Violations::default();
        let target = violations.target(&request.pool, &request.address);
        let (pool, address) = violations.settle(target)?;
        let snapshot = self.read(request.stale).await?;
        let Some(view) = pool_in(&snapshot, &pool)?.server(address) else {
            return Err(Rejection::NoSuchServer { pool, address }.into());
        };
        Ok(v1::GetServerResponse {
            revision: snapshot.revision.0,
            server: Some(convert::server(&pool, view)),
        })
    }

    pub(in crate::management) async fn list_servers(
        &self,
        request: &v1::ListServersRequest,
    ) -> Result<v1::ListServersResponse, Error> {
        let pool = convert::pool_name(&request.pool)?;
        let snapshot = self.read(request.stale).await?;
        Ok(v1::ListServersResponse {
            revision: snapshot.revision.0,
            servers: servers(pool_in(&snapshot, &pool)?),
        })
    }
}

impl Violations {
    /// The pool and the address of a request.
    fn target(&mut self, pool: &str, address: &str) -> Option<(PoolName, SocketAddr)> {
        let pool = self.take(convert::pool_name(pool));
        let address = self.take(parse_server_address(address));
        pool.zip(address)
    }
}

/// All servers of a pool, ordered by address.
pub(super) fn servers(pool: &PoolView) -> Vec<v1::Server> {
    let views = pool.servers.iter();
    views
        .map(|view| convert::server(pool.name(), view))
        .collect()
}

/// The server that was just written, unless another call has removed it since.
fn shown(snapshot: &Snapshot, pool: &PoolName, address: SocketAddr) -> Result<v1::Server, Error> {
    let pool = snapshot.pools.get(pool).ok_or(Error::Overtaken)?;
    let view = pool.server(address).ok_or(Error::Overtaken)?;
    Ok(convert::server(pool.name(), view))
}

fn removal(
    snapshot: &Snapshot,
    server: Option<&Arc<ServerView>>,
    removed: bool,
) -> v1::RemoveServerResponse {
    v1::RemoveServerResponse {
        revision: snapshot.revision.0,
        server: server.map(|view| convert::server(&view.live.pool.name, view)),
        removed,
    }
}
