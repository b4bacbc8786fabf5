//! What a node of a cluster consists of.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use openraft::{Instant as _, RaftMetrics, ServerState, async_runtime::watch::WatchReceiver as _};
use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Status;

use crate::cluster::{
    log::types::{Member, Types},
    network::peers::{PeerClient, Peers},
    storage::{log_store::LogStore, state_machine::StateMachine},
};

use super::{
    reporter::{DrainReport, Reporter},
    settings::LEADER_LEASE,
    step_down_hook::StepDownHook,
};

/// The parts of a node. All of them work on the engine's runtime.
#[derive(Debug)]
pub(in crate::cluster) struct Core {
    pub(in crate::cluster) member: Member,
    /// `None` while the engine is started again after its disk failed.
    pub(in crate::cluster) raft: watch::Sender<Option<Raft>>,
    pub(in crate::cluster) machine: StateMachine,
    pub(in crate::cluster) log: LogStore,
    pub(in crate::cluster) peers: Peers,
    /// Until when this node is surely the leader.
    pub(in crate::cluster) lease: watch::Sender<Option<std::time::Instant>>,
    /// The node stops, or serves nothing.
    pub(in crate::cluster) leaving: AtomicBool,
    /// A hand-over has begun, and the lease is not told.
    pub(in crate::cluster) lease_withheld: AtomicBool,
    /// Held by the one hand-over that may be under way.
    pub(in crate::cluster) handing_over: tokio::sync::Mutex<()>,
    pub(in crate::cluster) step_down_hook: Mutex<Option<Arc<dyn StepDownHook>>>,
    /// The last term in which this node has given the leadership away.
    pub(in crate::cluster) handed_over: AtomicU64,
    pub(in crate::cluster) role: Mutex<Role>,
    /// What the node tells the others of its servers.
    pub(in crate::cluster) reporter: Mutex<Option<Reporter>>,
    pub(in crate::cluster) drain_report: Mutex<DrainReport>,
    /// Orders that are under way.
    pub(in crate::cluster) in_flight: TaskTracker,
    pub(in crate::cluster) stop: CancellationToken,
}

/// What a node is in its cluster, and since when.
#[derive(Debug, Clone, Copy)]
pub(in crate::cluster) struct Role {
    pub(in crate::cluster) state: ServerState,
    pub(in crate::cluster) since: Instant,
}

pub(in crate::cluster) type Raft = openraft::Raft<Types, StateMachine>;
pub(in crate::cluster) type Metrics = RaftMetrics<Types>;

impl Core {
    pub(in crate::cluster) fn local_id(&self) -> u64 {
        self.peers.local_id()
    }

    /// The engine, while it works.
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

    /// The members but this one.
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
        let client = self.peers.client(id, &member.address);
        client.map_err(|dial_error| Status::unavailable(dial_error.to_string()))
    }

    /// Whether this node met a record that it does not know, and applies nothing more.
    pub(in crate::cluster) fn has_stopped(&self) -> bool {
        self.machine.stopped().borrow().is_some()
    }

    /// Whether this node leads, and a majority has said so of late.
    pub(in crate::cluster) fn leads(&self, metrics: &Metrics) -> bool {
        if metrics.state != ServerState::Leader || self.has_stopped() {
            return false;
        }
        self.is_alone(metrics)
            || metrics
                .last_quorum_acked
                .as_ref()
                .is_some_and(|acked| acked.elapsed() < LEADER_LEASE)
    }

    /// Whether this node is the only one that votes.
    pub(in crate::cluster) fn is_alone(&self, metrics: &Metrics) -> bool {
        metrics
            .membership_config
            .voter_ids()
            .all(|id| id == self.local_id())
    }

    /// Takes note of what the engine says that this node is.
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

    /// Ends the lease for as long as a hand-over is under way.
    pub(in crate::cluster) fn withhold_lease(&self, lease_withheld: bool) {
        self.lease_withheld.store(lease_withheld, Ordering::SeqCst);
        if lease_withheld {
            self.lease.send_replace(None);
        }
    }

    /// Tells until when this node surely leads.
    pub(in crate::cluster) fn publish_lease(&self, until: Option<std::time::Instant>) {
        self.lease.send_if_modified(|told| {
            // Looked at under the lock of the sender: a hand-over that begins now ends what is told here.
            let until = until.filter(|_| !self.lease_withheld.load(Ordering::SeqCst));
            let other = *told != until;
            *told = until;
            other
        });
    }

    /// Whether this node has given its leadership of that term away.
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

pub(in crate::cluster) fn member_named(metrics: &Metrics, name: &str) -> Result<u64, Status> {
    let mut members = metrics.membership_config.nodes();
    let found = members.find(|(_, member)| member.name == name);
    found
        .map(|(id, _)| *id)
        .ok_or_else(|| Status::not_found(format!("there is no node {name} in the cluster")))
}
