//! Whether this node may vote, and stand for election. `leadership::candidacy` decides when it stands.
//!
//! A node that heard from a leader refuses its vote to others for [`Timing::lease`](super::settings::Timing), and the leader's lease relies on that. A
//! node that restarts does not remember when it heard from a leader, so it waits for that time before it gives or asks for a
//! vote.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What the start of the engine says of votes.
#[derive(Debug, Default)]
pub(in crate::cluster) struct VotingRights(Mutex<Limits>);

#[derive(Debug, Clone, Copy, Default)]
struct Limits {
    /// Before this moment the node gives no vote and asks for none.
    silent_until: Option<Instant>,
    /// The log has a record that this node does not know, so the node must not lead.
    forbidden: bool,
}

impl Limits {
    fn are_silent(&self, now: Instant) -> bool {
        self.silent_until.is_some_and(|until| now < until)
    }
}

impl VotingRights {
    /// Begins the wait of an engine that starts at `now`. `has_voted`: the node may have heard from a leader before.
    pub(in crate::cluster) fn engine_starts(
        &self,
        now: Instant,
        lease: Duration,
        has_voted: bool,
        forbidden: bool,
    ) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Limits {
            silent_until: has_voted.then(|| now + lease),
            forbidden,
        };
    }

    /// Ends the wait, because a leader was heard: the engine knows the lease of this one, and those of earlier leaders were
    /// over before this one was elected.
    pub(in crate::cluster) fn hears_from_leader(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .silent_until = None;
    }

    /// Whether a vote must be refused at `now`. A vote that the leader itself asks for (`transfer`) is given.
    pub(in crate::cluster) fn refuse_vote(&self, now: Instant, transfer: bool) -> bool {
        !transfer && self.limits().are_silent(now)
    }

    /// Whether the node may ask for votes at `now`.
    pub(in crate::cluster) fn permit_candidacy(&self, now: Instant) -> bool {
        let limits = self.limits();
        !limits.forbidden && !limits.are_silent(now)
    }

    fn limits(&self) -> Limits {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_millis(480);

    #[test]
    fn a_node_that_restarts_waits_for_the_end_of_the_lease_that_it_may_have_granted() {
        let (rights, start) = (VotingRights::default(), Instant::now());
        rights.engine_starts(start, LEASE, true, false);
        let (before, after) = (start + LEASE / 2, start + LEASE);
        assert!(rights.refuse_vote(before, false));
        assert!(!rights.refuse_vote(before, true), "the leader asks");
        assert!(!rights.permit_candidacy(before));
        assert!(!rights.refuse_vote(after, false));
        assert!(rights.permit_candidacy(after));
        rights.hears_from_leader();
        assert!(!rights.refuse_vote(before, false));
    }

    #[test]
    fn a_node_without_a_stored_vote_takes_part_at_once() {
        let (rights, start) = (VotingRights::default(), Instant::now());
        rights.engine_starts(start, LEASE, false, false);
        assert!(!rights.refuse_vote(start, false));
        assert!(rights.permit_candidacy(start));
    }

    #[test]
    fn a_node_that_does_not_know_its_log_votes_and_does_not_ask_for_votes() {
        let (rights, start) = (VotingRights::default(), Instant::now());
        rights.engine_starts(start, LEASE, true, true);
        let after = start + LEASE;
        assert!(!rights.refuse_vote(after, false));
        assert!(!rights.permit_candidacy(after));
    }
}
