//! The log line of a write.

use std::net::SocketAddr;

use tracing::{info, warn};

use crate::{
    management::{access::Caller, error::Error},
    model::{Applied, Command, Outcome, PoolName, PrincipalName},
};

/// The part of a write that is logged.
pub(super) struct LoggedWrite {
    call: &'static str,
    pool: Option<PoolName>,
    principal: Option<PrincipalName>,
    address: Option<SocketAddr>,
}

impl LoggedWrite {
    pub(super) fn of(command: &Command) -> Self {
        let (call, principal, address) = match command {
            Command::AddServer { address, .. } => ("add_server", None, Some(*address)),
            Command::UpdateServer { address, .. } => ("update_server", None, Some(*address)),
            Command::BeginRemoval { address, .. } => ("remove_server", None, Some(*address)),
            Command::EndRemoval { address, .. } => ("end_removal", None, Some(*address)),
            Command::UpdatePool { .. } => ("update_pool", None, None),
            Command::CreatePrincipal { name, .. } => ("create_token", Some(name), None),
            Command::RevokePrincipal { name } => ("revoke_token", Some(name), None),
        };
        Self {
            call,
            pool: command.pool().cloned(),
            principal: principal.cloned(),
            address,
        }
    }

    pub(super) fn log(&self, caller: &Caller, applied: &Result<Applied, Error>) {
        let Self {
            call,
            pool,
            principal,
            address,
        } = self;
        let address = address.map(tracing::field::display);
        let pool = pool.as_ref().map(tracing::field::display);
        let principal = principal.as_ref().map(tracing::field::display);
        let peer = &caller.permissions().peer;
        match applied {
            Ok(Applied { revision, outcome }) => {
                let outcome = match outcome {
                    Outcome::Created => "created",
                    Outcome::Changed => "changed",
                    Outcome::Removed => "removed",
                    Outcome::Unchanged => "unchanged",
                };
                info!(%caller, %peer, call, pool, principal, address, outcome, %revision, "write applied");
            }
            Err(Error::NotDurable(cause)) => {
                warn!(%caller, %peer, call, pool, principal, address, error = %cause, "write failed");
            }
            // Refusals are logged where they become a response.
            Err(_) => {}
        }
    }
}
