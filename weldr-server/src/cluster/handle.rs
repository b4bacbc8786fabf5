//! The one way to read and to change the desired state, and to ask about the cluster.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use tokio::{runtime, sync::watch, time};
use tonic::{Code, Status as RpcStatus};
use weldr_proto::raft::v1::{ChangeRequest, ServerReport, change_request};

use crate::model::{Applied, Command, DesiredState, Revision, Timestamp};

use super::{
    error::{ChangeError, ProposeError, Stopped},
    log::{
        backup::Backup,
        history::Event,
        types::{Proposal, ProposalResult, Record},
    },
    raft::{
        core::Core,
        proposals::QUORUM_PATIENCE,
        reporter::{DrainReport, Reporter},
        status::{self, ClusterStatus},
        step_down_hook::StepDownHook,
    },
};

/// How long a proposal may take before its fate is called unknown.
const LONGEST_PROPOSAL: Duration = Duration::from_secs(10);
/// How long a change of the cluster may take, without what is let go of for it.
const LONGEST_CHANGE: Duration = Duration::from_secs(7);

/// Proposes commands, and watches the state that they make. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    /// Gone when the node has stopped.
    core: Weak<Core>,
    runtime: runtime::Handle,
    name: Arc<str>,
    state: watch::Receiver<Arc<DesiredState>>,
    stopped: watch::Receiver<Option<Stopped>>,
    lease: watch::Receiver<Option<std::time::Instant>>,
}

impl Handle {
    #[cfg(test)]
    pub(super) fn core(&self) -> Arc<Core> {
        self.core.upgrade().unwrap()
    }

    pub(super) fn new(core: &Arc<Core>, runtime: runtime::Handle) -> Self {
        Self {
            core: Arc::downgrade(core),
            runtime,
            name: core.member.name.as_str().into(),
            state: core.machine.states(),
            stopped: core.machine.stopped(),
            lease: core.lease.subscribe(),
        }
    }

