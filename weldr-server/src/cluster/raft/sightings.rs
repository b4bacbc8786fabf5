//! Other clusters with the same secret that this node sees. Pure; the time is given.
//!
//! There are two when a node that lost its data founds a cluster instead of joining the one that it belonged to.

use std::{
    cmp::Reverse,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use weldr_proto::raft::v1::ClusterFacts;

/// How long a cluster counts as there after it was seen.
const KEPT: Duration = Duration::from_secs(10);

/// The other cluster that was seen last.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Sightings(Mutex<Option<Sighting>>);

#[derive(Debug, Clone)]
struct Sighting {
    facts: ClusterFacts,
    at: Instant,
}

/// Another cluster with the same secret as this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherCluster {
    /// Both clusters, in a sentence.
    pub description: String,
    /// Whether the other cluster has the better claim to what only one can have, such as a virtual address.
    pub prevails: bool,
}

impl Sightings {
    /// Notes a cluster that was seen at `now`. Returns whether it was not seen before, or not for some time.
    pub(in crate::cluster) fn note(&self, facts: ClusterFacts, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = current(last.as_ref(), now);
        let is_new = known.is_none_or(|known| known.cluster != facts.cluster);
        *last = Some(Sighting { facts, at: now });
        is_new
    }

    /// The cluster that was seen a moment before `now`.
    pub(in crate::cluster) fn current(&self, now: Instant) -> Option<ClusterFacts> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        current(last.as_ref(), now).cloned()
    }
}

fn current(last: Option<&Sighting>, now: Instant) -> Option<&ClusterFacts> {
    let last = last.filter(|last| now.saturating_duration_since(last.at) < KEPT);
    last.map(|last| &last.facts)
}

/// Compares this cluster with another one. Both come to the same result.
pub(in crate::cluster) fn compare(own: &ClusterFacts, other: &ClusterFacts) -> OtherCluster {
    let claim = |facts: &ClusterFacts| (facts.quorum, facts.voters, Reverse(facts.cluster.clone()));
    let prevails = claim(other) > claim(own);
    let consequence = if prevails {
        "the other one keeps the virtual addresses. Remove the data of this node and start it with --join"
    } else {
        "this one keeps the virtual addresses. Remove the data of the other node and start it with --join"
    };
    OtherCluster {
        description: format!(
            "there are two clusters with the same secret: {} ({}), to which this node belongs, and {} ({}), whose node \
             {} is at {}; {consequence}",
            own.cluster,
            size(own),
            other.cluster,
            size(other),
            other.node,
            other.address,
        ),
        prevails,
    }
}

fn size(facts: &ClusterFacts) -> String {
    let quorum = if facts.quorum { "" } else { ", no quorum" };
    match facts.voters {
        1 => format!("1 voter{quorum}"),
        voters => format!("{voters} voters{quorum}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(cluster: &str, voters: u32, quorum: bool) -> ClusterFacts {
        ClusterFacts {
            cluster: cluster.to_owned(),
            node: "a".to_owned(),
            address: "10.0.0.1:8688".to_owned(),
            voters,
            quorum,
        }
    }

    #[test]
    fn one_of_two_clusters_prevails_and_both_know_which() {
        for (better, worse) in [
            (facts("2", 1, true), facts("1", 3, false)),
            (facts("2", 2, true), facts("1", 1, true)),
            (facts("1", 1, true), facts("2", 1, true)),
            (facts("1", 2, false), facts("2", 2, false)),
        ] {
            assert!(compare(&worse, &better).prevails, "{better:?}");
            assert!(!compare(&better, &worse).prevails, "{better:?}");
        }
    }

    #[test]
    fn a_cluster_is_new_once_and_forgotten_when_it_is_not_seen_any_more() {
        let (sightings, begun) = (Sightings::default(), Instant::now());
        assert_eq!(sightings.current(begun), None);
        assert!(sightings.note(facts("1", 1, true), begun));
        assert!(!sightings.note(facts("1", 2, true), begun + KEPT / 2));
        assert!(sightings.note(facts("2", 1, true), begun + KEPT / 2));
        let last = begun + KEPT / 2 + KEPT;
        assert!(sightings.current(begun + KEPT).is_some());
        assert_eq!(sightings.current(last), None);
        assert!(sightings.note(facts("2", 1, true), last), "it is back");
    }
}
