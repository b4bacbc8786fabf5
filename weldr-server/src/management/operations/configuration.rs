//! The calls that read and write the state as a configuration.

use std::sync::Arc;

use weldr_proto::v1::{self, configuration_change::Kind};

use crate::{
    management::{convert, error::Error},
    model::{
        Command, Configuration, DesiredState, Rejection, Revision, ServerSpec, Setting, Timestamp,
        changes, differences,
    },
};

use super::{ApiCaller, Operations};

/// How often the changes are computed anew if another change comes in between and no revision is expected.
const ATTEMPTS: usize = 5;

impl Operations {
    /// The maximum size of a configuration to apply, in bytes, over gRPC and REST.
    pub(in crate::management) const MAX_CONFIGURATION_BYTES: usize = 16 << 20;

    pub(in crate::management) async fn export(
        &self,
        request: v1::ExportRequest,
    ) -> Result<v1::ExportResponse, Error> {
        let state = self.state(request.stale).await?;
        Ok(v1::ExportResponse {
            revision: state.revision.0,
            configuration: Some(convert::export(&state)),
        })
    }

    pub(in crate::management) async fn apply(
        &self,
        caller: ApiCaller,
        request: v1::ApplyRequest,
    ) -> Result<v1::ApplyResponse, Error> {
        let configuration = convert::configuration(request.configuration.unwrap_or_default())?;
        self.accept_addresses(&configuration)?;
        let expected = convert::expected_revision(request.expected_revision);
        let mut attempts = 1;
        loop {
            let state = self.state(false).await?;
            expect(expected, &state)?;
            let changes = changes(&state, &configuration, request.prune, Timestamp::now());
            let told = changes.iter().map(|change| describe(change, &state));
            let told: Vec<_> = told.collect();
            let command = Command::Apply {
                changes,
                expected: Some(state.revision),
                force: request.force,
            };
            if request.dry_run {
                DesiredState::clone(&state).apply(command)?;
                return Ok(v1::ApplyResponse {
                    revision: state.revision.0,
                    changes: told,
                });
            }
            match self.write(caller.clone(), command).await {
                Err(Error::Rejected(Rejection::Changed { .. }))
                    if expected.is_none() && attempts < ATTEMPTS =>
                {
                    attempts += 1;
                }
                Err(error) => return Err(error),
                Ok((applied, _)) => {
                    return Ok(v1::ApplyResponse {
                        revision: applied.revision.0,
                        changes: told,
                    });
                }
            }
        }
    }

    /// Refuses servers that this node does not accept in any call, and listeners that it could not open because of its own
    /// options.
    fn accept_addresses(&self, configuration: &Configuration) -> Result<(), Error> {
        let state = self.context.cluster.current();
        let mut violations = convert::Violations::default();
        for (name, pool) in &configuration.pools {
            for address in pool.servers.keys() {
                let accepted = self.context.accepts(*address);
                let path = format!("pools.{name}.servers");
                violations.take(accepted.map_err(|invalid| invalid.within(&path)));
            }
        }
        for (name, listener) in &configuration.listeners {
            let present = state.listeners.get(name);
            let present = present.and_then(|present| present.spec.address);
            if let Some(address) = listener.address
                && present != Some(address)
            {
                // Several listeners may change places.
                let accepted = self.context.own.check_listener(name, address, None);
                let path = format!("listeners.{name}");
                violations.take(accepted.map_err(|invalid| invalid.within(&path)));
            }
        }
        violations.settle(Some(()))
    }
}

fn expect(expected: Option<Revision>, state: &Arc<DesiredState>) -> Result<(), Error> {
    match expected {
        Some(expected) if state.revision > expected => Err(Rejection::Changed {
            object: "the desired state".to_owned(),
            expected,
            actual: state.revision,
        }
        .into()),
        _ => Ok(()),
    }
}

