//! What a node of a cluster consists of, and how an order finds the leader.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use openraft::{
    Instant as _, RaftMetrics, ReadPolicy, ServerState,
    async_runtime::watch::WatchReceiver as _,
    errors::{ClientWriteError, LinearizableReadError, RaftError},
};
use tokio::{
    sync::watch,
    time::{self, Instant},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Status};
use weldr_proto::raft::v1;

use crate::model::Revision;

use super::{
    error::StoreError,
    log_store::LogStore,
    peers::{Client, Peers},
    state_machine::{StateMachine, Stopped},
    tenant::Tenant,
    types::{Answer, Member, Raft, Record, Types},
    wire,
};

/// How long a call waits for a leader and a quorum before it gives up.
pub(super) const QUORUM_PATIENCE: Duration = Duration::from_millis(2500);
/// How long a leader that lost its majority waits for it with an order in its hands, and then for another leader.
const ORDER_PATIENCE: Duration = Duration::from_millis(1200);
/// How long a call waits for a disk that fails.
const DISK_PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks for a leader.
const LOOK: Duration = Duration::from_millis(10);
/// How long a node may take to say that it is there.
const REPORT_TIMEOUT: Duration = Duration::from_millis(700);

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

/// Gives what this node sees of the servers.
#[derive(Clone)]
pub struct Reporter(pub Arc<dyn Fn() -> Vec<v1::ServerReport> + Send + Sync>);

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reporter")
    }
}

/// What a node has to say of servers that are on their way out, by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Being removed, and nothing runs on it any more through this node.
    pub finished: BTreeSet<u64>,
    /// Unhealthy, as this node sees it, for longer than it may be.
    pub overdue: BTreeSet<u64>,
}

/// What a node is in its cluster, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Role {
    pub(super) state: ServerState,
    pub(super) since: Instant,
}

pub(super) type Metrics = RaftMetrics<Types>;

/// Where orders go.
enum Leader {
    Here(Raft),
    There(u64, Member),
}

/// Why an order or a question did not go through.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nothing was written, because there is no leader with a majority.
    NoQuorum { missing: Vec<String> },
    /// It may or may not be carried out.
    Unknown { missing: Vec<String> },
    /// It is not in the log, because the disk failed.
    Disk(Arc<StoreError>),
    /// Nothing was written or read: this node applies nothing any more, and could not show it.
    Stopped(Stopped),
    /// The node stops.
    Stopping,
}

