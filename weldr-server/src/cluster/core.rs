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

use super::{
    log_store::LogStore,
    peers::{Client, Peers},
    reporter::{Reporter, Verdicts},
    state_machine::StateMachine,
    tenant::Tenant,
    tuning::LEADER_LEASE,
    types::{Member, Raft, Types},
};

/// The parts of a node. All of them work on the engine's runtime.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) member: Member,
    /// `None` while the engine is started again after its disk failed.
    pub(super) raft: watch::Sender<Option<Raft>>,
    pub(super) machine: StateMachine,
    pub(super) log: LogStore,
    pub(super) peers: Peers,
    /// Until when this node is surely the leader.
    pub(super) lease: watch::Sender<Option<std::time::Instant>>,
    /// The node stops, or serves nothing.
    pub(super) leaving: AtomicBool,
    /// A hand-over has begun, and the lease is not told.
    pub(super) withheld: AtomicBool,
    /// Held by the one hand-over that may be under way.
    pub(super) handing_over: tokio::sync::Mutex<()>,
    pub(super) tenant: Mutex<Option<Arc<dyn Tenant>>>,
    /// The last term in which this node has given the leadership away.
    pub(super) handed_over: AtomicU64,
    pub(super) role: Mutex<Role>,
    /// What the node tells the others of its servers.
    pub(super) reporter: Mutex<Option<Reporter>>,
    pub(super) verdicts: Mutex<Verdicts>,
    /// Orders that are under way.
    pub(super) under_way: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// What a node is in its cluster, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Role {
    pub(super) state: ServerState,
    pub(super) since: Instant,
}

pub(super) type Metrics = RaftMetrics<Types>;

impl Core {
    pub(super) fn me(&self) -> u64 {
        self.peers.me()
    }

    /// The engine, while it works.
    pub(super) fn raft(&self) -> Option<Raft> {
        let raft = self.raft.borrow().clone()?;
        let works = raft.metrics().borrow_watched().running_state.is_ok();
        works.then_some(raft)
    }

    pub(super) fn metrics(&self) -> Option<Metrics> {
        let raft = self.raft()?;
        let metrics = raft.metrics().borrow_watched().clone();
        Some(metrics)
    }

    /// The members but this one.
    pub(super) fn others(&self, metrics: &Metrics) -> BTreeMap<u64, Member> {
        let members = metrics.membership_config.nodes();
        members
            .filter(|(id, _)| **id != self.me())
            .map(|(id, member)| (*id, member.clone()))
            .collect()
    }

    pub(super) fn client(&self, id: u64, member: &Member) -> Result<Client, Status> {
        let client = self.peers.client(id, &member.address);
        client.map_err(|no_way| Status::unavailable(no_way.to_string()))
    }

    /// Whether this node met a record that it does not know, and applies nothing more.
    pub(super) fn has_stopped(&self) -> bool {
        self.machine.stopped().borrow().is_some()
    }

    /// Whether this node leads, and a majority has said so of late.
    pub(super) fn leads(&self, metrics: &Metrics) -> bool {
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
    pub(super) fn is_alone(&self, metrics: &Metrics) -> bool {
        metrics
            .membership_config
            .voter_ids()
            .all(|id| id == self.me())
    }

    /// Takes note of what the engine says that this node is.
    pub(super) fn note_role(&self, state: ServerState) -> Role {
        let mut role = self.role.lock().unwrap_or_else(PoisonError::into_inner);
        if role.state != state {
            let since = Instant::now();
            *role = Role { state, since };
        }
        *role
    }

    pub(super) fn tenant(&self) -> Option<Arc<dyn Tenant>> {
        let tenant = self.tenant.lock().unwrap_or_else(PoisonError::into_inner);
        tenant.clone()
    }

    /// Ends the lease for as long as a hand-over is under way.
    pub(super) fn withhold_lease(&self, withheld: bool) {
        self.withheld.store(withheld, Ordering::SeqCst);
        if withheld {
            self.lease.send_replace(None);
        }
    }

    /// Tells until when this node surely leads.
    pub(super) fn tell_lease(&self, until: Option<std::time::Instant>) {
        self.lease.send_if_modified(|told| {
            // Looked at under the lock of the sender: a hand-over that begins now ends what is told here.
            let until = until.filter(|_| !self.withheld.load(Ordering::SeqCst));
            let other = *told != until;
            *told = until;
            other
        });
    }

    /// Whether this node has given its leadership of that term away.
    pub(super) fn has_handed_over(&self, term: u64) -> bool {
        self.handed_over.load(Ordering::SeqCst) >= term
    }
}
