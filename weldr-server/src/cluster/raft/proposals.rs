//! How a proposal or a linearizable read reaches the leader.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use openraft::{
    ReadPolicy,
    async_runtime::watch::WatchReceiver as _,
    errors::{ClientWriteError, LinearizableReadError, RaftError},
};
use tokio::time::{self, Instant};
use tonic::{Code, Status};
use weldr_proto::raft::v1;

use crate::{
    cluster::{
        error::{ProposeError, Stopped, StoreError},
        log::{
            convert,
            proposal::{ProposalResult, Record},
            types::Member,
        },
        storage::disk::Disk,
    },
    model::Revision,
};

use super::core::{Core, Raft};

/// How long a call waits at most for a leader with a majority: see `patience`.
pub(in crate::cluster) const QUORUM_PATIENCE: Duration = Duration::from_millis(2500);
/// How long a leader that lost its majority waits for it with a proposal in flight, and then for another leader.
const PROPOSAL_PATIENCE: Duration = Duration::from_millis(1200);
/// How long a call waits for a disk that fails.
const DISK_PATIENCE: Duration = Duration::from_secs(1);
/// The pause between two checks for a leader.
const LOOK: Duration = Duration::from_millis(10);

/// Where proposals and changes of the cluster go.
pub(in crate::cluster) enum Leader {
    Here(Raft),
    There(u64, Member),
}

/// Why a proposal or a read failed.
#[derive(Debug)]
pub(in crate::cluster) enum SubmitError {
    /// There is no leader with a majority. Nothing was written.
    NoQuorum { missing: Vec<String> },
    /// The proposal may or may not be applied.
    Unknown { missing: Vec<String> },
    /// The disk failed. The proposal is not in the log.
    Disk(Arc<StoreError>),
    /// This node stopped applying the log and cannot show the result. Nothing was written or read.
    Stopped(Stopped),
    /// The node is stopping.
    Stopping,
}

impl From<SubmitError> for ProposeError {
    fn from(failed: SubmitError) -> Self {
        match failed {
            SubmitError::NoQuorum { missing } => Self::NoQuorum { missing },
            SubmitError::Unknown { missing } => Self::Unknown { missing },
            SubmitError::Disk(error) => Self::NotDurable(error),
            SubmitError::Stopped(stopped) => Self::Outdated(stopped),
            SubmitError::Stopping => Self::ShuttingDown,
        }
    }
}

/// The result of one attempt.
enum Attempt<T> {
    Done(T),
    /// Not accepted. Another node may be asked.
    NotTaken,
    /// It may be in a log.
    Uncertain,
    Refused(Arc<StoreError>),
}

impl Core {
    fn leader_now(&self) -> Option<Leader> {
        let raft = self.raft()?;
        let metrics = raft.metrics().borrow_watched().clone();
        if self.leads(&metrics) {
            return Some(Leader::Here(raft));
        }
        let leader = metrics.current_leader.filter(|id| *id != self.local_id())?;
        let member = metrics.membership_config.get_node(&leader)?;
        Some(Leader::There(leader, member.clone()))
    }

    /// Waits until `deadline` for a leader. Fails on a node that stopped applying the log: it would not see what is written or read.
    pub(in crate::cluster) async fn leader(
        &self,
        deadline: Instant,
    ) -> Result<Leader, SubmitError> {
        let begun = Instant::now();
        loop {
            if self.stop.is_cancelled() {
                return Err(SubmitError::Stopping);
            }
            if let Some(stopped) = self.machine.stopped().borrow().clone() {
                return Err(SubmitError::Stopped(stopped));
            }
            if let Some(leader) = self.leader_now() {
                return Ok(leader);
            }
            let failure = self.log.disk().and_then(Disk::failure);
            if let Some(error) = failure.filter(|_| begun.elapsed() >= DISK_PATIENCE) {
                return Err(SubmitError::Disk(error));
            }
            if Instant::now() >= deadline {
                return Err(self.no_quorum(false).await);
            }
            time::sleep(LOOK).await;
        }
    }

