//! What a rule accumulates while it lives.

use std::sync::{Arc, OnceLock};

use crate::{
    model::RuleId,
    stats::{RequestShard, RequestTotals},
};

/// The part of a rule that outlives snapshots: what each worker counts of it.
///
/// A listener may have thousands of rules of which few are ever used, so the shard of a worker is made with its first
/// request.
#[derive(Debug)]
pub struct LiveRule {
    /// This life of the rule.
    pub id: RuleId,
    shards: Box<[OnceLock<Box<RequestShard>>]>,
}

impl LiveRule {
    /// A rule with nothing counted, for `workers` workers.
    pub fn new(id: RuleId, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            id,
            shards: (0..workers).map(|_| OnceLock::new()).collect(),
        })
    }

    /// The shard of worker number `worker`; the only one that this worker may write.
    ///
    /// # Panics
    /// When there are fewer workers: their number is fixed when the process starts.
    pub fn of(&self, worker: usize) -> &RequestShard {
        self.shards[worker].get_or_init(Box::default)
    }

    /// Its counts over all workers.
    pub fn totals(&self) -> RequestTotals {
        let used = self.shards.iter().filter_map(OnceLock::get);
        RequestTotals::sum(used.map(Box::as_ref))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shards_of_all_workers_are_summed() {
        let rule = LiveRule::new(RuleId(1), 3);
        rule.of(0).statuses.record(200);
        rule.of(2).statuses.record(204);
        rule.of(2).statuses.record(500);
        rule.of(0).bytes_received.add(5);
        rule.of(2).bytes_sent.add(7);
        rule.of(1).retries.add(2);
        let expected = RequestTotals {
            statuses: [0, 2, 0, 0, 1],
            bytes_received: 5,
            bytes_sent: 7,
            retries: 2,
        };
        assert_eq!(rule.totals(), expected);
    }
}