    /// Proposes `command` in the name of this node and waits until it is applied and on disk.
    pub async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        self.propose_from(command, &self.name).await
    }

    /// Proposes `command` in the name of `from`, and waits until it is applied, on disk on a majority of the
    /// nodes. This node may apply it a moment later: see [`watch`](Self::watch).
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

    /// Brings back, by a new change, what was at revision `to`.
    pub async fn roll_back(&self, to: Revision, from: &str) -> Result<Applied, ProposeError> {
        let (at, from) = (Timestamp::now(), from.to_owned());
        self.submit(&Proposal::Rollback { to, at, from }).await
    }

    /// Brings back, by a new change, what is in a backup.
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

    /// The last changes that this node has applied, the newest first.
    pub fn history(&self, most: usize) -> Vec<Event> {
        let core = self.core.upgrade();
        core.map_or_else(Vec::new, |core| {
            core.machine.replica().1.history.latest(most)
        })
    }

    /// What each member sees of the servers, with its name; `None` for each that does not answer.
    pub async fn server_reports(&self) -> Vec<(String, Option<Vec<ServerReport>>)> {
        let told = self.on_engine(QUORUM_PATIENCE, async |core| core.server_reports().await);
        told.await.ok().flatten().unwrap_or_default()
    }

    /// Returns when this node has applied all that was acknowledged anywhere before this call, with the revision
    /// that it then has: what is read of it now is linearizable.
    pub async fn catch_up(&self) -> Result<Revision, ProposeError> {
        let caught_up = self.on_engine(QUORUM_PATIENCE * 2, async |core| core.catch_up().await);
        match caught_up.await? {
            Some(revision) => Ok(revision?),
            None => Err(ProposeError::NoQuorum { missing: vec![] }),
        }
    }

    /// Works on the engine's runtime, for at most `limit`.
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
        // The runtime ended with the work in its hands.
        worked.or(Ok(None))
    }

    /// The state, and each later one; states in quick succession wake the receiver once.
    pub fn watch(&self) -> watch::Receiver<Arc<DesiredState>> {
        self.state.clone()
    }

    /// The state as it is now.
    pub fn current(&self) -> Arc<DesiredState> {
        Arc::clone(&self.state.borrow())
    }

    /// Why the node applies nothing any more: it has met a record that it does not know. `None`: it does.
    pub fn stopped(&self) -> watch::Receiver<Option<Stopped>> {
        self.stopped.clone()
    }

    /// Until when this node is surely the leader; `None` when it is not. Whoever holds something as the leader
    /// lets go of it before that moment, whatever this tells later.
    pub fn leadership(&self) -> watch::Receiver<Option<std::time::Instant>> {
        self.lease.clone()
    }

    /// What operators call this node.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What every node says of itself.
    pub async fn status(&self) -> Result<ClusterStatus, ProposeError> {
        let status = self.on_engine(QUORUM_PATIENCE, async |core| {
            status::gather(&core, false).await
        });
        status
            .await?
            .ok_or(ProposeError::Unknown { missing: vec![] })
    }

    /// What this node tells the others of its servers.
    pub fn report_servers_with(&self, reporter: Reporter) {
        if let Some(core) = self.core.upgrade() {
            *core.reporter.lock().unwrap_or_else(PoisonError::into_inner) = Some(reporter);
        }
    }

    /// Who is to let go of what it holds by [`leadership`](Self::leadership) before that is handed over.
    pub fn set_step_down_hook(&self, step_down_hook: Arc<dyn StepDownHook>) {
        if let Some(core) = self.core.upgrade() {
            *core
                .step_down_hook
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(step_down_hook);
        }
    }

    /// Whether this node surely leads now.
    pub fn leads(&self) -> bool {
        let until = *self.lease.borrow();
        until.is_some_and(|until| std::time::Instant::now() < until)
    }

    /// What this node tells the others, from now on, of servers that are on their way out.
    pub fn set_drain_report(&self, drain_report: DrainReport) {
        if let Some(core) = self.core.upgrade() {
            *core
                .drain_report
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = drain_report;
        }
    }

    /// What the other members have to say of servers that are on their way out; `None` for each that does not
    /// answer.
    pub async fn drain_reports_of_others(&self) -> Vec<Option<DrainReport>> {
        let told = self.on_engine(QUORUM_PATIENCE, async |core| {
            core.drain_reports_of_others().await
        });
        told.await.ok().flatten().unwrap_or_default()
    }

    /// Removes the node of that name from the cluster. It can only come back as a new one.
    pub async fn remove_node(&self, name: String) -> Result<(), ChangeError> {
        self.change(change_request::Change::Remove(name)).await
    }

    /// Makes the node of that name the leader; the one that is most up to date when the name is empty.
    pub async fn transfer(&self, name: String) -> Result<(), ChangeError> {
        self.change(change_request::Change::Transfer(name)).await
    }

    /// From now on and for good, this node is not to lead: it is about to stop, or serves nothing. It keeps what it
    /// leads until [`step_down`](Self::step_down).
    pub fn leave(&self) {
        if let Some(core) = self.core.upgrade() {
            core.leave();
        }
    }

    /// Gives the leadership away, when this node has it and another can take it; waits for a hand-over that is under
    /// way.
    ///
    /// # Errors
    /// Why this node goes on leading.
    pub async fn step_down(&self) -> Result<(), ChangeError> {
        // One change may have to be waited for.
        let step_down = self.on_engine(self.longest_change() * 2, async |core| {
            core.step_down().await
        });
        changed(step_down.await)
    }

    /// The leader may be another node: what that holds is what this one would hold.
    fn longest_change(&self) -> Duration {
        let step_down_hook = self.core.upgrade().and_then(|core| core.step_down_hook());
        LONGEST_CHANGE
            + step_down_hook.map_or(Duration::ZERO, |step_down_hook| {
                step_down_hook.max_duration()
            })
    }

    async fn change(&self, change: change_request::Change) -> Result<(), ChangeError> {
        let work = self.on_engine(self.longest_change(), async move |core| {
            let here = core.metrics().filter(|metrics| core.leads(metrics));
            if here.is_some() {
                return match &change {
                    change_request::Change::Remove(name) => core.remove_member(name).await,
                    change_request::Change::Transfer(name) => core.hand_over(name).await,
                };
            }
            let metrics = core.metrics();
            let leader = metrics.as_ref().and_then(|metrics| {
                let leader = metrics.current_leader?;
                Some((leader, metrics.membership_config.get_node(&leader)?))
            });
            let (id, member) =
                leader.ok_or_else(|| RpcStatus::unavailable("there is no leader"))?;
            let mut client = core.client(id, member)?;
            let request = ChangeRequest {
                change: Some(change),
            };
            client.change(request).await.map(drop)
        });
        changed(work.await)
    }
}

/// What became of a change that the engine worked on.
fn changed(worked: Result<Option<Result<(), RpcStatus>>, ProposeError>) -> Result<(), ChangeError> {
    let changed = worked.map_err(|error| ChangeError::Unavailable(error.to_string()))?;
    let in_time =
        changed.ok_or_else(|| ChangeError::Unavailable("no answer in time".to_owned()))?;
    in_time.map_err(|status| {
        let message = status.message().to_owned();
        match status.code() {
            Code::NotFound => ChangeError::NoSuchNode(message),
            Code::FailedPrecondition | Code::InvalidArgument => ChangeError::Refused(message),
            _ => ChangeError::Unavailable(message),
        }
    })
}
