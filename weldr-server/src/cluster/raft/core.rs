//! The state that all tasks of a node share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use openraft::{Instant as _, RaftMetrics, ServerState, async_runtime::watch::WatchReceiver as _};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Status;
use weldr_proto::raft::v1;

use crate::{
    cluster::{
        log::types::{Member, StoredMembership, Types},
        network::{
            peers::{PeerClient, Peers},
            roster::EngineMembership,
        },
        options::NetworkOptions,
        storage::{log_store::LogStore, node_files::NodeFiles, state_machine::StateMachine},
    },
    liveness::Tasks,
    secrets::Secrets,
};

use super::{
    contacts::LastContacts,
    facts::StartFacts,
    invite_ages::InviteAges,
    key_copies::KeyCopies,
    reporter::{DrainReport, HolderClaim, ListenerReporter, Reporter},
    settings::Timing,
    sightings::Sightings,
    step_down_hook::StepDownHook,
    voting_rights::VotingRights,
};

/// The shared state of a node. All of its users run on the engine's runtime.
#[derive(Debug)]
pub(in crate::cluster) struct Core {
    /// This node as it was at the start.
    pub(in crate::cluster) member: Member,
    /// Whether this node serves nothing, and leads only while no other node can.
    pub(in crate::cluster) witness: bool,
    pub(in crate::cluster) timing: Timing,
    /// `None` while the engine is being restarted after a disk failure.
    pub(in crate::cluster) raft: watch::Sender<Option<Raft>>,
    pub(in crate::cluster) machine: StateMachine,
    pub(in crate::cluster) log: LogStore,
    pub(in crate::cluster) peers: Peers,
    /// Until when this node is certainly the leader.
    pub(in crate::cluster) lease: watch::Sender<Option<std::time::Instant>>,
    /// Whether this node is the last leader that it knows of, and has not handed over.
    pub(in crate::cluster) led_last: watch::Sender<bool>,
    /// What the guard of this node tells the others if this process dies; `None` if this node does not lead.
    pub(in crate::cluster) last_words: watch::Sender<Option<Arc<str>>>,
    /// When this node last heard from a leader.
    pub(in crate::cluster) heard: Mutex<Option<Instant>>,
    /// The last term whose leader is known to have died.
    pub(in crate::cluster) dead_term: AtomicU64,
    /// Notified when the leader is known to be lost before its lease is over.
    pub(in crate::cluster) leader_lost: Notify,
    /// Whether the node is about to stop or has no data path: it must not become the leader.
    pub(in crate::cluster) leaving: AtomicBool,
    /// Whether a hand-over is running, during which no lease is published.
    pub(in crate::cluster) lease_withheld: AtomicBool,
    /// Locked while a hand-over is running: there is one at a time.
    pub(in crate::cluster) handing_over: tokio::sync::Mutex<()>,
    pub(in crate::cluster) step_down_hook: Mutex<Option<Arc<dyn StepDownHook>>>,
    /// The last term in which this node transferred the leadership to another one.
    pub(in crate::cluster) handed_over: AtomicU64,
    /// Whether this node may vote, and stand for election.
    pub(in crate::cluster) voting_rights: VotingRights,
    /// Other clusters with the same secret that this node sees.
    pub(in crate::cluster) sightings: Sightings,
    /// Those that other members see.
    pub(in crate::cluster) sightings_of_members: Sightings,
    /// Whether other nodes say that this one was removed. It never becomes a member again.
    pub(in crate::cluster) removed: AtomicBool,
    /// How old the open invites are.
    pub(in crate::cluster) invite_ages: InviteAges,
    /// Locked while the key of this node is replaced.
    pub(in crate::cluster) rotating: tokio::sync::Mutex<()>,
    /// Seals and opens the secrets of the desired state.
    pub(in crate::cluster) secrets: Secrets,
    /// Which other nodes have its keys.
    pub(in crate::cluster) key_copies: KeyCopies,
    /// The files beside the database.
    pub(in crate::cluster) files: NodeFiles,
    /// How this node connects to others; `None` without others.
    pub(in crate::cluster) network: Option<NetworkOptions>,
    pub(in crate::cluster) role: Mutex<Role>,
    /// Gives this node's view of the servers.
    pub(in crate::cluster) reporter: Mutex<Option<Reporter>>,
    pub(in crate::cluster) drain_report: Mutex<DrainReport>,
    /// The readiness of this node, for its report to other nodes.
    pub(in crate::cluster) readiness: Mutex<v1::Readiness>,
    /// The scheduled backups of this node, for its report to other nodes; `None` if it makes none.
    pub(in crate::cluster) backups: Mutex<Option<v1::Backups>>,
    /// Returns the listeners of this node, for its report to other nodes.
    pub(in crate::cluster) listeners: Mutex<Option<ListenerReporter>>,
    /// How much this node is preferred as the holder of the virtual addresses.
    pub(in crate::cluster) holder_claim: Mutex<HolderClaim>,
    /// When each other member responded last.
    pub(in crate::cluster) last_contacts: LastContacts,
    /// What this node reports of how it was started.
    pub(in crate::cluster) facts: StartFacts,
    /// Where the tasks show that they go on.
    pub(in crate::cluster) tasks: Tasks,
    /// Calls through the handle that are in flight.
    pub(in crate::cluster) in_flight: TaskTracker,
    pub(in crate::cluster) stop: CancellationToken,
}