/// What became of one attempt.
enum Attempt<T> {
    Done(T),
    /// Not taken; another may be asked.
    NotTaken,
    /// It may be under way.
    Uncertain,
    Refused(Arc<StoreError>),
}

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
        let lease = super::tuning::LEADER_LEASE;
        self.is_alone(metrics)
            || metrics
                .last_quorum_acked
                .as_ref()
                .is_some_and(|acked| acked.elapsed() < lease)
    }

    /// Whether this node is the only one that votes.
    pub(super) fn is_alone(&self, metrics: &Metrics) -> bool {
        metrics
            .membership_config
            .voter_ids()
            .all(|id| id == self.me())
    }

    fn leader_now(&self) -> Option<Leader> {
        let raft = self.raft()?;
        let metrics = raft.metrics().borrow_watched().clone();
        if self.leads(&metrics) {
            return Some(Leader::Here(raft));
        }
        let leader = metrics.current_leader.filter(|id| *id != self.me())?;
        let member = metrics.membership_config.get_node(&leader)?;
        Some(Leader::There(leader, member.clone()))
    }

    /// The leader, as soon as there is one. None for a node that applies nothing: what is written or read lies beyond
    /// what it has.
    async fn leader(&self, deadline: Instant) -> Result<Leader, Failed> {
        let begun = Instant::now();
        loop {
            if self.stop.is_cancelled() {
                return Err(Failed::Stopping);
            }
            if let Some(stopped) = self.machine.stopped().borrow().clone() {
                return Err(Failed::Stopped(stopped));
            }
            if let Some(leader) = self.leader_now() {
                return Ok(leader);
            }
            let failure = self.log.disk().and_then(super::disk::Disk::failure);
            if let Some(error) = failure.filter(|_| begun.elapsed() >= DISK_PATIENCE) {
                return Err(Failed::Disk(error));
            }
            if Instant::now() >= deadline {
                return Err(self.no_quorum(false).await);
            }
            time::sleep(LOOK).await;
        }
    }

    /// Says who is missing.
    async fn no_quorum(&self, uncertain: bool) -> Failed {
        let missing = self.missing().await;
        if uncertain {
            Failed::Unknown { missing }
        } else {
            Failed::NoQuorum { missing }
        }
    }

    /// The members that do not answer, as `name (address)`.
    pub(super) async fn missing(&self) -> Vec<String> {
        let Some(metrics) = self.metrics() else {
            return Vec::new();
        };
        let others = self.others(&metrics);
        let asked = others.iter().map(async |(id, member)| {
            let report = self.report_of(*id, member, false).await;
            let Member { name, address } = member;
            report.is_err().then(|| format!("{name} ({address})"))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// What another node says of itself.
    pub(super) async fn report_of(
        &self,
        id: u64,
        member: &Member,
        servers: bool,
    ) -> Result<v1::ReportResponse, Status> {
        let mut client = self.client(id, member)?;
        let report = client.report(v1::ReportRequest { servers });
        match time::timeout(REPORT_TIMEOUT, report).await {
            Ok(report) => report.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        }
    }

    /// The verdicts of the other members; `None` for each that does not answer.
    pub(super) async fn verdicts_of_others(&self) -> Vec<Option<Verdicts>> {
        let Some(metrics) = self.metrics() else {
            return Vec::new();
        };
        let others = self.others(&metrics);
        let asked = others.iter().map(async |(id, member)| {
            let report = self.report_of(*id, member, false).await.ok()?;
            Some(Verdicts {
                finished: report.finished.into_iter().collect(),
                overdue: report.overdue.into_iter().collect(),
            })
        });
        join_all(asked).await
    }

    /// What each member sees of the servers; this one first.
    pub(super) async fn server_reports(&self) -> Vec<(String, Option<Vec<v1::ServerReport>>)> {
        let own = (self.member.name.clone(), Some(self.report(true).servers));
        let Some(metrics) = self.metrics() else {
            return vec![own];
        };
        let others = self.others(&metrics);
        let asked = others.iter().map(async |(id, member)| {
            let report = self.report_of(*id, member, true).await.ok();
            (member.name.clone(), report.map(|report| report.servers))
        });
        let mut reports = vec![own];
        reports.extend(join_all(asked).await);
        reports.sort_by(|a, b| a.0.cmp(&b.0));
        reports
    }

    /// Has the record carried out once, by whoever leads; gives its place in the log and its answer.
    pub(super) async fn submit(&self, record: Record) -> Result<(u64, Answer), Failed> {
        let mut uncertain = false;
        let mut deadline = Instant::now() + QUORUM_PATIENCE;
        loop {
            let attempt = match self.leader(deadline).await {
                Ok(Leader::Here(raft)) => self.write(&raft, record.clone()).await,
                Ok(Leader::There(id, member)) => {
                    self.pass_on(id, &member, record.clone(), deadline).await
                }
                Err(Failed::NoQuorum { missing }) if uncertain => {
                    return Err(Failed::Unknown { missing });
                }
                Err(Failed::Disk(_) | Failed::Stopped(_) | Failed::Stopping) if uncertain => {
                    return Err(self.no_quorum(true).await);
                }
                Err(failed) => return Err(failed),
            };
            match attempt {
                Attempt::Done(done) => return Ok(done),
                Attempt::Refused(error) if !uncertain => return Err(Failed::Disk(error)),
                Attempt::Refused(_) | Attempt::NotTaken => {}
                Attempt::Uncertain => {
                    // It is carried out once, however often it is sent; a new leader needs a moment.
                    if !std::mem::replace(&mut uncertain, true) {
                        deadline = deadline.max(Instant::now() + ORDER_PATIENCE);
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(self.no_quorum(uncertain).await);
            }
            time::sleep(LOOK).await;
        }
    }

    /// Has the record carried out if this node leads.
    pub(super) async fn submit_here(&self, record: Record) -> Result<(u64, Answer), Status> {
        let Some(Leader::Here(raft)) = self.leader_now() else {
            return Err(not_leader());
        };
        // Of a newer weldr: in the log it would stop this node, and all that are as old.
        if let Err(unknown) = record.order() {
            return Err(Status::failed_precondition(unknown.to_string()));
        }
        match self.write(&raft, record).await {
            Attempt::Done(done) => Ok(done),
            Attempt::NotTaken => Err(not_leader()),
            Attempt::Uncertain | Attempt::Refused(_) => Err(Status::unknown(
                "the leader cannot tell whether it is written",
            )),
        }
    }

    async fn write(&self, raft: &Raft, record: Record) -> Attempt<(u64, Answer)> {
        let id = record.id;
        let written = tokio::select! {
            written = raft.client_write(record) => written,
            () = self.quorum_is_gone() => return Attempt::Uncertain,
        };
        match written {
            Ok(response) => Attempt::Done((response.log_id.index, response.data)),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Attempt::NotTaken,
            Err(RaftError::APIError(_)) => Attempt::Uncertain,
            Err(RaftError::Fatal(_)) => {
                let metrics = raft.metrics().borrow_watched().clone();
                let refusal = self.log.disk().and_then(|disk| disk.refusal(id));
                // Where others vote, they may have it.
                match refusal.filter(|_| self.is_alone(&metrics)) {
                    Some(error) => Attempt::Refused(error),
                    None => Attempt::Uncertain,
                }
            }
        }
    }

    /// Returns when this node has led nobody for a while.
    async fn quorum_is_gone(&self) {
        let mut since = None;
        loop {
            time::sleep(ORDER_PATIENCE / 12).await;
            let leads = self.metrics().is_some_and(|metrics| self.leads(&metrics));
            since = (!leads).then(|| since.unwrap_or_else(Instant::now));
            if since.is_some_and(|since: Instant| since.elapsed() >= ORDER_PATIENCE) {
                return;
            }
        }
    }

    async fn pass_on(
        &self,
        id: u64,
        member: &Member,
        record: Record,
        deadline: Instant,
    ) -> Attempt<(u64, Answer)> {
        let Ok(mut client) = self.client(id, member) else {
            return Attempt::NotTaken;
        };
        let request = v1::ProposeRequest {
            record: Some(wire::record(record)),
        };
        // Once it is sent, giving up makes its fate unknown: rather later than in its middle.
        let patience = deadline + ORDER_PATIENCE;
        match time::timeout_at(patience, client.propose(request)).await {
            Ok(Ok(response)) => {
                let response = response.into_inner();
                match serde_json::from_slice(&response.answer) {
                    Ok(answer) => Attempt::Done((response.index, answer)),
                    // Written by a newer program, whose answer this one does not know.
                    Err(_) => Attempt::Uncertain,
                }
            }
            Ok(Err(status)) if was_not_sent(&status) => Attempt::NotTaken,
            Ok(Err(status)) => {
                tracing::debug!(leader = %member.name, error = ?status, "the leader does not answer");
                Attempt::Uncertain
            }
            Err(_) => Attempt::Uncertain,
        }
    }

    /// Returns when this node has applied everything that was acknowledged anywhere before the call; gives
    /// the revision then.
    pub(super) async fn catch_up(&self) -> Result<Revision, Failed> {
        let deadline = Instant::now() + QUORUM_PATIENCE;
        loop {
            let index = match self.leader(deadline).await? {
                Leader::Here(raft) => self.read_index_at(&raft).await.ok(),
                Leader::There(id, member) => self.ask_read_index(id, &member, deadline).await,
            };
            if let (Some(index), Some(raft)) = (index, self.raft()) {
                let left = deadline.saturating_duration_since(Instant::now());
                let wait = raft.wait(Some(left));
                let mut stopped = self.machine.stopped();
                tokio::select! {
                    applied = wait.applied_index_at_least(Some(index), "a read") => if applied.is_ok() {
                        return Ok(self.machine.states().borrow().revision);
                    },
                    // The next look for a leader says so.
                    _ = stopped.wait_for(Option::is_some) => {}
                }
            }
            if Instant::now() >= deadline {
                return Err(self.no_quorum(false).await);
            }
            time::sleep(LOOK).await;
        }
    }

    async fn ask_read_index(&self, id: u64, member: &Member, deadline: Instant) -> Option<u64> {
        let mut client = self.client(id, member).ok()?;
        let asked = client.read_index(v1::ReadIndexRequest {});
        let answer = time::timeout_at(deadline, asked).await.ok()?.ok()?;
        Some(answer.into_inner().index)
    }

    /// How far the log must be applied for a linearizable read, if this node leads.
    pub(super) async fn read_index(&self) -> Result<u64, Status> {
        match self.leader_now() {
            Some(Leader::Here(raft)) => self.read_index_at(&raft).await,
            _ => Err(not_leader()),
        }
    }

    async fn read_index_at(&self, raft: &Raft) -> Result<u64, Status> {
        let read = raft.get_read_log_id(ReadPolicy::ReadIndex);
        match time::timeout(QUORUM_PATIENCE / 3, read).await {
            Ok(Ok((read, _applied))) => Ok(read.index()),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_)))) => {
                Err(not_leader())
            }
            Ok(Err(error)) => Err(Status::unavailable(error.to_string())),
            Err(_) => Err(Status::unavailable("no majority answers")),
        }
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

    /// What this node says of itself.
    pub(super) fn report(&self, servers: bool) -> v1::ReportResponse {
        let (applied, replica) = self.machine.replica();
        let stopped = self.machine.stopped().borrow().clone();
        let mut report = v1::ReportResponse {
            applied: applied.unwrap_or_default(),
            revision: replica.state.revision.0,
            leaving: self.is_leaving(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            stopped: stopped
                .map(|stopped| stopped.to_string())
                .unwrap_or_default(),
            ..v1::ReportResponse::default()
        };
        {
            let verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
            report.finished = verdicts.finished.iter().copied().collect();
            report.overdue = verdicts.overdue.iter().copied().collect();
        }
        if let Some(metrics) = self.metrics() {
            let role = self.note_role(metrics.state);
            report.term = metrics.current_term;
            role_name(role.state).clone_into(&mut report.role);
            report.role_for_millis =
                u64::try_from(role.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            report.last = metrics.last_log_index.unwrap_or_default();
            report.leader = metrics.current_leader.unwrap_or_default();
            report.quorum = self.leads(&metrics);
        }
        if let Some(tenant) = self.tenant() {
            report.virtual_addresses = tenant.addresses();
        }
        let reporter = self.reporter.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reporter) = reporter.as_ref().filter(|_| servers) {
            report.servers = (reporter.0)();
        }
        report
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

fn role_name(state: ServerState) -> &'static str {
    match state {
        ServerState::Leader => "leader",
        ServerState::Follower => "follower",
        ServerState::Candidate => "candidate",
        ServerState::Learner => "learner",
        ServerState::Shutdown => "stopped",
    }
}

fn not_leader() -> Status {
    Status::failed_precondition("this node does not lead")
}

/// Whether a call has certainly had no effect at the other end.
fn was_not_sent(status: &Status) -> bool {
    if matches!(
        status.code(),
        Code::FailedPrecondition | Code::PermissionDenied | Code::Unimplemented
    ) {
        return true;
    }
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let canceled = error.downcast_ref::<hyper::Error>();
        if error.is::<tonic::ConnectError>() || canceled.is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        source = error.source();
    }
    false
}
