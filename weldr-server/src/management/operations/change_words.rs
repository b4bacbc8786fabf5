//! Changes in words, for the history and the log.

use std::fmt::Write as _;

use crate::{
    cluster::What,
    model::{Command, PoolName},
};

/// What was requested.
pub(super) fn what(what: &What) -> String {
    match what {
        What::Command(change) => command(change),
        What::Apply { changes } => applied(*changes),
        What::Certificate { certificate, added } => {
            let verb = if *added { "add" } else { "set" };
            format!("{verb} certificate {certificate}")
        }
        What::Rollback { to } => format!("roll back to revision {to}"),
        What::RotateTickets { epoch } => tickets(*epoch),
        What::Acme { done, .. } => done.clone(),
        What::RotateStickiness { epoch } => stickiness(*epoch),
        What::Restore { of } => format!("restore a backup of revision {of}"),
    }
}

/// A command.
pub(super) fn command(command: &Command) -> String {
    match command {
        Command::AddServer { pool, address, .. } => format!("add {address}{}", to(pool)),
        Command::UpdateServer {
            pool,
            address,
            patch,
            ..
        } => {
            // Writing to a string cannot fail.
            let mut text = format!("set {address}{}", of(pool));
            if let Some(weight) = patch.weight {
                let _ = write!(text, " weight {}", weight.get());
            }
            if let Some(admin) = patch.admin {
                let _ = write!(text, " {}", admin.as_str());
            }
            if patch.check.is_some() {
                text.push_str(" check");
            }
            text
        }
        Command::BeginRemoval { pool, address, .. } => format!("remove {address}{}", of(pool)),
        Command::EndRemoval { pool, address, .. } => format!("{address}{} removed", of(pool)),
        Command::AddPool { pool, .. } => format!("add pool {pool}"),
        Command::UpdatePool { pool, .. } => format!("set pool {pool}"),
        Command::RemovePool { pool, .. } => format!("remove pool {pool}"),
        Command::AddListener { listener, .. } => format!("add listener {listener}"),
        Command::UpdateListener { listener, .. } => format!("set listener {listener}"),
        Command::RemoveListener { listener, .. } => format!("remove listener {listener}"),
        Command::AddRule {
            listener, priority, ..
        } => match priority {
            Some(priority) => format!("add rule {priority} to listener {listener}"),
            None => format!("add a rule to listener {listener}"),
        },
        Command::UpdateRule {
            listener, priority, ..
        } => format!("set rule {priority} of listener {listener}"),
        Command::RemoveRule {
            listener, priority, ..
        } => format!("remove rule {priority} of listener {listener}"),
        Command::MoveRule {
            listener, from, to, ..
        } => format!("move rule {from} of listener {listener} to {to}"),
        Command::AddCertificate { certificate, .. } => format!("add certificate {certificate}"),
        Command::UpdateCertificate { certificate, .. } => {
            format!("set certificate {certificate}")
        }
        Command::RemoveCertificate { certificate, .. } => {
            format!("remove certificate {certificate}")
        }
        Command::Apply { changes, .. } => applied(changes.len()),
        Command::CreatePrincipal { name, role, .. } => format!("create token {name} ({role})"),
        Command::RevokePrincipal { name } => format!("revoke token {name}"),
        Command::RotateTickets { after, .. } => tickets(after.saturating_add(1)),
        Command::SetAcmeAccount { .. } => "set the ACME account".to_owned(),
        Command::RemoveAcmeAccount { .. } => "remove the ACME account".to_owned(),
        Command::RenewCertificate { certificate, .. } => format!("renew certificate {certificate}"),
        Command::Acme(step) => step.phrase(),
        Command::RotateStickiness { after, .. } => stickiness(after.saturating_add(1)),
    }
}

fn tickets(epoch: u64) -> String {
    format!("rotate the secret of session tickets (epoch {epoch})")
}

fn stickiness(epoch: u64) -> String {
    format!("rotate the secret of sticky cookies (epoch {epoch})")
}

fn applied(changes: usize) -> String {
    let plural = if changes == 1 { "" } else { "s" };
    format!("apply {changes} change{plural}")
}

/// The pool of a server, unless it is the one that is meant when none is named.
fn of(pool: &PoolName) -> String {
    if *pool == PoolName::default() {
        return String::new();
    }
    format!(" of pool {pool}")
}

fn to(pool: &PoolName) -> String {
    of(pool).replace(" of ", " to ")
}
