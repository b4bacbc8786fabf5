//! When this node stands for election: after the lease of a leader that it does not hear from any more, or at once when
//! that leader's guard says that it has died.
//!
//! The engine has an election timer too, with random times. This one is sooner and has an order: the voter with the lowest
//! id is first, the others follow one after the other, so that they do not split the votes. Nodes that are not ready come
//! after those that are, and witnesses after all others.
//!
//! # A leader that has died
//!
//! A voter refuses its vote to others during the lease of a leader, because the leader relies on that: until the end of the
//! lease it holds its virtual addresses. A leader whose process is dead, and whose addresses are removed, relies on nothing.
//! That is what a [`DeathNotice`] says, and what its token proves: only the guard of this very leader has it, and the guard
//! gives it away after the process is gone and the addresses are removed, in this order. So a voter may ignore the rest of
//! that lease. Each voter decides that for its own vote, and for the lease of that leader in that term only: a voter
//! that has heard from a later leader keeps the lease of that one. So there is never an election during the lease of a
//! leader that lives, and never two holders. A node that was started again in place is another process: it has to be
//! elected in a later term, which has another token.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use openraft::{ServerState, raft::TransferLeaderRequest};
use tokio::{
    sync::mpsc,
    time::{self, Instant},
};
use tracing::{debug, info};

use crate::{
    cluster::{
        log::{convert, types::Vote},
        network::death_notice::{DeathNotice, tell_all},
        raft::{
            core::{Core, Metrics},
            settings::Timing,
        },
    },
    liveness::{TICK, Tick},
};

/// How many times a node asks for votes in a row before it leaves it to the engine's timer, which has longer pauses.
const TRIES: u32 = 12;
/// How long the other nodes may take to hear of a death before this node asks for their votes.
const RELAY: Duration = Duration::from_millis(50);

/// How many times a node asks again after votes that nobody has won, before it leaves that to the engine too: where votes
/// take long to be written, asking again would end elections that go on.
const SECOND_TRIES: u32 = 2;

/// The election that this node is preparing.
#[derive(Default)]
struct Standing {
    /// The last heartbeat that the tries are counted from.
    heard: Option<Instant>,
    tries: u32,
    /// The vote that nobody has won so far, and since when.
    undecided: Option<(Vote, Instant)>,
    second_tries: u32,
}

impl Standing {
    /// Counts anew after a heartbeat.
    fn hears(&mut self, heard: Instant) {
        if self.heard != Some(heard) {
            *self = Self {
                heard: Some(heard),
                ..Self::default()
            };
        }
    }

    /// Since when `vote` is there, which nobody has won.
    fn undecided_since(&mut self, vote: Vote) -> Instant {
        match self.undecided {
            Some((known, since)) if known == vote => since,
            _ => self.undecided.insert((vote, Instant::now())).1,
        }
    }
}

/// Stands for election when it is time, until the node stops.
pub(in crate::cluster) async fn stand(core: Arc<Core>, tick: Tick) {
    let mut standing = Standing::default();
    loop {
        tick.tick();
        let wait = match core.election_due(&mut standing) {
            Some(at) if at <= Instant::now() => {
                core.ask_for_votes(&mut standing).await;
                core.timing.retry
            }
            Some(at) => at.saturating_duration_since(Instant::now()).min(TICK),
            None => TICK,
        };
        let wait = async {
            let _ = time::timeout(wait, core.leader_lost.notified()).await;
        };
        if core.stop.run_until_cancelled(wait).await.is_none() {
            return;
        }
    }
}

/// Acts on notices of deaths until the node stops.
pub(in crate::cluster) async fn hear_of_deaths(
    core: Arc<Core>,
    mut notices: mpsc::Receiver<DeathNotice>,
    tick: Tick,
) {
    let mut last = None;
    loop {
        tick.tick();
        let notice = async {
            tokio::select! {
                notice = notices.recv() => notice,
                () = Tick::due() => None,
            }
        };
        let Some(notice) = core.stop.run_until_cancelled(notice).await else {
            return;
        };
        if let Some(notice) = notice.filter(|notice| last.as_ref() != Some(notice))
            && core.hear_of_death(&notice).await
        {
            last = Some(notice);
        }
    }
}

