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
        self.accept_servers(&configuration)?;
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
                Ok((_, snapshot)) => {
                    return Ok(v1::ApplyResponse {
                        revision: snapshot.revision.0,
                        changes: told,
                    });
                }
            }
        }
    }

    /// Refuses servers that this node does not accept in any call.
    fn accept_servers(&self, configuration: &Configuration) -> Result<(), Error> {
        let mut violations = convert::Violations::default();
        for (name, pool) in &configuration.pools {
            for address in pool.servers.keys() {
                let accepted = self.context.accepts(*address);
                let path = format!("pools.{name}.servers");
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
    let (kind, object, settings) = match change {
        Command::AddPool { pool, .. } => (Kind::Added, format!("pool {pool}"), vec![]),
        Command::UpdatePool { pool, patch, .. } => {
            let present = state.pool(pool).map(|pool| pool.settings.clone());
            let present = present.unwrap_or_default();
            let settings = differences(&present, &patch.applied_to(&present));
            (Kind::Changed, format!("pool {pool}"), settings)
        }
        Command::RemovePool { pool, .. } => (Kind::Removed, format!("pool {pool}"), vec![]),
        Command::AddServer {
            pool,
            address,
            spec,
            ..
        } => {
            let settings = differences(&ServerSpec::default(), spec);
            let object = format!("server {address} of pool {pool}");
            (Kind::Added, object, settings)
        }
        Command::UpdateServer {
            pool,
            address,
            patch,
            ..
        } => {
            let present = state
                .server(pool, *address)
                .map(|server| server.spec.clone());
            let present = present.unwrap_or_default();
            let settings = differences(&present, &patch.clone().applied_to(&present));
            let object = format!("server {address} of pool {pool}");
            (Kind::Changed, object, settings)
        }
        Command::BeginRemoval { pool, address, .. } | Command::EndRemoval { pool, address, .. } => {
            let object = format!("server {address} of pool {pool}");
            (Kind::Removed, object, vec![])
        }
        Command::AddListener { listener, .. } => {
            (Kind::Added, format!("listener {listener}"), vec![])
        }
        Command::UpdateListener {
            listener, patch, ..
        } => {
            let present = state.listener(listener).map(|there| there.spec.clone());
            let present = present.unwrap_or_default();
            let settings = differences(&present, &patch.applied_to(&present));
            (Kind::Changed, format!("listener {listener}"), settings)
        }
        Command::RemoveListener { listener, .. } => {
            (Kind::Removed, format!("listener {listener}"), vec![])
        }
        Command::AddRule {
            listener, priority, ..
        } => {
            let number = priority
                .map(|priority| format!(" {priority}"))
                .unwrap_or_default();
            let object = format!("rule{number} of listener {listener}");
            (Kind::Added, object, vec![])
        }
        Command::UpdateRule {
            listener,
            priority,
            spec,
            ..
        } => {
            let present = state.rule(listener, *priority);
            let settings = present.map_or_else(|_| vec![], |rule| differences(&rule.spec, spec));
            let object = format!("rule {priority} of listener {listener}");
            (Kind::Changed, object, settings)
        }
        Command::RemoveRule {
            listener, priority, ..
        } => {
            let object = format!("rule {priority} of listener {listener}");
            (Kind::Removed, object, vec![])
        }
        Command::MoveRule {
            listener, from, to, ..
        } => {
            let moved = Setting {
                name: "priority".into(),
                present: from.to_string(),
                asked: to.to_string(),
            };
            let object = format!("rule {from} of listener {listener}");
            (Kind::Changed, object, vec![moved])
        }
        // A configuration makes none.
        Command::Apply { .. }
        | Command::CreatePrincipal { .. }
        | Command::RevokePrincipal { .. } => (Kind::Changed, "the state".to_owned(), vec![]),
    };
    let settings = settings.into_iter().map(|setting| v1::SettingChange {
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
