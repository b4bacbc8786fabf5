//! Transfers the leadership to another node, on request or because this node stops.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use openraft::{Instant as _, ServerState};
use tokio::time::{self, Instant};
use tonic::Status;

use crate::cluster::{
    log::types::Member,
    raft::{
        core::{Core, Metrics, member_named},
        step_down_hook::StepDownHook,
    },
};

use super::successor::{self, Candidate};

/// The pause between two requests to a new leader whether it has a majority.
const QUORUM_LOOK: Duration = Duration::from_millis(10);
/// How long a hand-over without a name looks for a node that is ready to lead, and the pause between two looks. On a busy machine,
/// one that lives may not have responded for longer than a lease.
const CANDIDATE_PATIENCE: Duration = Duration::from_secs(1);
const CANDIDATE_LOOK: Duration = Duration::from_millis(50);
/// The time limit of a leadership transfer.
const TRANSFER_PATIENCE: Duration = Duration::from_secs(2);
/// How long the next leader may take to receive the rest of the log. Nothing is released before it has it.
const LOG_PATIENCE: Duration = Duration::from_secs(2);
/// The pause between two checks of the next leader's log.
const LOG_LOOK: Duration = Duration::from_millis(20);

/// Whether a majority confirms that this node leads.
#[derive(Debug, PartialEq, Eq)]
enum Confirmation {
    Given,
    /// It was given a moment ago and may be given again: messages of busy machines are late.
    Awaited,
    None,
}

/// `silence`: since the last confirmation, if there was one in this term.
fn confirmation(is_leader: bool, silence: Option<Duration>, lease: Duration) -> Confirmation {
    match silence {
        _ if !is_leader => Confirmation::None,
        Some(silence) if silence < lease => Confirmation::Given,
        Some(silence) if silence >= lease + CANDIDATE_PATIENCE => Confirmation::None,
        Some(_) | None => Confirmation::Awaited,
    }
}

/// Suspends the lease for a hand-over. Ends the suspension when dropped, also if the caller of the hand-over gave up.
struct LeaseSuspension<'c> {
    core: &'c Core,
    step_down_hook: Option<Arc<dyn StepDownHook>>,
}

impl<'c> LeaseSuspension<'c> {
    /// Calls the step-down hook, ends the lease, and returns when the hook has released everything.
    async fn begin(core: &'c Core) -> Result<Self, String> {
        let step_down_hook = core.step_down_hook();
        let notice = Self {
            core,
            step_down_hook,
        };
        if let Some(step_down_hook) = &notice.step_down_hook {
            step_down_hook.prepare().await;
        }
        core.withhold_lease(true);
        if let Some(step_down_hook) = &notice.step_down_hook {
            step_down_hook.released().await?;
            // The addresses were already released. The next call of the hook is for other addresses.
            step_down_hook.resume();
        }
        Ok(notice)
    }
}

impl Drop for LeaseSuspension<'_> {
    fn drop(&mut self) {
        self.core.withhold_lease(false);
        if let Some(step_down_hook) = &self.step_down_hook {
            step_down_hook.resume();
        }
    }
}

