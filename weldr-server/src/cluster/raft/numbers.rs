//! The numbers of the consensus engine, for metrics.

use super::core::Metrics;

/// The numbers of the consensus engine, as this node knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers {
    /// The term.
    pub term: u64,
    /// The index of the last entry in the log; 0 when it is empty.
    pub last_log: u64,
    /// The index of the last entry that is applied.
    pub applied: u64,
    /// The index of the last entry in the newest snapshot.
    pub snapshot: u64,
    /// How many members there are.
    pub members: u64,
    /// How many of them vote.
    pub voters: u64,
    /// How many entries each other member does not have yet, by its name. Empty at a node that does not lead.
    pub lag: Vec<(String, u64)>,
}

impl Numbers {
    pub(in crate::cluster) fn of(metrics: &Metrics) -> Self {
        let membership = metrics.membership_config.membership();
        let last_log = metrics.last_log_index.unwrap_or_default();
        let replication = metrics.replication.iter().flatten();
        let lag = replication.filter(|(id, _)| **id != metrics.id);
        let lag = lag.filter_map(|(id, matched)| {
            let member = membership.get_node(id)?;
            let matched = matched.as_ref().map_or(0, |matched| matched.index);
            Some((member.name.clone(), last_log.saturating_sub(matched)))
        });
        Self {
            term: metrics.current_term,
            last_log,
            applied: metrics.last_applied.as_ref().map_or(0, |last| last.index),
            snapshot: metrics.snapshot.as_ref().map_or(0, |last| last.index),
            members: membership.nodes().count() as u64,
            voters: membership.voter_ids().count() as u64,
            lag: lag.collect(),
        }
    }
}
