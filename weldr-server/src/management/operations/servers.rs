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
    snapshot::{ServerView, Snapshot},
};

use super::{ApiCaller, Operations, expect_pool, settling::settled};

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
        expect_pool(&self.snapshot(), &pool)?;
        let command = Command::AddServer {
            pool,
            address,
            spec,
            expected: convert::expected_revision(request.expected_revision),
            at: Timestamp::now(),
        };
        let (applied, snapshot) = self.write(caller, command).await?;
        Ok(v1::AddServerResponse {
            revision: snapshot.revision.0,
            server: Some(shown(&snapshot, address)?),
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
        expect_pool(&self.snapshot(), &pool)?;
        let command = Command::UpdateServer {
            pool,
            address,
            patch,
            expected: convert::expected_revision(request.expected_revision),
            at: Timestamp::now(),
        };
        let (_, snapshot) = self.write(caller, command).await?;
        Ok(v1::UpdateServerResponse {
            revision: snapshot.revision.0,
            server: Some(shown(&snapshot, address)?),
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
        expect_pool(&before, &pool)?;
        let command = Command::BeginRemoval {
            pool,
            address,
            id: None,
            deadline,
            expected: convert::expected_revision(request.expected_revision),
            at: Timestamp::now(),
        };
        let (_, snapshot) = self.write(caller, command).await?;
        let Some(draining) = snapshot.pools.default_pool().server(address) else {
            return Ok(removal(
                &snapshot,
                before.pools.default_pool().server(address),
                true,
            ));
        };
        let draining = Arc::clone(draining);
        let snapshot = settled(&self.context.snapshots, &snapshot, &draining).await;
        let present = snapshot.pools.default_pool().server(address);
        match present.filter(|view| view.desired.id == draining.desired.id) {
            Some(view) => Ok(removal(&snapshot, Some(view), false)),
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
        expect_pool(&snapshot, &pool)?;
        let Some(view) = snapshot.pools.default_pool().server(address) else {
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
        expect_pool(&snapshot, &pool)?;
        Ok(v1::ListServersResponse {
            revision: snapshot.revision.0,
            servers: servers(&snapshot),
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

/// All servers, ordered by address.
pub(super) fn servers(snapshot: &Snapshot) -> Vec<v1::Server> {
    let pool = snapshot.pools.default_pool();
    let views = pool.servers.iter();
    views
        .map(|view| convert::server(pool.name(), view))
        .collect()
}

/// The server that was just written, unless another call has removed it since.
fn shown(snapshot: &Snapshot, address: SocketAddr) -> Result<v1::Server, Error> {
    let pool = snapshot.pools.default_pool();
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
