//! The replicated state: applies records, and encodes itself for a snapshot. Pure.

use std::{collections::VecDeque, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    cluster::error::Damage,
    model::{
        Applied, DesiredState, Pool, PoolName, PoolSettings, Principals, Rejection, Revision,
        Server, Target, Timestamp,
    },
};

use super::{
    history::{Draft, History, What},
    member_history::MemberHistory,
    proposal::{Proposal, ProposalResult, Record, UnknownRecord},
};

/// How many results are kept, so that a proposal that is sent again is applied once. Proposals are repeated for seconds
/// at most.
const MOST_RESULTS: usize = 1024;

/// The replicated state. Nodes that have applied the same entries have equal replicas.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cluster) struct Replica {
    /// Whether [`Proposal::Begin`] was applied.
    pub(in crate::cluster) begun: bool,
    pub(in crate::cluster) state: DesiredState,
    pub(in crate::cluster) history: History,
    /// Changes of the membership.
    pub(in crate::cluster) members: MemberHistory,
    /// The last results with the ids of their records, the newest last.
    results: VecDeque<(u64, ProposalResult)>,
}

impl Default for Replica {
    fn default() -> Self {
        Self {
            begun: false,
            state: DesiredState::new(PoolSettings::default()),
            history: History::default(),
            members: MemberHistory::default(),
            results: VecDeque::new(),
        }
    }
}

impl Replica {
    /// Applies the proposal of a record. A record that is in the log several times is applied once.
    pub(in crate::cluster) fn apply(
        &mut self,
        record: &Record,
    ) -> Result<ProposalResult, UnknownRecord> {
        let known = self.results.iter().rev().find(|(id, _)| *id == record.id);
        if let Some((_, result)) = known {
            return Ok(result.clone());
        }
        let result = self.carry_out(record.proposal()?, record.validated);
        if self.results.len() >= MOST_RESULTS {
            self.results.pop_front();
        }
        self.results.push_back((record.id, result.clone()));
        Ok(result)
    }

    /// Applies a proposal. Uses no clock, no randomness and no I/O.
    fn carry_out(&mut self, proposal: Proposal, validated: bool) -> ProposalResult {
        match proposal {
            Proposal::Begin { settings } => {
                if !self.begun {
                    self.begun = true;
                    self.state = DesiredState::new(settings);
                }
                ProposalResult::Nothing
            }
            Proposal::Change { command, at, from } => {
                let draft = Draft::of_command(&self.state, &command);
                let what = What::Command(command.clone());
                let applied = if validated {
                    self.state.apply(command)
                } else {
                    self.state.apply_earlier(command)
                };
                self.record(applied, at, from, what, draft)
            }
            Proposal::Rollback { to, at, from } => {
                match self.history.target(to, self.state.revision) {
                    Ok(target) => {
                        self.bring_back(target, validated, at, from, What::Rollback { to })
                    }
                    Err(rejection) => ProposalResult::Rejected(rejection),
                }
            }
            Proposal::Restore { backup, at, from } => {
                let what = What::Restore {
                    of: backup.revision,
                };
                self.bring_back(backup.target(&self.state), validated, at, from, what)
            }
        }
    }

    fn bring_back(
        &mut self,
        target: Target,
        validated: bool,
        at: Timestamp,
        from: String,
        what: What,
    ) -> ProposalResult {
        let draft = Draft::of_target(&self.state, &target);
        let applied = if validated {
            self.state.bring_back(target, at)
        } else {
            self.state.bring_back_earlier(target, at)
        };
        self.record(applied, at, from, what, draft)
    }

    fn record(
        &mut self,
        applied: Result<Applied, Rejection>,
        at: Timestamp,
        from: String,
        what: What,
        draft: Draft,
    ) -> ProposalResult {
        match applied {
            Ok(applied) => {
                self.history.record(applied, at, from, what, draft);
                ProposalResult::Applied(applied)
            }
            Err(rejection) => ProposalResult::Rejected(rejection),
        }
    }
}

/// The encoding of a [`Replica`].
#[derive(Serialize, Deserialize)]
struct Image {
    begun: bool,
    revision: Revision,
    pools: Vec<PoolImage>,
    /// Missing in snapshots of earlier versions.
    #[serde(default)]
    principals: Principals,
    history: History,
    /// Missing in snapshots of earlier versions.
    #[serde(default)]
    members: MemberHistory,
    #[serde(rename = "answers")]
    results: VecDeque<(u64, ProposalResult)>,
}

#[derive(Serialize, Deserialize)]
struct PoolImage {
    name: PoolName,
    settings: PoolSettings,
    settings_revision: Revision,
    servers_revision: Revision,
    servers: Vec<Arc<Server>>,
}

/// Encodes the replica as JSON.
pub(in crate::cluster) fn encode(replica: &Replica) -> Result<Vec<u8>, serde_json::Error> {
    let pools = replica.state.pools.iter().map(|(name, pool)| PoolImage {
        name: name.clone(),
        settings: pool.settings.clone(),
        settings_revision: pool.settings_revision,
        servers_revision: pool.servers_revision,
        servers: pool.servers.values().cloned().collect(),
    });
    serde_json::to_vec(&Image {
        begun: replica.begun,
        revision: replica.state.revision,
        pools: pools.collect(),
        principals: Arc::clone(&replica.state.principals),
        history: replica.history.clone(),
        members: replica.members.clone(),
        results: replica.results.clone(),
    })
}

/// Decodes a replica. Values that contradict each other are damage.
pub(in crate::cluster) fn decode(image: &[u8]) -> Result<Replica, Damage> {
    let image: Image = serde_json::from_slice(image).map_err(|source| Damage::Row {
        row: ROW.to_owned(),
        source: Box::new(source),
    })?;
    let mut state = DesiredState {
        revision: image.revision,
        pools: std::collections::BTreeMap::new(),
        listeners: DesiredState::default_listener(),
        principals: image.principals,
    };
    for (name, principal) in state.principals.iter() {
        if principal.revision > state.revision {
            return Err(contradiction(
                format!("{ROW}/principals/{name}"),
                LATER_THAN_ALL,
            ));
        }
    }
    for pool_image in image.pools {
        let row = || format!("{ROW}/{}", pool_image.name);
        if pool_image
            .settings_revision
            .max(pool_image.servers_revision)
            > state.revision
        {
            return Err(contradiction(row(), LATER_THAN_ALL));
        }
        let mut pool = Pool {
            settings_revision: pool_image.settings_revision,
            servers_revision: pool_image.servers_revision,
            ..Pool::new(pool_image.settings)
        };
        for server in pool_image.servers {
            if server.revision > pool.servers_revision || server.id.0 > server.revision.0 {
                let row = format!("{ROW}/{}/{}", pool_image.name, server.address);
                return Err(contradiction(row, LATER_THAN_ALL));
            }
            pool.servers.insert_mut(server.address, server);
        }
        state.pools.insert(pool_image.name, pool);
    }
    if !state.pools.contains_key(&PoolName::default()) {
        let row = format!("{ROW}/{}", PoolName::default());
        return Err(contradiction(row, "is missing"));
    }
    Ok(Replica {
        begun: image.begun,
        state,
        history: image.history,
        members: image.members,
        results: image.results,
    })
}

const ROW: &str = "snapshot/state";
const LATER_THAN_ALL: &str = "has a later revision than what contains it";

fn contradiction(row: String, contradiction: &'static str) -> Damage {
    Damage::Contradiction { row, contradiction }
}
