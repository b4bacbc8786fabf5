//! The history of changes, with the values before each change: for listing and rollback. Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::model::{
    Applied, Command, DesiredState, Outcome, PoolName, PoolSettings, Rejection, Revision, Server,
    Target, Timestamp,
};

/// The number of changes that are kept.
const MOST_EVENTS: usize = 1000;

/// A change of the desired state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The revision after the change.
    pub revision: Revision,
    /// When the change was requested.
    pub at: Timestamp,
    /// Who requested it: `token:NAME`, `certificate:NAME`, `unix:USER`, `anonymous IP`, or the name of a node.
    pub from: String,
    /// What was requested.
    pub what: What,
    /// The values before the change.
    before: Vec<Before>,
}

/// What was requested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "almost all are commands, so a box would only be one more allocation"
)]
pub enum What {
    /// A command.
    Command(Command),
    /// A rollback to an earlier revision.
    Rollback {
        /// The revision.
        to: Revision,
    },
    /// A restore of a backup.
    Restore {
        /// The revision of the backup.
        of: Revision,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Before {
    Server {
        pool: PoolName,
        address: SocketAddr,
        server: Option<Arc<Server>>,
    },
    Settings {
        pool: PoolName,
        settings: PoolSettings,
    },
}

/// The last changes, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::cluster) struct History(VecDeque<Event>);

/// The values that a command will change, read before it is applied.
pub(in crate::cluster) struct Draft(Vec<Before>);

impl Draft {
    pub(in crate::cluster) fn of_command(state: &DesiredState, command: &Command) -> Self {
        Self(match command {
            Command::AddServer { pool, address, .. }
            | Command::UpdateServer { pool, address, .. }
            | Command::BeginRemoval { pool, address, .. }
            | Command::EndRemoval { pool, address, .. } => {
                vec![server_before(state, pool, *address)]
            }
            Command::UpdatePool { pool, .. } => settings_before(state, pool).into_iter().collect(),
            // A rollback leaves principals alone.
            Command::CreatePrincipal { .. } | Command::RevokePrincipal { .. } => Vec::new(),
        })
    }

    pub(in crate::cluster) fn of_target(state: &DesiredState, target: &Target) -> Self {
        let servers = target.servers.keys();
        let servers = servers.map(|(pool, address)| server_before(state, pool, *address));
        let settings = target.settings.keys();
        let settings = settings.filter_map(|pool| settings_before(state, pool));
        Self(servers.chain(settings).collect())
    }
}

fn server_before(state: &DesiredState, pool: &PoolName, address: SocketAddr) -> Before {
    Before::Server {
        pool: pool.clone(),
        address,
        server: state.server(pool, address).ok().cloned(),
    }
}

fn settings_before(state: &DesiredState, pool: &PoolName) -> Option<Before> {
    let settings = state.pool(pool).ok()?.settings.clone();
    let pool = pool.clone();
    Some(Before::Settings { pool, settings })
}

impl History {
    /// Adds a change, unless nothing changed.
    pub(in crate::cluster) fn record(
        &mut self,
        applied: Applied,
        at: Timestamp,
        from: String,
        what: What,
        draft: Draft,
    ) {
        if applied.outcome == Outcome::Unchanged {
            return;
        }
        if self.0.len() >= MOST_EVENTS {
            self.0.pop_front();
        }
        self.0.push_back(Event {
            revision: applied.revision,
            at,
            from,
            what,
            before: draft.0,
        });
    }

    /// The last `most` changes, the newest first.
    pub(in crate::cluster) fn latest(&self, most: usize) -> Vec<Event> {
        self.0.iter().rev().take(most).cloned().collect()
    }

    /// The values at revision `to` of everything that has changed since.
    pub(in crate::cluster) fn target(
        &self,
        to: Revision,
        now: Revision,
    ) -> Result<Target, Rejection> {
        let oldest = self
            .0
            .front()
            .map_or(now, |event| Revision(event.revision.0 - 1));
        if to < oldest || to > now {
            let newest = now;
            return Err(Rejection::NoSuchRevision {
                asked: to,
                oldest,
                newest,
            });
        }
        let mut servers = BTreeMap::new();
        let mut settings = BTreeMap::new();
        // From the newest to the oldest, so that the value before the first change remains.
        for event in self.0.iter().rev().take_while(|event| event.revision > to) {
            for before in &event.before {
                match before {
                    Before::Server {
                        pool,
                        address,
                        server,
                    } => {
                        let stays = server.as_ref().filter(|server| server.removal.is_none());
                        let spec = stays.map(|server| server.spec.clone());
                        servers.insert((pool.clone(), *address), spec);
                    }
                    Before::Settings {
                        pool,
                        settings: before,
                    } => {
                        settings.insert(pool.clone(), before.clone());
                    }
                }
            }
        }
        Ok(Target { servers, settings })
    }
}