    /// The error for a cluster without a majority, with the names of the nodes that do not answer.
    async fn no_quorum(&self, uncertain: bool) -> SubmitError {
        let missing = self.missing().await;
        if uncertain {
            SubmitError::Unknown { missing }
        } else {
            SubmitError::NoQuorum { missing }
        }
    }

    /// Sends the record to the leader, whichever node that is, until it is applied. Returns its index in the log and
    /// the result. However often the record is sent, it is applied once.
    pub(in crate::cluster) async fn submit(
        &self,
        record: Record,
    ) -> Result<(u64, ProposalResult), SubmitError> {
        let mut uncertain = false;
        let mut deadline = Instant::now() + self.quorum_patience();
        loop {
            let attempt = match self.leader(deadline).await {
                Ok(Leader::Here(raft)) => self.write(&raft, record.clone()).await,
                Ok(Leader::There(id, member)) => {
                    self.pass_on(id, &member, record.clone(), deadline).await
                }
                Err(SubmitError::NoQuorum { missing }) if uncertain => {
                    return Err(SubmitError::Unknown { missing });
                }
                Err(SubmitError::Disk(_) | SubmitError::Stopped(_) | SubmitError::Stopping)
                    if uncertain =>
                {
                    return Err(self.no_quorum(true).await);
                }
                Err(failed) => return Err(failed),
            };
            match attempt {
                Attempt::Done(done) => return Ok(done),
                Attempt::Refused(error) if !uncertain => return Err(SubmitError::Disk(error)),
                Attempt::Refused(_) | Attempt::NotTaken => {}
                Attempt::Uncertain => {
                    // The record is applied once, however often it is sent. A new leader needs a moment.
                    if !std::mem::replace(&mut uncertain, true) {
                        deadline = deadline.max(Instant::now() + PROPOSAL_PATIENCE);
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(self.no_quorum(uncertain).await);
            }
            time::sleep(LOOK).await;
        }
    }

    /// Writes the record to the log if this node is the leader.
    pub(in crate::cluster) async fn submit_here(
        &self,
        record: Record,
    ) -> Result<(u64, ProposalResult), Status> {
        let Some(Leader::Here(raft)) = self.leader_now() else {
            return Err(not_leader());
        };
        // The record is from a newer version of Weldr. In the log it would stop this node and all others of the same
        // version.
        if let Err(unknown) = record.proposal() {
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

    async fn write(&self, raft: &Raft, record: Record) -> Attempt<(u64, ProposalResult)> {
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
                // If there are other voters, one of them may have the record.
                match refusal.filter(|_| self.is_alone(&metrics)) {
                    Some(error) => Attempt::Refused(error),
                    None => Attempt::Uncertain,
                }
            }
        }
    }

    /// Returns when this node has not been a leader with a majority for [`PROPOSAL_PATIENCE`].
    async fn quorum_is_gone(&self) {
        let mut since = None;
        loop {
            time::sleep(PROPOSAL_PATIENCE / 12).await;
            let leads = self.metrics().is_some_and(|metrics| self.leads(&metrics));
            since = (!leads).then(|| since.unwrap_or_else(Instant::now));
            if since.is_some_and(|since: Instant| since.elapsed() >= PROPOSAL_PATIENCE) {
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
    ) -> Attempt<(u64, ProposalResult)> {
        let Ok(mut client) = self.client(id, member) else {
            return Attempt::NotTaken;
        };
        let request = v1::ProposeRequest {
            record: Some(convert::record(record)),
        };
        // The result is unknown if the call is cancelled after the request was sent, so the call gets more time.
        let patience = deadline + PROPOSAL_PATIENCE;
        match time::timeout_at(patience, client.propose(request)).await {
            Ok(Ok(response)) => {
                let response = response.into_inner();
                match serde_json::from_slice(&response.answer) {
                    Ok(result) => Attempt::Done((response.index, result)),
                    // A newer version of Weldr sent a result that this one does not know.
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

    /// Waits until this node has applied every change that was acknowledged before the call, and returns the revision
    /// then.
    pub(in crate::cluster) async fn catch_up(&self) -> Result<Revision, SubmitError> {
        let deadline = Instant::now() + self.quorum_patience();
        loop {
            if let Some(revision) = self.read_alone() {
                return Ok(revision);
            }
            let index = match self.leader(deadline).await {
                Ok(Leader::Here(raft)) => self.read_index_at(&raft).await.ok(),
                Ok(Leader::There(id, member)) => self.ask_read_index(id, &member, deadline).await,
                Err(SubmitError::Disk(error)) => match self.read_without_engine(deadline).await {
                    Some(revision) => return Ok(revision),
                    // The disk works again.
                    None if self.raft().is_some() && Instant::now() < deadline => continue,
                    None => return Err(SubmitError::Disk(error)),
                },
                Err(error) => return Err(error),
            };
            if let (Some(index), Some(raft)) = (index, self.raft()) {
                let left = deadline.saturating_duration_since(Instant::now());
                let wait = raft.wait(Some(left));
                let mut stopped = self.machine.stopped();
                tokio::select! {
                    applied = wait.applied_index_at_least(Some(index), "a read") => if applied.is_ok() {
                        return Ok(self.machine.states().borrow().revision);
                    },
                    // The next call of `leader` returns the error.
                    _ = stopped.wait_for(Option::is_some) => {}
                }
            }
            if Instant::now() >= deadline {
                return Err(self.no_quorum(false).await);
            }
            time::sleep(LOOK).await;
        }
    }

    /// The revision that a read sees at the only voter while its engine does not run: everything acknowledged was applied
    /// here first.
    fn read_alone(&self) -> Option<Revision> {
        if self.raft().is_some() || self.has_stopped() || self.stop.is_cancelled() {
            return None;
        }
        let alone = self.machine.membership().voter_ids().eq([self.local_id()]);
        alone.then(|| self.machine.states().borrow().revision)
    }

    /// The revision that a read sees while the engine does not run because of its disk. The leader, which is another node
    /// then, gives the index that a read needs, and this node may have applied that index before. `None` if it has not, if
    /// the leader does not answer before `deadline`, or if the engine runs again.
    async fn read_without_engine(&self, deadline: Instant) -> Option<Revision> {
        while self.raft().is_none() && Instant::now() < deadline {
            if let Some(revision) = self.read_alone() {
                return Some(revision);
            }
            let membership = self.machine.membership();
            let others = membership.nodes().filter(|(id, _)| **id != self.local_id());
            let asked = others.map(|(id, member)| self.ask_read_index(*id, member, deadline));
            // All but the leader refuse.
            let index = join_all(asked).await.into_iter().flatten().max();
            let (applied, replica) = self.machine.replica();
            if index.is_some() && applied >= index {
                return Some(replica.state.revision);
            }
            time::sleep(LOOK).await;
        }
        None
    }

    async fn ask_read_index(&self, id: u64, member: &Member, deadline: Instant) -> Option<u64> {
        let mut client = self.client(id, member).ok()?;
        let asked = client.read_index(v1::ReadIndexRequest {});
        let response = time::timeout_at(deadline, asked).await.ok()?.ok()?;
        Some(response.into_inner().index)
    }

    /// The index that must be applied for a linearizable read (`ReadIndex`), if this node is the leader.
    pub(in crate::cluster) async fn read_index(&self) -> Result<u64, Status> {
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
            Ok(Err(error)) => {
                tracing::debug!(%error, "the leader cannot confirm that it leads");
                Err(Status::unavailable(
                    "the leader cannot confirm that it leads",
                ))
            }
            Err(_) => Err(Status::unavailable("no majority answers")),
        }
    }
}

fn not_leader() -> Status {
    Status::failed_precondition("this node does not lead")
}

/// Whether a call certainly had no effect on the other node.
pub(in crate::cluster) fn was_not_sent(status: &Status) -> bool {
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
