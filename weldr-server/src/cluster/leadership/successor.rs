//! Which node should lead next. Pure.

use std::{cmp::Reverse, time::Duration};

use openraft::Instant as _;
use weldr_proto::raft::v1::ReportResponse;

use crate::cluster::{
    log::types::{LogId, Member},
    raft::core::Metrics,
};

/// A voter other than the leader, as the leader knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) struct Candidate {
    pub(in crate::cluster) id: u64,
    pub(in crate::cluster) member: Member,
    /// The last entry that it is known to have.
    matching: Option<LogId>,
    /// Time since its last response; `None` if there was none.
    silent: Option<Duration>,
}

/// How many entries a node may lack when it is asked to lead. It receives that many in a moment.
const CLOSE: u64 = 100;

impl Candidate {
    /// The number of entries of the leader's log, which ends at `last`, that it is not known to have.
    pub(in crate::cluster) fn lacking(&self, last: Option<u64>) -> u64 {
        let matching = self.matching.map_or(0, |matching| matching.index);
        last.unwrap_or_default().saturating_sub(matching)
    }
}

/// Whether a node that lacks this many entries may be asked to lead.
pub(in crate::cluster) fn is_close(lacking: u64) -> bool {
    lacking <= CLOSE
}

/// Why a node with this report must not lead, as the end of a sentence; `None` if it may.
pub(in crate::cluster) fn unfit(report: &ReportResponse) -> Option<String> {
    if report.leaving {
        return Some("it stops, or has no data path".to_owned());
    }
    if report.witness {
        return Some("it is a witness and serves nothing".to_owned());
    }
    if !report.stopped.is_empty() {
        return Some(format!("it stopped applying the log: {}", report.stopped));
    }
    let reasons = &report.readiness.as_ref()?.reasons;
    let reason = reasons.first()?;
    Some(format!("it is not ready: {}", reason.description))
}

/// All voters except this node, which is the leader.
pub(in crate::cluster) fn candidates(metrics: &Metrics) -> Vec<Candidate> {
    let voters = metrics.membership_config.voter_ids();
    let others = voters.filter(|id| *id != metrics.id);
    let candidate = |id: u64| {
        let matching = metrics.replication.as_ref().and_then(|all| *all.get(&id)?);
        let heard = metrics.heartbeat.as_ref().and_then(|all| *all.get(&id)?);
        let member = metrics.membership_config.get_node(&id)?.clone();
        Some(Candidate {
            id,
            member,
            matching,
            silent: heard.map(|heard| heard.elapsed()),
        })
    };
    others.filter_map(candidate).collect()
}

/// The candidates that can lead, the best first: ordered by how much of the log they have, then by the time of their
/// last response. Candidates without a response within the lease are left out.
pub(in crate::cluster) fn in_order(
    mut candidates: Vec<Candidate>,
    lease: Duration,
) -> Vec<Candidate> {
    let is_there = |silent: Duration| silent < lease;
    candidates.retain(|candidate| candidate.silent.is_some_and(is_there));
    candidates.sort_by_key(|candidate| (Reverse(candidate.matching), candidate.silent));
    candidates
}

#[cfg(test)]
mod tests {
    use weldr_proto::raft::v1;

    use super::*;
    use crate::cluster::log::convert;

    const LEASE: Duration = Duration::from_millis(500);

    fn candidate(id: u64, index: u64, silent: Option<u64>) -> Candidate {
        Candidate {
            id,
            member: Member::default(),
            matching: (index > 0).then(|| convert::from_log_id(v1::LogId { term: 1, index })),
            silent: silent.map(Duration::from_millis),
        }
    }

    #[test]
    fn who_lacks_more_than_is_sent_in_a_moment_is_not_close() {
        let lacking = |index| candidate(1, index, None).lacking(Some(1100));
        assert_eq!(lacking(1100), 0);
        assert_eq!(lacking(1101), 0, "the metrics of the leader are older");
        assert_eq!(lacking(0), 1100, "nothing is known");
        assert!(is_close(lacking(1000)));
        assert!(!is_close(lacking(999)));
        assert!(is_close(candidate(1, 0, None).lacking(None)));
    }

    #[test]
    fn who_leaves_or_applies_nothing_or_is_not_ready_or_a_witness_is_not_fit() {
        let report = ReportResponse::default();
        assert_eq!(unfit(&report), None);
        let witness = ReportResponse {
            witness: true,
            ..report.clone()
        };
        assert!(unfit(&witness).unwrap().contains("a witness"));
        let leaving = ReportResponse {
            leaving: true,
            ..report.clone()
        };
        assert!(unfit(&leaving).unwrap().contains("it stops"));
        let reason = v1::UnreadyReason {
            description: "worker 0 has ended".to_owned(),
            ..v1::UnreadyReason::default()
        };
        let unready = ReportResponse {
            readiness: Some(v1::Readiness {
                status: "unready".to_owned(),
                reasons: vec![reason],
            }),
            ..report.clone()
        };
        assert!(unfit(&unready).unwrap().ends_with(": worker 0 has ended"));
        let stopped = ReportResponse {
            stopped: "record 7".to_owned(),
            ..report
        };
        assert!(unfit(&stopped).unwrap().ends_with(": record 7"));
    }

    fn order<const N: usize>(candidates: [Candidate; N]) -> Vec<u64> {
        let ordered = in_order(candidates.into(), LEASE);
        ordered.into_iter().map(|candidate| candidate.id).collect()
    }

    #[test]
    fn who_has_most_of_the_log_is_first_and_then_who_answered_last() {
        let candidates = [
            candidate(1, 8, Some(5)),
            candidate(2, 9, Some(90)),
            candidate(3, 9, Some(20)),
            candidate(4, 0, Some(1)),
        ];
        assert_eq!(order(candidates), [3, 2, 1, 4]);
    }

    #[test]
    fn who_has_not_answered_within_the_lease_is_none() {
        let lease = u64::try_from(LEASE.as_millis()).unwrap();
        let candidates = [
            candidate(1, 9, Some(lease)),
            candidate(2, 9, Some(lease * 100)),
            candidate(3, 9, None),
            candidate(4, 2, Some(lease - 1)),
        ];
        assert_eq!(order(candidates), [4]);
        assert!(order([candidate(1, 9, None)]).is_empty());
        assert!(order([]).is_empty());
    }
}
