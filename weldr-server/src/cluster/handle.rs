//! The interface of the cluster for the rest of the program: read and change the desired state, and ask about the
//! cluster.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    runtime,
    sync::watch,
    time::{self, Instant},
};
use tonic::{Code, Status as RpcStatus};
use weldr_proto::raft::v1::{
    Backups, ChangeRequest, Readiness, RotateKeyRequest, ServerReport, change_request,
};

use crate::{
    model::{Applied, Command, DesiredState, Revision, Timestamp},
    secrets::Secrets,
};

use super::{
    error::{ChangeError, ProposeError, Stopped},
    log::{
        backup::Backup,
        history::{ChangedObjects, Event, NotInHistory},
        member_history::MemberEvent,
        proposal::{Proposal, ProposalResult, Record},
    },
    membership::invites::{InviteStatus, Invited},
    raft::{
        core::{Core, NodeMembership, member_named},
        numbers::Numbers,
        proposals::{Leader, QUORUM_PATIENCE, was_not_sent},
        reporter::{DrainReport, HolderClaim, ListenerReporter, Reporter},
        sightings::OtherCluster,
        status::{self, ClusterStatus},
        step_down_hook::StepDownHook,
    },
    sealing::{holders::Members, search},
    storage::disk::{Disk, DiskState},
};

/// The time limit of a proposal. After it, the result is reported as unknown.
const LONGEST_PROPOSAL: Duration = Duration::from_secs(10);
/// The time limit of a cluster change, without the time that the step-down hook takes.
const LONGEST_CHANGE: Duration = Duration::from_secs(7);
/// The time limit of a rotation of a key.
const LONGEST_ROTATION: Duration = Duration::from_secs(20);
/// The pause before a change is sent again to a leader that could not be reached.
const LEADER_LOOK: Duration = Duration::from_millis(50);
/// What is said of a change without an answer.
const UNANSWERED: &str = "the leader has not answered in time; the change may still be made";

/// Proposes commands and watches the resulting state. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    /// Cannot be upgraded after the node has stopped.
    core: Weak<Core>,
    runtime: runtime::Handle,
    name: Arc<str>,
    state: watch::Receiver<Arc<DesiredState>>,
    stopped: watch::Receiver<Option<Stopped>>,
    lease: watch::Receiver<Option<std::time::Instant>>,
    last_words: watch::Receiver<Option<Arc<str>>>,
    led_last: watch::Receiver<bool>,
    secrets: Secrets,
}

impl Handle {
    #[cfg(test)]
    pub(super) fn core(&self) -> Arc<Core> {
        self.core.upgrade().unwrap()
    }

    pub(super) fn new(core: &Arc<Core>, runtime: runtime::Handle) -> Self {
        core.secrets.held_by(Box::new(Members {
            core: Arc::downgrade(core),
            runtime: runtime.clone(),
        }));
        Self {
            core: Arc::downgrade(core),
            runtime,
            name: core.member.name.as_str().into(),
            state: core.machine.states(),
            stopped: core.machine.stopped(),
            lease: core.lease.subscribe(),
            last_words: core.last_words.subscribe(),
            led_last: core.led_last.subscribe(),
            secrets: core.secrets.clone(),
        }
    }

