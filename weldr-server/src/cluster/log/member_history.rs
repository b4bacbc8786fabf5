//! Which nodes joined and were removed, from the memberships in the log. Pure.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::model::Revision;

use super::types::{Member, StoredMembership};

/// The number of changes that are kept.
const MOST_EVENTS: usize = 100;
/// The number of removed nodes whose addresses are watched.
const MOST_WATCHED: usize = 16;

/// A change of the membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberEvent {
    /// The revision of the desired state at the change, which does not change it.
    pub revision: Revision,
    /// The id of the node.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The address at which other nodes reach it, or reached it.
    pub address: String,
    /// What happened to it.
    pub change: MemberChange,
}

/// What happened to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberChange {
    /// It is a member, without a vote.
    Joined,
    /// It votes.
    Votes,
    /// It is no member any more.
    Removed,
}

/// The last changes, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::cluster) struct MemberHistory(VecDeque<MemberEvent>);

impl MemberHistory {
    /// Records what differs between two memberships. The first one of a cluster is its founder and no change.
    pub(in crate::cluster) fn record(
        &mut self,
        before: &StoredMembership,
        after: &StoredMembership,
        revision: Revision,
    ) {
        if before.nodes().next().is_none() {
            return;
        }
        let mut note = |id: u64, member: &Member, change| {
            let Member { name, address, .. } = member.clone();
            self.0.push_back(MemberEvent {
                revision,
                id,
                name,
                address,
                change,
            });
        };
        for (id, member) in before.nodes() {
            if after.get_node(id).is_none() {
                note(*id, member, MemberChange::Removed);
            }
        }
        let old_voters: BTreeSet<u64> = before.voter_ids().collect();
        let new_voters: BTreeSet<u64> = after.voter_ids().collect();
        for (id, member) in after.nodes() {
            if before.get_node(id).is_none() {
                note(*id, member, MemberChange::Joined);
            }
            if new_voters.contains(id) && !old_voters.contains(id) {
                note(*id, member, MemberChange::Votes);
            }
        }
        let excess = self.0.len().saturating_sub(MOST_EVENTS);
        self.0.drain(..excess);
    }

    /// The last `most` changes, the newest first.
    pub(in crate::cluster) fn latest(&self, most: usize) -> Vec<MemberEvent> {
        self.0.iter().rev().take(most).cloned().collect()
    }

    /// Whether the node with this id was removed. An id is never used again.
    pub(in crate::cluster) fn is_removed(&self, id: u64) -> bool {
        let mut removals = self.removals();
        removals.any(|event| event.id == id)
    }

    /// The addresses of the nodes that were removed last.
    pub(in crate::cluster) fn removed_addresses(&self) -> BTreeSet<String> {
        let addresses = self.removals().map(|event| event.address.clone());
        let addresses = addresses.filter(|address| !address.is_empty());
        addresses.take(MOST_WATCHED).collect()
    }

    /// The newest first.
    fn removals(&self) -> impl Iterator<Item = &MemberEvent> {
        let events = self.0.iter().rev();
        events.filter(|event| event.change == MemberChange::Removed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cluster::log::types::Membership;

    fn membership(voters: &str, learners: &str) -> StoredMembership {
        let nodes: BTreeMap<u64, Member> = voters
            .chars()
            .chain(learners.chars())
            .map(|name| {
                let address = format!("127.0.0.1:{}", u32::from(name));
                let name = name.to_string();
                let member = Member {
                    name,
                    address,
                    ..Member::default()
                };
                (u64::from(member.name.as_bytes()[0]), member)
            })
            .collect();
        let voters = voters.bytes().map(u64::from).collect();
        StoredMembership::new(None, Membership::new(vec![voters], nodes).unwrap())
    }

    #[test]
    fn each_node_joins_votes_and_is_removed() {
        let mut history = MemberHistory::default();
        let steps = [
            StoredMembership::default(),
            membership("a", ""),
            membership("a", "b"),
            membership("ab", ""),
            membership("a", ""),
        ];
        for (step, revision) in steps.windows(2).zip(0..) {
            history.record(&step[0], &step[1], Revision(revision));
        }
        let events = history.latest(9);
        let told: Vec<_> = events
            .iter()
            .map(|event| (event.name.as_str(), event.change, event.revision.0))
            .collect();
        assert_eq!(
            told,
            [
                ("b", MemberChange::Removed, 3),
                ("b", MemberChange::Votes, 2),
                ("b", MemberChange::Joined, 1),
            ]
        );
        assert!(history.is_removed(u64::from(b'b')));
        assert!(!history.is_removed(u64::from(b'a')));
        let address = format!("127.0.0.1:{}", b'b');
        assert_eq!(history.removed_addresses(), BTreeSet::from([address]));
    }

    #[test]
    fn the_history_has_a_bound() {
        let mut history = MemberHistory::default();
        let (with, without) = (membership("ab", ""), membership("a", ""));
        for _ in 0..MOST_EVENTS {
            history.record(&with, &without, Revision(1));
            history.record(&without, &with, Revision(1));
        }
        assert_eq!(history.latest(usize::MAX).len(), MOST_EVENTS);
    }
}