impl Core {
    /// When this node should ask for votes, unless it hears from a leader before; `None` if it should not.
    fn election_due(&self, standing: &mut Standing) -> Option<Instant> {
        let metrics = self.metrics()?;
        let heard = self.last_heard()?;
        standing.hears(heard);
        let permitted = self
            .voting_rights
            .permit_candidacy(Instant::now().into_std());
        let may = permitted && !self.has_stopped() && !self.is_leaving();
        if metrics.state == ServerState::Leader || !may {
            return None;
        }
        let place = self.place(&metrics)?;
        let Timing {
            lease,
            stagger,
            retry,
            ..
        } = self.timing;
        if metrics.vote.committed {
            let begins = heard + lease + retry + stagger * place;
            return (standing.tries < TRIES).then_some(begins);
        }
        // Two nodes that ask at the same time may split the votes.
        let since = standing.undecided_since(metrics.vote);
        let again = since + stagger * (3 + 2 * place);
        (standing.second_tries < SECOND_TRIES).then_some(again)
    }

    /// How many other nodes stand for election before this one; `None` if it has no vote.
    fn place(&self, metrics: &Metrics) -> Option<u32> {
        let lost = metrics.vote.leader_id.voted_for;
        let voters = metrics.membership_config.voter_ids();
        // A candidate has voted for itself.
        let stands = |id: &u64| *id != lost || *id == self.local_id();
        let mut voters: Vec<u64> = voters.filter(stands).collect();
        voters.sort_unstable();
        let place = voters.iter().position(|id| *id == self.local_id())?;
        let handicap = match (self.witness, self.is_ready()) {
            (true, _) => 2 * voters.len(),
            (false, false) => voters.len(),
            (false, true) => 0,
        };
        u32::try_from(place + handicap).ok()
    }

    async fn ask_for_votes(&self, standing: &mut Standing) {
        let Some(raft) = self.raft() else {
            return;
        };
        // What was asked before has its effect first: two questions at once would be two elections.
        let vote = raft.with_raft_state(|state| *state.vote_ref()).await;
        match vote {
            Ok(vote) if vote.committed => standing.tries += 1,
            Ok(vote) if standing.undecided.is_some_and(|(known, _)| known == vote) => {
                standing.second_tries += 1;
                standing.undecided = Some((vote, Instant::now()));
            }
            _ => return,
        }
        if let Err(error) = raft.trigger().elect(true).await {
            debug!(%error, "the engine does not ask for votes");
        }
    }

    /// Ends the lease of a leader that has died, and tells the others; returns whether the notice is true. See the
    /// documentation of this file.
    async fn hear_of_death(&self, notice: &DeathNotice) -> bool {
        let is_proven = self.peers.cluster() == Some(notice.cluster)
            && notice.node != self.local_id()
            && self.peers.exchange().is_proven(notice);
        let Some((raft, metrics)) = self.raft().zip(self.metrics()).filter(|_| is_proven) else {
            debug!(
                node = notice.node,
                term = notice.term,
                "a notice of a death is not proven"
            );
            return false;
        };
        let name = metrics.membership_config.get_node(&notice.node);
        let node = name.map_or("", |member| member.name.as_str());
        info!(
            node,
            term = notice.term,
            "the process of the leader has died, its guard says"
        );
        self.dead_term.fetch_max(notice.term, Ordering::SeqCst);
        let vote = convert::from_vote(weldr_proto::raft::v1::Vote {
            term: notice.term,
            node: notice.node,
            committed: true,
        });
        // The engine ends the lease if the vote is still for this leader. Because the leader is not asked to lead itself,
        // nobody begins an election by this.
        let end_of_lease = TransferLeaderRequest::new(vote, notice.node, None);
        if let Err(error) = raft.handle_transfer_leader(end_of_lease).await {
            debug!(%error, "the lease of the dead leader is not ended");
            return true;
        }
        self.relay(notice, &metrics).await;
        self.leader_is_lost(self.timing.lease + self.timing.retry);
        true
    }

    /// Tells the other voters, which may not have heard it from the guard.
    async fn relay(&self, notice: &DeathNotice, metrics: &Metrics) {
        let others = self.others(metrics);
        let others = others.iter().filter(|(id, _)| **id != notice.node);
        let to: Vec<_> = others
            .filter_map(|(_, member)| member.address.parse().ok())
            .collect();
        let _ = time::timeout(RELAY, tell_all(&notice.to_string(), &to)).await;
    }
}