    /// Proposes `command` with this node as its origin. Returns when the command is applied and on disk on a majority.
    pub async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        self.propose_from(command, &self.name).await
    }

    /// Proposes `command` with `from` as its origin. Returns when the leader has applied it and it is on disk on a
    /// majority of the nodes. This node may apply it a moment later: see [`watch`](Self::watch).
    pub async fn propose_from(
        &self,
        command: Command,
        from: &str,
    ) -> Result<Applied, ProposeError> {
        let proposal = Proposal::Change {
            command,
            at: Timestamp::now(),
            from: from.to_owned(),
        };
        self.submit(&proposal).await
    }

    /// Restores the servers and pool settings of revision `to`, as a new change.
    pub async fn roll_back(&self, to: Revision, from: &str) -> Result<Applied, ProposeError> {
        let (at, from) = (Timestamp::now(), from.to_owned());
        self.submit(&Proposal::Rollback { to, at, from }).await
    }

    /// Restores the servers and pool settings of a backup, as a new change.
    pub async fn restore(&self, backup: Backup, from: &str) -> Result<Applied, ProposeError> {
        let (at, from) = (Timestamp::now(), from.to_owned());
        self.submit(&Proposal::Restore { backup, at, from }).await
    }

    async fn submit(&self, proposal: &Proposal) -> Result<Applied, ProposeError> {
        let record = Record::of(proposal);
        let submit = self.on_engine(LONGEST_PROPOSAL, async move |core| {
            core.submit(record).await
        });
        let unknown = || ProposeError::Unknown { missing: vec![] };
        let (_, result) = submit.await?.ok_or_else(unknown)??;
        match result {
            ProposalResult::Applied(applied) => Ok(applied),
            ProposalResult::Rejected(rejection) => Err(rejection.into()),
            ProposalResult::Nothing => Err(unknown()),
        }
    }

    /// The last `most` changes that this node has applied, the newest first.
    pub fn history(&self, most: usize) -> Vec<Event> {
        let core = self.core.upgrade();
        core.map_or_else(Vec::new, |core| {
            core.machine.replica().1.history.latest(most)
        })
    }

    /// The newest state that this node has applied, and what has changed in it after the revision `after`.
    ///
    /// # Errors
    /// The history does not reach back to that revision, or this node has not come to it.
    pub fn changed_since(
        &self,
        after: Revision,
    ) -> Result<(DesiredState, ChangedObjects), NotInHistory> {
        match self.core.upgrade() {
            Some(core) => core.machine.changed_since(after),
            None => Ok((
                DesiredState::clone(&self.current()),
                ChangedObjects::default(),
            )),
        }
    }

    /// The name of each member and its view of the servers; `None` if the member does not answer.
    pub async fn server_reports(&self) -> Vec<(String, Option<Vec<ServerReport>>)> {
        let told = self.on_engine(QUORUM_PATIENCE, async |core| core.server_reports().await);
        told.await.ok().flatten().unwrap_or_default()
    }

    /// Waits until this node has applied every change that was acknowledged before the call, and returns the revision
    /// of the state then. A read of this node's state after that is linearizable.
    pub async fn catch_up(&self) -> Result<Revision, ProposeError> {
        let caught_up = self.on_engine(QUORUM_PATIENCE * 2, async |core| core.catch_up().await);
        match caught_up.await? {
            Some(revision) => Ok(revision?),
            None => Err(ProposeError::NoQuorum { missing: vec![] }),
        }
    }

    /// Runs `work` on the engine's runtime, for at most `limit`. `None` if the limit was reached.
    async fn on_engine<T, F>(
        &self,
        limit: Duration,
        work: impl FnOnce(Arc<Core>) -> F + Send + 'static,
    ) -> Result<Option<T>, ProposeError>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send,
    {
        let core = self.core.upgrade().ok_or(ProposeError::ShuttingDown)?;
        if core.in_flight.is_closed() {
            return Err(ProposeError::ShuttingDown);
        }
        let tracker = core.in_flight.clone();
        let work = async move { time::timeout(limit, work(core)).await.ok() };
        let worked = self.runtime.spawn(tracker.track_future(work)).await;
        // An error means that the runtime ended before the work did.
        worked.or(Ok(None))
    }

    /// Seals and opens the secrets of the desired state.
    pub fn secrets(&self) -> Secrets {
        self.secrets.clone()
    }

    /// The current state and every later one. Several states in quick succession may wake the receiver once.
    pub fn watch(&self) -> watch::Receiver<Arc<DesiredState>> {
        self.state.clone()
    }

    /// The current state.
    pub fn current(&self) -> Arc<DesiredState> {
        Arc::clone(&self.state.borrow())
    }

    /// `Some` after this node stopped applying the log, because it found a record that it does not know.
    pub fn stopped(&self) -> watch::Receiver<Option<Stopped>> {
        self.stopped.clone()
    }

    /// The state of the disk. Without a data directory, it never fails.
    pub fn disk(&self) -> DiskState {
        let core = self.core.upgrade();
        let state = core.and_then(|core| core.log.disk().map(Disk::state));
        state.unwrap_or_default()
    }

    /// Whether the consensus engine runs. It does not for a moment after a disk failure.
    pub fn engine_runs(&self) -> bool {
        let core = self.core.upgrade();
        core.is_some_and(|core| core.raft().is_some())
    }

    /// Whether this node belongs to its cluster.
    pub fn membership(&self) -> NodeMembership {
        let core = self.core.upgrade();
        core.map_or(NodeMembership::Unknown, |core| core.node_membership())
    }

    /// Another cluster with the same secret, if this node or another member has seen one in the last seconds.
    pub fn other_cluster(&self) -> Option<OtherCluster> {
        self.core.upgrade()?.other_cluster()
    }

    /// The last `most` changes of the membership that this node has applied, the newest first.
    pub fn member_history(&self, most: usize) -> Vec<MemberEvent> {
        let core = self.core.upgrade();
        core.map_or_else(Vec::new, |core| core.machine.member_history().latest(most))
    }

    /// Sets the readiness that this node reports to other nodes.
    pub fn report_readiness(&self, readiness: Readiness) {
        if let Some(core) = self.core.upgrade() {
            let reported = core.readiness.lock();
            *reported.unwrap_or_else(PoisonError::into_inner) = readiness;
        }
    }

    /// Sets how much this node is preferred as the holder of the virtual addresses.
    pub fn claim_addresses(&self, claim: HolderClaim) {
        if let Some(core) = self.core.upgrade() {
            let reported = core.holder_claim.lock();
            *reported.unwrap_or_else(PoisonError::into_inner) = claim;
        }
    }

    /// Sets what this node reports of its scheduled backups.
    pub fn report_backups(&self, backups: Backups) {
        if let Some(core) = self.core.upgrade() {
            let reported = core.backups.lock();
            *reported.unwrap_or_else(PoisonError::into_inner) = Some(backups);
        }
    }

    /// Until when this node is certainly the leader; `None` if it is not. A resource that belongs to the leader must be
    /// released before that moment, even if the value changes later.
    pub fn leadership(&self) -> watch::Receiver<Option<std::time::Instant>> {
        self.lease.clone()
    }

    /// Whether this node is the last leader that it knows of, with or without a majority, and has not handed over.
    pub fn led_last(&self) -> watch::Receiver<bool> {
        self.led_last.clone()
    }

    /// What [`tell_of_death`](super::tell_of_death) tells the other nodes if this process dies while it leads; `None`
    /// while it does not. Only a process that outlives this one may have it.
    pub fn last_words(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.last_words.clone()
    }

    /// The name of this node.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The status of the cluster, with a report of every member.
    pub async fn status(&self) -> Result<ClusterStatus, ProposeError> {
        let status = self.on_engine(QUORUM_PATIENCE, async |core| {
            status::gather(&core, false).await
        });
        status
            .await?
            .ok_or(ProposeError::Unknown { missing: vec![] })
    }

    /// The other members that have not applied `revision` within `limit`, as `name (address)`. Members that do not answer are
    /// among them.
    pub async fn without(&self, revision: Revision, limit: Duration) -> Vec<String> {
        let asked = self.on_engine(limit * 2, async move |core| {
            core.without(revision, limit).await
        });
        let unknown = || vec!["all others".to_owned()];
        asked.await.ok().flatten().unwrap_or_else(unknown)
    }

    /// Sets the function that gives this node's view of the servers to other nodes.
    pub fn report_servers_with(&self, reporter: Reporter) {
        if let Some(core) = self.core.upgrade() {
            *core.reporter.lock().unwrap_or_else(PoisonError::into_inner) = Some(reporter);
        }
    }

    /// Sets the function that gives this node's listeners to other nodes.
    pub fn report_listeners_with(&self, reporter: ListenerReporter) {
        if let Some(core) = self.core.upgrade() {
            let listeners = core.listeners.lock();
            *listeners.unwrap_or_else(PoisonError::into_inner) = Some(reporter);
        }
    }

    /// Sets the hook that releases what this node holds by [`leadership`](Self::leadership) before the leadership is
    /// handed over.
    pub fn set_step_down_hook(&self, step_down_hook: Arc<dyn StepDownHook>) {
        if let Some(core) = self.core.upgrade() {
            *core
                .step_down_hook
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(step_down_hook);
        }
    }

    /// Whether this node is a witness, which votes and serves nothing.
    pub fn is_witness(&self) -> bool {
        self.core.upgrade().is_some_and(|core| core.witness)
    }

    /// The numbers of the consensus engine; `None` while it does not run.
    pub fn numbers(&self) -> Option<Numbers> {
        let metrics = self.core.upgrade()?.metrics()?;
        Some(Numbers::of(&metrics))
    }

    /// Whether this node is certainly the leader now.
    pub fn leads(&self) -> bool {
        let until = *self.lease.borrow();
        until.is_some_and(|until| std::time::Instant::now() < until)
    }

    /// Replaces the drain report that this node gives to other nodes.
    pub fn set_drain_report(&self, drain_report: DrainReport) {
        if let Some(core) = self.core.upgrade() {
            *core
                .drain_report
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = drain_report;
        }
    }

    /// The drain reports of the other members; `None` for each member that does not answer.
    pub async fn drain_reports_of_others(&self) -> Vec<Option<DrainReport>> {
        let told = self.on_engine(QUORUM_PATIENCE, async |core| {
            core.drain_reports_of_others().await
        });
        told.await.ok().flatten().unwrap_or_default()
    }

    /// Removes the node with this name from the cluster. The node can only come back with a new identity.
    ///
    /// # Errors
    /// Without `force`, also if most of the nodes that would remain do not respond: there would be no quorum.
    pub async fn remove_node(&self, name: String, force: bool) -> Result<(), ChangeError> {
        let change = Some(change_request::Change::Remove(name));
        self.change(ChangeRequest { change, force }).await
    }

    /// Transfers the leadership to the node with this name, or to the most up-to-date node if the name is empty.
    pub async fn transfer(&self, name: String) -> Result<(), ChangeError> {
        let change = Some(change_request::Change::Transfer(name));
        let force = false;
        self.change(ChangeRequest { change, force }).await
    }

    /// Invites one node to join within `lifetime`.
    pub async fn invite(&self, lifetime: Duration, from: &str) -> Result<Invited, ChangeError> {
        let from = from.to_owned();
        let invited = self.on_engine(LONGEST_PROPOSAL, async move |core| {
            core.invite(lifetime, from).await
        });
        let unanswered = || ChangeError::Unavailable(UNANSWERED.to_owned());
        invited.await?.unwrap_or_else(|| Err(unanswered()))
    }

    /// The last invites, the newest last.
    pub fn invites(&self) -> Vec<InviteStatus> {
        let core = self.core.upgrade();
        core.map_or_else(Vec::new, |core| core.invites())
    }

    /// Ends the open invite with this id.
    pub async fn revoke_invite(&self, id: String) -> Result<(), ChangeError> {
        let revoked = self.on_engine(LONGEST_PROPOSAL, async move |core| {
            core.revoke_invite(&id).await
        });
        changed(revoked.await.map(in_time))
    }

    /// Replaces the key of the node with this name. Returns the fingerprint of the new one.
    pub async fn rotate_key(&self, name: String) -> Result<String, ChangeError> {
        let rotated = self.on_engine(LONGEST_ROTATION, async move |core| {
            rotate_key(&core, &name)
                .await
                .map_err(|status| refused(&status))
        });
        let unanswered = || ChangeError::Unavailable(UNANSWERED.to_owned());
        rotated.await?.unwrap_or_else(|| Err(unanswered()))
    }

    /// Reads the sealing keys, and the secret and the certificate for other nodes if they are in files, again. Logs what comes of
    /// it.
    pub async fn reload_files(&self) {
        let reload = self.on_engine(LONGEST_PROPOSAL, async |core| {
            search::reload(&core).await;
            // An error means that the runtime ends.
            let _ = tokio::task::spawn_blocking(move || core.reload_files()).await;
        });
        // A node that stops has no use for them.
        let _ = reload.await;
    }

    /// Marks this node as not eligible to lead, for the rest of its life: it is about to stop, or has no data path. It
    /// keeps a leadership that it has until [`step_down`](Self::step_down).
    pub fn leave(&self) {
        if let Some(core) = self.core.upgrade() {
            core.leave();
        }
    }

    /// Transfers the leadership if this node has it and another node can take it. Waits for a hand-over that is already
    /// running.
    ///
    /// # Errors
    /// Why this node is still the leader.
    pub async fn step_down(&self) -> Result<(), ChangeError> {
        // It may have to wait for one other change first.
        let step_down = self.on_engine(self.longest_change() * 2, async |core| {
            core.step_down().await.map_err(|status| refused(&status))
        });
        changed(step_down.await.map(in_time))
    }

    /// The time limit of a cluster change with this node's step-down hook. The leader may be another node; it is
    /// assumed to need the same time.
    fn longest_change(&self) -> Duration {
        let step_down_hook = self.core.upgrade().and_then(|core| core.step_down_hook());
        LONGEST_CHANGE
            + step_down_hook.map_or(Duration::ZERO, |step_down_hook| {
                step_down_hook.max_duration()
            })
    }

    async fn change(&self, request: ChangeRequest) -> Result<(), ChangeError> {
        let work = self.on_engine(self.longest_change(), async move |core| {
            change(&core, request).await
        });
        changed(work.await.map(in_time))
    }
}

