//! The log line of a write.

use std::net::SocketAddr;

use tracing::{info, warn};

use super::change_words;
use crate::{
    management::{access::Caller, error::Error},
    model::{Applied, Command, Outcome, PoolName},
};

/// The part of a write that is logged.
pub(super) struct LoggedWrite {
    call: &'static str,
    /// The pool of a server or of settings.
    pool: Option<PoolName>,
    address: Option<SocketAddr>,
    /// What is changed, if it is no server and no settings of a pool.
    change: Option<String>,
}

impl LoggedWrite {
    pub(super) fn of(command: &Command) -> Self {
        let (call, pool, address) = match command {
            Command::AddServer { pool, address, .. } => ("add_server", Some(pool), Some(*address)),
            Command::UpdateServer { pool, address, .. } => {
                ("update_server", Some(pool), Some(*address))
            }
            Command::BeginRemoval { pool, address, .. } => {
                ("remove_server", Some(pool), Some(*address))
            }
            Command::EndRemoval { pool, address, .. } => {
                ("end_removal", Some(pool), Some(*address))
            }
            Command::UpdatePool { pool, .. } => ("update_pool", Some(pool), None),
            Command::AddPool { pool, .. } => ("create_pool", Some(pool), None),
            Command::RemovePool { pool, .. } => ("delete_pool", Some(pool), None),
            Command::AddListener { .. } => ("create_listener", None, None),
            Command::UpdateListener { .. } => ("update_listener", None, None),
            Command::RemoveListener { .. } => ("delete_listener", None, None),
            Command::AddRule { .. } => ("create_rule", None, None),
            Command::UpdateRule { .. } => ("update_rule", None, None),
            Command::RemoveRule { .. } => ("delete_rule", None, None),
            Command::MoveRule { .. } => ("move_rule", None, None),
            Command::AddCertificate { .. } => ("create_certificate", None, None),
            Command::UpdateCertificate { .. } => ("update_certificate", None, None),
            Command::RemoveCertificate { .. } => ("delete_certificate", None, None),
            Command::Apply { .. } => ("apply", None, None),
            Command::CreatePrincipal { .. } => ("create_token", None, None),
            Command::RevokePrincipal { .. } => ("revoke_token", None, None),
            Command::RotateTickets { .. } => ("rotate_tickets", None, None),
            Command::SetAcmeAccount { .. } => ("set_acme_account", None, None),
            Command::RemoveAcmeAccount { .. } => ("delete_acme_account", None, None),
            Command::RenewCertificate { .. } => ("renew_certificate", None, None),
            Command::Acme(_) => ("acme", None, None),
            Command::RotateStickiness { .. } => ("rotate_stickiness", None, None),
        };
        Self {
            call,
            pool: pool.cloned(),
            address,
            change: pool.is_none().then(|| change_words::command(command)),
        }
    }

    pub(super) fn log(&self, caller: &Caller, applied: &Result<Applied, Error>) {
        let Self { call, change, .. } = self;
        let pool = self.pool.as_ref().map(tracing::field::display);
        let address = self.address.map(tracing::field::display);
        let peer = &caller.permissions().peer;
        match applied {
            Ok(Applied { revision, outcome }) => {
                let outcome = match outcome {
                    Outcome::Created => "created",
                    Outcome::Changed => "changed",
                    Outcome::Removed => "removed",
                    Outcome::Unchanged => "unchanged",
                };
                info!(%caller, %peer, call, pool, address, change, outcome, %revision, "write applied");
            }
            Err(Error::NotDurable(cause)) => {
                warn!(%caller, %peer, call, pool, address, change, error = %cause, "write failed");
            }
            // Refusals are logged where they become a response.
            Err(_) => {}
        }
    }
}
