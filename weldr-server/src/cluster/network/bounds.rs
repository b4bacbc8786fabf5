//! What no honest member says, whatever the consensus engine would make of it. Pure.

use weldr_proto::raft::v1;

/// Terms and indices beyond this are not reached in the life of a cluster: at a million a second, it takes nine years.
const LARGEST: u64 = 1 << 48;
/// A term grows by one with each election. A node that was away for years sees a smaller jump than this.
const LARGEST_JUMP: u64 = 1 << 20;
/// The engine sends fewer entries than this at once.
const MOST_ENTRIES: usize = 16_384;
/// Larger than any membership: two sets of voters, while it changes.
const MOST_MEMBERS: usize = 64;
const MOST_VOTER_SETS: usize = 2;

/// A message that no honest member sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(in crate::cluster) struct OutOfBounds(pub(in crate::cluster) &'static str);

/// Who sends a message, and the term of the node that has received it.
#[derive(Debug, Clone, Copy)]
pub(in crate::cluster) struct Sender {
    pub(in crate::cluster) id: u64,
    pub(in crate::cluster) own_term: u64,
    /// Whether it votes: only a voter leads, or asks for votes.
    pub(in crate::cluster) votes: bool,
}

impl Sender {
    /// A leader appends to the logs of others, in its own name.
    pub(in crate::cluster) fn may_append(
        self,
        request: &v1::AppendRequest,
    ) -> Result<(), OutOfBounds> {
        let term = self.leads_by(request.vote.as_ref())?;
        let positions = request.previous.iter().chain(&request.committed);
        positions.copied().try_for_each(in_range)?;
        if request.entries.len() > MOST_ENTRIES {
            return Err(OutOfBounds("there are too many entries in one message"));
        }
        let mut last = request.previous;
        for entry in &request.entries {
            let at = entry.log_id.ok_or(OutOfBounds("an entry has no log id"))?;
            in_range(at)?;
            let expected = last.map_or(0, |last| last.index + 1);
            if at.index != expected || last.is_some_and(|last| at.term < last.term) {
                return Err(OutOfBounds("the entries do not follow each other"));
            }
            if at.term > term {
                return Err(OutOfBounds("an entry has a later term than its leader"));
            }
            if let Some(v1::entry::Payload::Membership(membership)) = &entry.payload {
                small(membership)?;
            }
            last = Some(at);
        }
        Ok(())
    }

    /// A leader sends its snapshot.
    pub(in crate::cluster) fn may_install(
        self,
        head: &v1::SnapshotHead,
    ) -> Result<(), OutOfBounds> {
        let term = self.leads_by(head.vote.as_ref())?;
        let meta = head.meta.clone().unwrap_or_default();
        if let Some(last) = meta.last {
            in_range(last)?;
            if last.term > term {
                return Err(OutOfBounds("a snapshot has a later term than its leader"));
            }
        }
        let stored = meta.membership.unwrap_or_default();
        stored.log_id.map_or(Ok(()), in_range)?;
        small(&stored.membership.unwrap_or_default())
    }

    /// A candidate asks for votes for itself.
    pub(in crate::cluster) fn may_ask(self, request: &v1::VoteRequest) -> Result<(), OutOfBounds> {
        let vote = self.votes_for_itself(request.vote.as_ref())?;
        if vote.committed {
            return Err(OutOfBounds("a candidate does not lead yet"));
        }
        request.last.map_or(Ok(()), in_range)
    }

    /// A leader hands over.
    pub(in crate::cluster) fn may_transfer(
        self,
        request: &v1::TransferLeaderRequest,
    ) -> Result<(), OutOfBounds> {
        self.leads_by(request.vote.as_ref())?;
        request.last.map_or(Ok(()), in_range)
    }

    /// The term in which the sender leads.
    fn leads_by(self, vote: Option<&v1::Vote>) -> Result<u64, OutOfBounds> {
        let vote = self.votes_for_itself(vote)?;
        if !vote.committed {
            return Err(OutOfBounds("its vote has no majority, so it does not lead"));
        }
        Ok(vote.term)
    }

    fn votes_for_itself(self, vote: Option<&v1::Vote>) -> Result<v1::Vote, OutOfBounds> {
        let vote = *vote.ok_or(OutOfBounds("there is no vote"))?;
        if !self.votes {
            return Err(OutOfBounds("it does not vote, so it does not lead either"));
        }
        if vote.node != self.id {
            return Err(OutOfBounds("it speaks in the name of another node"));
        }
        // A node that has just joined knows no term.
        let jumps = self.own_term > 0 && vote.term > self.own_term.saturating_add(LARGEST_JUMP);
        if vote.term > LARGEST || jumps {
            return Err(OutOfBounds("its term is larger than elections can make it"));
        }
        Ok(vote)
    }
}

fn in_range(at: v1::LogId) -> Result<(), OutOfBounds> {
    if at.term > LARGEST || at.index > LARGEST {
        return Err(OutOfBounds("a position is larger than a log can be"));
    }
    Ok(())
}