/// Has a node replace its key.
async fn rotate_key(core: &Core, name: &str) -> Result<String, RpcStatus> {
    let metrics = core.metrics();
    let metrics = metrics.ok_or_else(|| RpcStatus::unavailable("the node is not ready"))?;
    let id = member_named(&metrics, name)?;
    if id == core.local_id() {
        return core.rotate_key().await.map(|key| key.to_string());
    }
    let member = metrics.membership_config.get_node(&id).cloned();
    let mut client = core.client(id, &member.unwrap_or_default())?;
    let response = client.rotate_key(RotateKeyRequest {}).await?;
    Ok(response.into_inner().key)
}

/// Sends a change of the cluster to the leader, whichever node that is.
async fn change(core: &Core, request: ChangeRequest) -> Result<(), ChangeError> {
    let deadline = Instant::now() + core.quorum_patience();
    loop {
        let (id, member) = match core.leader(deadline).await.map_err(ProposeError::from)? {
            Leader::Here(_) => {
                return carry_out(core, request)
                    .await
                    .map_err(|status| refused(&status));
            }
            Leader::There(id, member) => (id, member),
        };
        let mut client = core
            .client(id, &member)
            .map_err(|status| refused(&status))?;
        match client.change(request.clone()).await {
            Ok(_) => return Ok(()),
            Err(status) if std::error::Error::source(&status).is_none() => {
                return Err(refused(&status));
            }
            // The connection has failed.
            Err(status) if was_not_sent(&status) => {}
            Err(_) => return Err(ChangeError::Unavailable(UNANSWERED.to_owned())),
        }
        if Instant::now() >= deadline {
            let missing = core.missing().await;
            return Err(ChangeError::NoQuorum { missing });
        }
        time::sleep(LEADER_LOOK).await;
    }
}

async fn carry_out(core: &Core, request: ChangeRequest) -> Result<(), RpcStatus> {
    match request.change {
        Some(change_request::Change::Remove(name)) => {
            core.remove_member(&name, request.force).await
        }
        Some(change_request::Change::Transfer(name)) => core.hand_over(&name).await,
        None => Ok(()),
    }
}

/// The result of a cluster change, from what the engine's runtime returned.
fn changed(worked: Result<Result<(), ChangeError>, ProposeError>) -> Result<(), ChangeError> {
    worked.unwrap_or_else(|error| Err(error.into()))
}

fn in_time(done: Option<Result<(), ChangeError>>) -> Result<(), ChangeError> {
    done.unwrap_or_else(|| Err(ChangeError::Unavailable(UNANSWERED.to_owned())))
}

/// The refusal of a node in the form of an error.
fn refused(status: &RpcStatus) -> ChangeError {
    let message = status.message().to_owned();
    match status.code() {
        Code::NotFound => ChangeError::NoSuchNode(message),
        Code::FailedPrecondition | Code::InvalidArgument => ChangeError::Refused(message),
        _ => ChangeError::Unavailable(message),
    }
}