impl Core {
    /// Marks this node as not eligible to lead, for the rest of its life.
    pub(in crate::cluster) fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
        self.update_elections();
    }

    /// Transfers the leadership if this node has it and there are other voters. A hand-over that is already running is
    /// waited for; it may be the one that is needed.
    pub(in crate::cluster) async fn step_down(&self) -> Result<(), Status> {
        let _lock = self.handing_over.lock().await;
        let deadline = Instant::now() + CANDIDATE_PATIENCE;
        loop {
            let others = self
                .metrics()
                .filter(|metrics| self.has_other_voters(metrics));
            let Some(metrics) = others else {
                return Ok(());
            };
            let is_leader = metrics.state == ServerState::Leader && !self.has_stopped();
            let acked = metrics.last_quorum_acked.as_ref();
            let silence = acked.map(|acked| acked.elapsed());
            match confirmation(is_leader, silence, self.lease_length()) {
                Confirmation::Given => return self.hand_over_locked("").await,
                Confirmation::Awaited if Instant::now() < deadline => {
                    time::sleep(CANDIDATE_LOOK).await;
                }
                Confirmation::Awaited | Confirmation::None => return Ok(()),
            }
        }
    }

    /// Transfers the leadership to the node with this name, or to the most up-to-date node if the name is empty.
    /// Returns when this node has seen the new leader. Fails on a node that is not the leader. Nothing is released for
    /// a node that is not ready to lead.
    pub(in crate::cluster) async fn hand_over(&self, name: &str) -> Result<(), Status> {
        let Ok(_lock) = self.handing_over.try_lock() else {
            return Err(Status::failed_precondition(
                "another hand-over is under way",
            ));
        };
        self.hand_over_locked(name).await
    }

    async fn hand_over_locked(&self, name: &str) -> Result<(), Status> {
        let (_, metrics) = self.leading()?;
        if !name.is_empty() && member_named(&metrics, name)? == self.local_id() {
            return Ok(());
        }
        let next = self.find_next_leader(name).await?;
        self.receives_the_log(next).await?;
        // First release what depends on the leadership, then ask the other node to lead.
        let _suspension = LeaseSuspension::begin(self)
            .await
            .map_err(|why| self.refusal(&why))?;
        // The release took some time, in which the other node may have begun to stop.
        let next = self.next_leader(name).await?;
        self.transfer_to(next).await
    }

    /// The error of a hand-over that is not possible.
    fn refusal(&self, why: &str) -> Status {
        Status::failed_precondition(format!("{why}; {} goes on leading", self.member.name))
    }

    /// [`next_leader`](Self::next_leader), after some time if there is none yet. Nothing is released before that.
    async fn find_next_leader(&self, name: &str) -> Result<Candidate, Status> {
        let deadline = Instant::now() + CANDIDATE_PATIENCE;
        loop {
            match self.next_leader(name).await {
                Err(_) if name.is_empty() && Instant::now() < deadline => {
                    time::sleep(CANDIDATE_LOOK).await;
                }
                found => return found,
            }
        }
    }

    /// The node with this name, or the best of the nodes that are ready to lead if the name is empty.
    async fn next_leader(&self, name: &str) -> Result<Candidate, Status> {
        let (_, metrics) = self.leading()?;
        if !name.is_empty() {
            return self.ready_to_lead(voter_named(&metrics, name)?).await;
        }
        let mut last = None;
        for candidate in successor::in_order(successor::candidates(&metrics), self.lease_length()) {
            match self.ready_to_lead(candidate).await {
                Ok(candidate) => return Ok(candidate),
                Err(status) => last = Some(status),
            }
        }
        let nobody = || Status::failed_precondition("no other voter answers");
        Err(last.unwrap_or_else(nobody))
    }

    /// Asks a node whether it may lead.
    async fn ready_to_lead(&self, candidate: Candidate) -> Result<Candidate, Status> {
        let Candidate { id, member, .. } = &candidate;
        match self.report_of(*id, member, false).await {
            Ok(report) => match successor::unfit(&report) {
                None => Ok(candidate),
                Some(why) => {
                    Err(self.refusal(&format!("{} cannot lead, because {why}", member.name)))
                }
            },
            Err(error) => {
                tracing::debug!(node = %member.name, %error, "the next leader does not answer");
                Err(self.refusal(&format!("{} does not answer", member.name)))
            }
        }
    }

    /// Returns when the next leader has nearly all of the log.
    async fn receives_the_log(&self, mut next: Candidate) -> Result<(), Status> {
        let deadline = Instant::now() + LOG_PATIENCE;
        loop {
            let (_, metrics) = self.leading()?;
            let lacking = next.lacking(metrics.last_log_index);
            if successor::is_close(lacking) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let name = &next.member.name;
                return Err(self.refusal(&format!("{name} lacks {lacking} records")));
            }
            time::sleep(LOG_LOOK).await;
            let (_, metrics) = self.leading()?;
            next = voter_named(&metrics, &next.member.name)?;
        }
    }

    /// Asks `next` to lead, and returns when it leads with a majority.
    async fn transfer_to(&self, next: Candidate) -> Result<(), Status> {
        let Candidate { id, member, .. } = next;
        let (raft, metrics) = self.leading()?;
        self.handed_over
            .fetch_max(metrics.current_term, Ordering::SeqCst);
        let deadline = Instant::now() + TRANSFER_PATIENCE;
        let sent = raft.trigger().transfer_leader(id).await;
        sent.map_err(|error| {
            tracing::debug!(%error, "the leadership is not handed over");
            Status::unavailable("the consensus engine of the leader does not run")
        })?;
        let wait = raft.wait(Some(TRANSFER_PATIENCE));
        let is_other = |leader: u64| leader != self.local_id();
        // A leader that transferred the leadership accepts no more proposals. If its successor fails, the others elect
        // another.
        let led = wait
            .metrics(
                |now| now.current_leader.is_some_and(is_other),
                "the new leader",
            )
            .await;
        let leader = led.ok().and_then(|now| now.current_leader);
        if leader == Some(id) {
            self.has_quorum(id, &member, deadline).await;
            return Ok(());
        }
        let leader = leader.and_then(|leader| metrics.membership_config.get_node(&leader));
        Err(Status::failed_precondition(match leader {
            Some(leader) => format!("{} has not taken over; {} leads", member.name, leader.name),
            None => format!(
                "{} has not taken over within {} s; the nodes elect a leader",
                member.name,
                TRANSFER_PATIENCE.as_secs()
            ),
        }))
    }

    /// Returns when a new leader knows that it has a majority and can accept writes, at `deadline` at the latest.
    async fn has_quorum(&self, id: u64, member: &Member, deadline: Instant) {
        while Instant::now() < deadline {
            let report = self.report_of(id, member, false).await;
            if report.is_ok_and(|report| report.quorum) {
                return;
            }
            time::sleep(QUORUM_LOOK).await;
        }
    }
}

fn voter_named(metrics: &Metrics, name: &str) -> Result<Candidate, Status> {
    let mut voters = successor::candidates(metrics).into_iter();
    let voter = voters.find(|voter| voter.member.name == name);
    voter.ok_or_else(|| Status::failed_precondition(format!("{name} does not vote yet")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_millis(480);

    #[test]
    fn a_leader_whose_majority_is_late_waits_a_moment_before_it_steps_down_without_a_successor() {
        let of = |silence| confirmation(true, silence, LEASE);
        assert_eq!(of(Some(LEASE / 2)), Confirmation::Given);
        assert_eq!(of(Some(LEASE)), Confirmation::Awaited);
        assert_eq!(of(None), Confirmation::Awaited, "it was just elected");
        assert_eq!(of(Some(LEASE + CANDIDATE_PATIENCE)), Confirmation::None);
        assert_eq!(
            confirmation(false, Some(LEASE / 2), LEASE),
            Confirmation::None
        );
    }
}