fn small(membership: &v1::Membership) -> Result<(), OutOfBounds> {
    let v1::Membership { voters, members } = membership;
    let most = voters.iter().map(|set| set.ids.len()).max();
    let is_small = members.len() <= MOST_MEMBERS
        && voters.len() <= MOST_VOTER_SETS
        && most.unwrap_or(0) <= MOST_MEMBERS;
    is_small.then_some(()).ok_or(OutOfBounds(
        "the membership is larger than a cluster can be",
    ))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::cluster::log::convert;

    const SENDER: Sender = Sender {
        id: 7,
        own_term: 5,
        votes: true,
    };

    #[expect(clippy::unnecessary_wraps, reason = "messages have optional votes")]
    fn vote(term: u64, node: u64, committed: bool) -> Option<v1::Vote> {
        Some(v1::Vote {
            term,
            node,
            committed,
        })
    }

    fn append(
        vote: Option<v1::Vote>,
        previous: Option<(u64, u64)>,
        entries: &[(u64, u64)],
    ) -> v1::AppendRequest {
        let at = |(term, index)| v1::LogId { term, index };
        let entry = |at: &(u64, u64)| v1::Entry {
            log_id: Some(v1::LogId {
                term: at.0,
                index: at.1,
            }),
            payload: Some(v1::entry::Payload::Blank(v1::Blank {})),
        };
        v1::AppendRequest {
            vote,
            previous: previous.map(at),
            entries: entries.iter().map(entry).collect(),
            ..v1::AppendRequest::default()
        }
    }

    #[test]
    fn a_leader_appends_what_follows_in_its_own_name() {
        let leads = vote(5, 7, true);
        for (previous, entries) in [
            (None, &[][..]),
            (None, &[(0, 0), (1, 1), (5, 2)]),
            (Some((3, 9)), &[(3, 10), (5, 11)]),
        ] {
            let request = append(leads, previous, entries);
            assert_eq!(SENDER.may_append(&request), Ok(()), "{request:?}");
        }
        for (vote, previous, entries) in [
            (None, None, &[][..]),
            (vote(5, 8, true), None, &[]),
            (vote(5, 7, false), None, &[]),
            (vote(u64::MAX, 7, true), None, &[]),
            (vote(LARGEST + 1, 7, true), None, &[]),
            (vote(6 + LARGEST_JUMP, 7, true), None, &[]),
            (leads, Some((1, u64::MAX)), &[]),
            (leads, Some((u64::MAX, 1)), &[]),
            (leads, Some((3, 9)), &[(3, 11)]),
            (leads, Some((3, 9)), &[(2, 10)]),
            (leads, Some((3, 9)), &[(6, 10)]),
            (leads, None, &[(1, 1)]),
        ] {
            let request = append(vote, previous, entries);
            assert!(SENDER.may_append(&request).is_err(), "{request:?}");
        }
    }

    #[test]
    fn a_node_that_knows_no_term_takes_any_that_elections_can_make() {
        let new = Sender {
            own_term: 0,
            ..SENDER
        };
        let request = append(vote(LARGEST, 7, true), None, &[]);
        assert_eq!(new.may_append(&request), Ok(()));
        let request = append(vote(LARGEST + 1, 7, true), None, &[]);
        assert!(new.may_append(&request).is_err());
    }

    #[test]
    fn a_candidate_asks_for_itself() {
        let ask = |vote| v1::VoteRequest {
            vote,
            ..v1::VoteRequest::default()
        };
        assert_eq!(SENDER.may_ask(&ask(vote(6, 7, false))), Ok(()));
        for refused in [
            vote(6, 8, false),
            vote(6, 7, true),
            vote(u64::MAX, 7, false),
            None,
        ] {
            assert!(SENDER.may_ask(&ask(refused)).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn a_learner_neither_leads_nor_asks() {
        let learner = Sender {
            votes: false,
            ..SENDER
        };
        let request = append(vote(5, 7, true), None, &[]);
        assert!(learner.may_append(&request).is_err());
    }

    /// Messages that were changed at random are refused or taken, and nothing else happens.
    #[test]
    fn no_message_is_too_odd_to_judge() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let until = std::time::Instant::now() + std::time::Duration::from_secs(1);
        let (mut taken, mut decoded) = (0, 0);
        while std::time::Instant::now() < until {
            let at = |random: &mut fastrand::Rng| (random.u64(0..7), random.u64(0..5));
            let entries: Vec<_> = (0..random.usize(0..4)).map(|_| at(&mut random)).collect();
            let leads = vote(random.u64(0..9), random.u64(6..9), random.bool());
            let mut bytes = append(leads, Some(at(&mut random)), &entries).encode_to_vec();
            for _ in 0..random.usize(0..3) {
                if let Some(byte) = random.choice(&mut bytes) {
                    *byte = random.u8(..);
                }
            }
            let Ok(request) = v1::AppendRequest::decode(&*bytes) else {
                continue;
            };
            decoded += 1;
            if SENDER.may_append(&request).is_ok() {
                taken += 1;
                let _ = convert::from_append(request);
            }
        }
        assert!(
            decoded > 100 && taken > 0,
            "seed {seed}: {taken} of {decoded}"
        );
    }

    #[test]
    fn a_membership_has_a_bound() {
        let membership = |members: u64| v1::Membership {
            voters: vec![v1::Voters {
                ids: (0..members).collect(),
            }],
            members: (0..members)
                .map(|id| v1::Member {
                    id,
                    ..v1::Member::default()
                })
                .collect(),
        };
        assert_eq!(small(&membership(7)), Ok(()));
        assert!(small(&membership(1000)).is_err());
    }
}