/// A change of a configuration, in words.
fn describe(change: &Command, state: &DesiredState) -> v1::ConfigurationChange {
    let (kind, object) = object(change);
    let settings = settings(change, state).into_iter();
    let settings = settings.map(|setting| v1::SettingChange {
        name: setting.name.into_owned(),
        before: setting.present,
        after: setting.asked,
    });
    v1::ConfigurationChange {
        kind: kind.into(),
        object,
        settings: settings.collect(),
    }
}

/// The kind of a change, and its object.
fn object(change: &Command) -> (Kind, String) {
    let server = |address, pool| format!("server {address} of pool {pool}");
    let rule = |priority, listener| format!("rule {priority} of listener {listener}");
    match change {
        Command::AddPool { pool, .. } => (Kind::Added, format!("pool {pool}")),
        Command::UpdatePool { pool, .. } => (Kind::Changed, format!("pool {pool}")),
        Command::RemovePool { pool, .. } => (Kind::Removed, format!("pool {pool}")),
        Command::AddServer { pool, address, .. } => (Kind::Added, server(address, pool)),
        Command::UpdateServer { pool, address, .. } => (Kind::Changed, server(address, pool)),
        Command::BeginRemoval { pool, address, .. } | Command::EndRemoval { pool, address, .. } => {
            (Kind::Removed, server(address, pool))
        }
        Command::AddListener { listener, .. } => (Kind::Added, format!("listener {listener}")),
        Command::UpdateListener { listener, .. } => (Kind::Changed, format!("listener {listener}")),
        Command::RemoveListener { listener, .. } => (Kind::Removed, format!("listener {listener}")),
        Command::AddRule {
            listener,
            priority: Some(priority),
            ..
        } => (Kind::Added, rule(priority, listener)),
        Command::AddRule { listener, .. } => {
            (Kind::Added, format!("a rule of listener {listener}"))
        }
        Command::UpdateRule {
            listener, priority, ..
        } => (Kind::Changed, rule(priority, listener)),
        Command::RemoveRule {
            listener, priority, ..
        } => (Kind::Removed, rule(priority, listener)),
        Command::MoveRule { listener, from, .. } => (Kind::Changed, rule(from, listener)),
        // A configuration makes none.
        Command::AddCertificate { .. }
        | Command::UpdateCertificate { .. }
        | Command::RemoveCertificate { .. }
        | Command::SetAcmeAccount { .. }
        | Command::RemoveAcmeAccount { .. }
        | Command::RenewCertificate { .. }
        | Command::Acme(_)
        | Command::Apply { .. }
        | Command::CreatePrincipal { .. }
        | Command::RevokePrincipal { .. }
        | Command::RotateTickets { .. }
        | Command::RotateStickiness { .. } => (Kind::Changed, "the state".to_owned()),
    }
}

/// The settings that a change changes in `state`.
fn settings(change: &Command, state: &DesiredState) -> Vec<Setting> {
    match change {
        Command::AddServer { spec, .. } => differences(&ServerSpec::default(), spec),
        Command::UpdatePool { pool, patch, .. } => state.pool(pool).map_or_else(
            |_| vec![],
            |pool| differences(&pool.settings, &patch.applied_to(&pool.settings)),
        ),
        Command::UpdateServer {
            pool,
            address,
            patch,
            ..
        } => state.server(pool, *address).map_or_else(
            |_| vec![],
            |server| differences(&server.spec, &patch.clone().applied_to(&server.spec)),
        ),
        Command::UpdateListener {
            listener, patch, ..
        } => state.listener(listener).map_or_else(
            |_| vec![],
            |there| differences(&there.spec, &patch.applied_to(&there.spec)),
        ),
        Command::UpdateRule {
            listener,
            priority,
            spec,
            ..
        } => state
            .rule(listener, *priority)
            .map_or_else(|_| vec![], |rule| differences(&rule.spec, spec)),
        _ => vec![],
    }
}
