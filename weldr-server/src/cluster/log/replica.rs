//! The replicated state: applies records, and encodes itself for a snapshot. Pure.

use std::{collections::VecDeque, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    cluster::error::Damage,
    model::{
        AcmeAccount, AcmeOrder, AcmeProgress, Applied, Certificate, CertificateName, DesiredState,
        Listener, ListenerName, ListenerSpec, Pool, PoolName, PoolSettings, Principals, Rejection,
        RemovedListener, Revision, Rule, SecretEpochs, Server, Target, Timestamp,
    },
};

use super::{
    history::{Draft, History, What},
    invites::Invites,
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
    /// Which nodes may join.
    pub(in crate::cluster) invites: Invites,
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
            invites: Invites::default(),
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
                let before = self.state.clone();
                let what = What::of_command(&command);
                let applied = if validated {
                    self.state.apply(command)
                } else {
                    self.state.apply_earlier(command)
                };
                self.record(applied, at, from, what, &before)
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
            Proposal::Invite {
                digest,
                lifetime,
                from,
            } => {
                self.invites.add(digest, lifetime, from);
                ProposalResult::Nothing
            }
            Proposal::EndInvite { digest, end } => {
                self.invites.end(&digest, end);
                ProposalResult::Nothing
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
        let before = self.state.clone();
        let applied = if validated {
            self.state.bring_back(target, at)
        } else {
            self.state.bring_back_earlier(target, at)
        };
        self.record(applied, at, from, what, &before)
    }

    fn record(
        &mut self,
        applied: Result<Applied, Rejection>,
        at: Timestamp,
        from: String,
        what: What,
        before: &DesiredState,
    ) -> ProposalResult {
        let draft = Draft::of(before, self.state.take_touched());
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
    /// Missing in snapshots of versions that had no listeners.
    #[serde(default)]
    listeners: Vec<ListenerImage>,
    #[serde(default)]
    removed_listeners: Vec<(ListenerName, RemovedListener)>,
    #[serde(default)]
    last_id: u64,
    /// Missing in snapshots of versions that had no certificates.
    #[serde(default)]
    certificates: Vec<(CertificateName, Arc<Certificate>)>,
    /// Missing in snapshots of earlier versions.
    #[serde(default)]
    ticket_epochs: Arc<SecretEpochs>,
    /// Missing in snapshots of earlier versions.
    #[serde(default)]
    stickiness_epochs: Arc<SecretEpochs>,
    /// Missing in snapshots of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acme_account: Option<Arc<AcmeAccount>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    acme_orders: Vec<(CertificateName, Arc<AcmeOrder>)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    acme_progress: Vec<(CertificateName, Arc<AcmeProgress>)>,
    history: History,
    /// Missing in snapshots of earlier versions.
    #[serde(default)]
    members: MemberHistory,
    /// Missing in snapshots of earlier versions.
    #[serde(default)]
    invites: Invites,
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

#[derive(Serialize, Deserialize)]
struct ListenerImage {
    name: ListenerName,
    spec: ListenerSpec,
    spec_revision: Revision,
    rules_revision: Revision,
    rules: Vec<Arc<Rule>>,
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
    let state = &replica.state;
    let listeners = state
        .listeners
        .iter()
        .map(|(name, listener)| ListenerImage {
            name: name.clone(),
            spec: listener.spec.clone(),
            spec_revision: listener.spec_revision,
            rules_revision: listener.rules_revision,
            rules: listener.rules.values().cloned().collect(),
        });
    let removed = state.removed_listeners.iter();
    serde_json::to_vec(&Image {
        begun: replica.begun,
        revision: state.revision,
        pools: pools.collect(),
        principals: Arc::clone(&replica.state.principals),
        listeners: listeners.collect(),
        removed_listeners: removed
            .map(|(name, removed)| (name.clone(), *removed))
            .collect(),
        last_id: state.last_id,
        certificates: state
            .certificates
            .iter()
            .map(|(name, certificate)| (name.clone(), Arc::clone(certificate)))
            .collect(),
        ticket_epochs: Arc::clone(&state.ticket_epochs),
        acme_account: state.acme.account.clone(),
        acme_orders: state
            .acme
            .orders
            .iter()
            .map(|(name, order)| (name.clone(), Arc::clone(order)))
            .collect(),
        acme_progress: state
            .acme
            .progress
            .iter()
            .map(|(name, progress)| (name.clone(), Arc::clone(progress)))
            .collect(),
        stickiness_epochs: Arc::clone(&state.stickiness_epochs),
        history: replica.history.clone(),
        members: replica.members.clone(),
        invites: replica.invites.clone(),
        results: replica.results.clone(),
    })
}

/// Decodes a replica. Values that contradict each other are damage.
pub(in crate::cluster) fn decode(image: &[u8]) -> Result<Replica, Damage> {
    let image: Image = serde_json::from_slice(image).map_err(|source| Damage::Row {
        row: ROW.to_owned(),
        source: Box::new(source),
    })?;
    let mut state = DesiredState::new(PoolSettings::default());
    state.revision = image.revision;
    state.last_id = image.last_id;
    state.ticket_epochs = image.ticket_epochs;
    state.acme.account = image.acme_account;
    for (name, order) in image.acme_orders {
        state.acme.orders.insert_mut(name, order);
    }
    for (name, progress) in image.acme_progress {
        state.acme.progress.insert_mut(name, progress);
    }
    state.stickiness_epochs = image.stickiness_epochs;
    state.pools.remove_mut(&PoolName::default());
    state.principals = image.principals;
    for (name, principal) in state.principals.iter() {
        if principal.revision > state.revision {
            return Err(contradiction(
                format!("{ROW}/principals/{name}"),
                LATER_THAN_ALL,
            ));
        }
    }
    for pool in image.pools {
        decode_pool(pool, &mut state)?;
    }
    if !state.pools.contains_key(&PoolName::default()) {
        let row = format!("{ROW}/{}", PoolName::default());
        return Err(contradiction(row, "is missing"));
    }
    // The one that always exists is replaced by its image.
    for listener in image.listeners {
        decode_listener(listener, &mut state)?;
    }
    for (name, removed) in image.removed_listeners {
        state.removed_listeners.insert_mut(name, removed);
    }
    for (name, certificate) in image.certificates {
        if certificate.revision > state.revision {
            let row = format!("{ROW}/certificates/{name}");
            return Err(contradiction(row, LATER_THAN_ALL));
        }
        state.certificates.insert_mut(name, certificate);
    }
    Ok(Replica {
        begun: image.begun,
        state,
        history: image.history,
        members: image.members,
        invites: image.invites,
        results: image.results,
    })
}

fn decode_pool(image: PoolImage, state: &mut DesiredState) -> Result<(), Damage> {
    let row = || format!("{ROW}/{}", image.name);
    if image.settings_revision.max(image.servers_revision) > state.revision {
        return Err(contradiction(row(), LATER_THAN_ALL));
    }
    let last_id = state.revision.0.max(state.last_id);
    let mut pool = Pool {
        settings_revision: image.settings_revision,
        servers_revision: image.servers_revision,
        ..Pool::new(image.settings)
    };
    for server in image.servers {
        if server.revision > pool.servers_revision || server.id.0 > last_id {
            let row = format!("{ROW}/{}/{}", image.name, server.address);
            return Err(contradiction(row, LATER_THAN_ALL));
        }
        pool.servers.insert_mut(server.address, server);
    }
    state.pools.insert_mut(image.name, pool);
    Ok(())
}

fn decode_listener(image: ListenerImage, state: &mut DesiredState) -> Result<(), Damage> {
    let row = || format!("{ROW}/{}", image.name);
    if image.spec_revision.max(image.rules_revision) > state.revision {
        return Err(contradiction(row(), LATER_THAN_ALL));
    }
    let last_id = state.revision.0.max(state.last_id);
    let mut listener = Listener {
        rules_revision: image.rules_revision,
        ..Listener::new(image.spec, image.spec_revision)
    };
    for rule in image.rules {
        if rule.revision > listener.rules_revision || rule.id.0 > last_id {
            let row = format!("{ROW}/{}/{}", image.name, rule.priority);
            return Err(contradiction(row, LATER_THAN_ALL));
        }
        listener.rules.insert_mut(rule.priority, rule);
    }
    state.listeners.insert_mut(image.name, Arc::new(listener));
    Ok(())
}

const ROW: &str = "snapshot/state";
const LATER_THAN_ALL: &str = "has a later revision than what contains it";

fn contradiction(row: String, contradiction: &'static str) -> Damage {
    Damage::Contradiction { row, contradiction }
}