/// The role of a node in its cluster, and since when it has that role.
#[derive(Debug, Clone, Copy)]
pub(in crate::cluster) struct Role {
    pub(in crate::cluster) state: ServerState,
    pub(in crate::cluster) since: Instant,
}

/// Whether a node belongs to its cluster, as far as it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeMembership {
    /// It votes.
    Voter,
    /// It joins, and does not vote yet.
    Learner,
    /// It was removed.
    Removed,
    /// It does not know yet: it has just started.
    Unknown,
}

pub(in crate::cluster) type Raft = openraft::Raft<Types, StateMachine>;
pub(in crate::cluster) type Metrics = RaftMetrics<Types>;

impl Core {
    pub(in crate::cluster) fn local_id(&self) -> u64 {
        self.peers.local_id()
    }

    /// The engine, if it is running.
    pub(in crate::cluster) fn raft(&self) -> Option<Raft> {
        let raft = self.raft.borrow().clone()?;
        let works = raft.metrics().borrow_watched().running_state.is_ok();
        works.then_some(raft)
    }

    pub(in crate::cluster) fn metrics(&self) -> Option<Metrics> {
        let raft = self.raft()?;
        let metrics = raft.metrics().borrow_watched().clone();
        Some(metrics)
    }

    /// The term that the engine is in; 0 while it does not run.
    pub(in crate::cluster) fn current_term(&self) -> u64 {
        let raft = self.raft.borrow().clone();
        raft.map_or(0, |raft| raft.metrics().borrow_watched().current_term)
    }

    /// All members except this node.
    pub(in crate::cluster) fn others(&self, metrics: &Metrics) -> BTreeMap<u64, Member> {
        let members = metrics.membership_config.nodes();
        members
            .filter(|(id, _)| **id != self.local_id())
            .map(|(id, member)| (*id, member.clone()))
            .collect()
    }

    pub(in crate::cluster) fn client(
        &self,
        id: u64,
        member: &Member,
    ) -> Result<PeerClient, Status> {
        let client = self.peers.client(id, member);
        client.map_err(|dial_error| Status::unavailable(dial_error.to_string()))
    }

    /// Whether this node stopped applying the log, because it found a record that it does not know.
    pub(in crate::cluster) fn has_stopped(&self) -> bool {
        self.machine.stopped().borrow().is_some()
    }

    /// Whether this node is the leader and a majority has confirmed that within the lease.
    pub(in crate::cluster) fn leads(&self, metrics: &Metrics) -> bool {
        if metrics.state != ServerState::Leader || self.has_stopped() {
            return false;
        }
        self.is_alone(metrics)
            || metrics
                .last_quorum_acked
                .as_ref()
                .is_some_and(|acked| acked.elapsed() < self.lease_length())
    }

    /// Whether this node is the only voter. An engine that has just started knows no membership yet, and its node is
    /// neither alone nor among others.
    pub(in crate::cluster) fn is_alone(&self, metrics: &Metrics) -> bool {
        metrics.membership_config.voter_ids().eq([self.local_id()])
    }

    /// Whether this node is the only voter, by the membership in its log. Unlike the metrics, the log is known as soon as
    /// the engine runs.
    pub(in crate::cluster) async fn is_only_voter(&self, raft: &Raft) -> bool {
        let id = self.local_id();
        let only = raft.with_raft_state(move |state| {
            let effective = state.membership_state.effective();
            effective.voter_ids().eq([id])
        });
        only.await.unwrap_or(false)
    }

    /// Whether another node votes.
    pub(in crate::cluster) fn has_other_voters(&self, metrics: &Metrics) -> bool {
        let mut voters = metrics.membership_config.voter_ids();
        voters.any(|id| id != self.local_id())
    }

    /// The membership that the engine works with, or the last one that was applied while the engine does not run.
    pub(in crate::cluster) fn membership(&self) -> Arc<StoredMembership> {
        self.metrics().map_or_else(
            || Arc::new(self.machine.membership()),
            |metrics| metrics.membership_config,
        )
    }

