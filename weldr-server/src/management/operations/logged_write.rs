//! The log line of a write.

use std::net::SocketAddr;

use tracing::{info, warn};

use super::ApiCaller;
use crate::{
    management::error::Error,
    model::{Applied, Command, Outcome, PoolName},
};

/// The part of a write that is logged.
pub(super) struct LoggedWrite {
    call: &'static str,
    pool: PoolName,
    address: Option<SocketAddr>,
}

impl LoggedWrite {
    pub(super) fn of(command: &Command) -> Self {
        let (call, pool, address) = match command {
            Command::AddServer { pool, address, .. } => ("add_server", pool, Some(*address)),
            Command::UpdateServer { pool, address, .. } => ("update_server", pool, Some(*address)),
            Command::BeginRemoval { pool, address, .. } => ("remove_server", pool, Some(*address)),
            Command::EndRemoval { pool, address, .. } => ("end_removal", pool, Some(*address)),
            Command::UpdatePool { pool, .. } => ("update_pool", pool, None),
        };
        Self {
            call,
            pool: pool.clone(),
            address,
        }
    }

    pub(super) fn log(&self, caller: ApiCaller, applied: &Result<Applied, Error>) {
        let Self {
            call,
            pool,
            address,
        } = self;
        let address = address.map(tracing::field::display);
        let peer = caller.peer;
        match applied {
            Ok(Applied { revision, outcome }) => {
                let outcome = match outcome {
                    Outcome::Created => "created",
                    Outcome::Changed => "changed",
                    Outcome::Removed => "removed",
                    Outcome::Unchanged => "unchanged",
                };
                info!(%peer, call, %pool, address, outcome, %revision, "write applied");
            }
            Err(Error::NotDurable(cause)) => {
                warn!(%peer, call, %pool, address, error = %cause, "write failed");
            }
            // Refusals are logged where they become a response.
            Err(_) => {}
        }
    }
}