    /// Whether this node was removed from the cluster, as far as it knows.
    pub(in crate::cluster) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    pub(in crate::cluster) fn node_membership(&self) -> NodeMembership {
        let (id, membership) = (self.local_id(), self.membership());
        if self.is_removed() {
            NodeMembership::Removed
        } else if membership.voter_ids().any(|voter| voter == id) {
            NodeMembership::Voter
        } else if membership.get_node(&id).is_some() {
            NodeMembership::Learner
        } else {
            // The log that it has received so far may be older than its admission.
            NodeMembership::Unknown
        }
    }

    /// For how long after a heartbeat that a majority has answered no other node can be elected.
    pub(in crate::cluster) fn lease_length(&self) -> std::time::Duration {
        self.peers.exchange().shortest()
    }

    /// Records a message of the leader of `term`. What a dead leader has sent may come later than the news of its death.
    pub(in crate::cluster) fn hears_from_leader(&self, term: u64) {
        if term <= self.dead_term.load(Ordering::SeqCst) {
            return;
        }
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.voting_rights.hears_from_leader();
    }

    /// Lets the election begin as if nothing had been heard for `silence`.
    pub(in crate::cluster) fn leader_is_lost(&self, silence: std::time::Duration) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) =
            Instant::now().checked_sub(silence);
        self.leader_lost.notify_one();
    }

    pub(in crate::cluster) fn last_heard(&self) -> Option<Instant> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this node says that it is ready for traffic.
    pub(in crate::cluster) fn is_ready(&self) -> bool {
        let readiness = self.readiness.lock();
        let readiness = readiness.unwrap_or_else(PoisonError::into_inner);
        readiness.reasons.is_empty()
    }

    /// Updates the role from the engine's state, and returns it.
    pub(in crate::cluster) fn note_role(&self, state: ServerState) -> Role {
        let mut role = self.role.lock().unwrap_or_else(PoisonError::into_inner);
        if role.state != state {
            let since = Instant::now();
            *role = Role { state, since };
        }
        *role
    }

    pub(in crate::cluster) fn step_down_hook(&self) -> Option<Arc<dyn StepDownHook>> {
        let step_down_hook = self
            .step_down_hook
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        step_down_hook.clone()
    }

    /// Suspends the lease, or ends the suspension.
    pub(in crate::cluster) fn withhold_lease(&self, lease_withheld: bool) {
        self.lease_withheld.store(lease_withheld, Ordering::SeqCst);
        if lease_withheld {
            self.led_last.send_replace(false);
            self.lease.send_replace(None);
        }
    }

    /// Publishes until when this node is certainly the leader.
    pub(in crate::cluster) fn publish_lease(&self, until: Option<std::time::Instant>) {
        self.lease.send_if_modified(|told| {
            // Read while the sender is locked: a hand-over that begins now withdraws what is published here.
            let until = until.filter(|_| !self.lease_withheld.load(Ordering::SeqCst));
            let other = *told != until;
            *told = until;
            other
        });
    }

    /// Whether this node transferred its leadership of this term to another one.
    pub(in crate::cluster) fn has_handed_over(&self, term: u64) -> bool {
        self.handed_over.load(Ordering::SeqCst) >= term
    }

    pub(in crate::cluster) fn leading(&self) -> Result<(Raft, Metrics), Status> {
        let both = self.raft().zip(self.metrics());
        both.filter(|(_, metrics)| metrics.state == ServerState::Leader)
            .ok_or_else(|| Status::failed_precondition("this node does not lead"))
    }

    pub(in crate::cluster) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }
}

/// The membership of a node's engine. Does not keep the node alive.
pub(in crate::cluster) struct OfCore(pub(in crate::cluster) Weak<Core>);

impl EngineMembership for OfCore {
    fn current(&self) -> Option<Arc<StoredMembership>> {
        let core = self.0.upgrade()?;
        let known = |membership: &StoredMembership| membership.nodes().next().is_some();
        let raft = core.raft.borrow().clone();
        let engine =
            raft.map(|raft| Arc::clone(&raft.metrics().borrow_watched().membership_config));
        engine.filter(|engine| known(engine)).or_else(|| {
            let applied = core.machine.membership();
            known(&applied).then(|| Arc::new(applied))
        })
    }

    fn was_removed(&self, id: u64) -> bool {
        let core = self.0.upgrade();
        core.is_some_and(|core| core.machine.member_history().is_removed(id))
    }
}

pub(in crate::cluster) fn member_named(metrics: &Metrics, name: &str) -> Result<u64, Status> {
    let mut members = metrics.membership_config.nodes();
    let found = members.find(|(_, member)| member.name == name);
    found
        .map(|(id, _)| *id)
        .ok_or_else(|| Status::not_found(format!("there is no node {name} in the cluster")))
}
