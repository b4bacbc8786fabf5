//! How long a call waits for a leader with a majority.

use std::time::Duration;

use openraft::{Instant as _, ServerState};

use super::{core::Core, proposals::QUORUM_PATIENCE};

/// How long a call waits where there has been no leader for so long that an election is not what it waits for: enough for a
/// leader that has just been elected. The caller can ask another node, which may be on the side of the majority.
const WITHOUT_HOPE: Duration = Duration::from_millis(200);

impl Core {
    /// How long a call to this node waits for a leader with a majority.
    pub(in crate::cluster) fn quorum_patience(&self) -> Duration {
        // A single node waits for its engine, not for others.
        let Some(metrics) = self.metrics().filter(|metrics| !self.is_alone(metrics)) else {
            return QUORUM_PATIENCE;
        };
        let role = self.note_role(metrics.state);
        let in_role = role.since.elapsed();
        let heard = match metrics.state {
            ServerState::Leader => metrics.last_quorum_acked.map(|acked| acked.elapsed()),
            _ => self.last_heard().map(|heard| heard.elapsed()),
        };
        patience(heard, in_role)
    }
}

/// `heard`: since a leader, or the majority of this leader, was last heard from. `in_role`: since this node became a leader, a
/// follower or a candidate, before which it may have been the leader itself.
fn patience(heard: Option<Duration>, in_role: Duration) -> Duration {
    let silence = heard.map_or(in_role, |heard| heard.min(in_role));
    if silence >= QUORUM_PATIENCE {
        WITHOUT_HOPE
    } else {
        QUORUM_PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_waits_for_an_election_and_not_for_a_majority_that_is_lost() {
        let (long, short) = (Duration::from_hours(1), Duration::from_millis(10));
        assert_eq!(patience(Some(short), long), QUORUM_PATIENCE, "it is led");
        assert_eq!(patience(Some(long), long), WITHOUT_HOPE);
        assert_eq!(patience(Some(QUORUM_PATIENCE), long), WITHOUT_HOPE);
        assert_eq!(
            patience(Some(long), short),
            QUORUM_PATIENCE,
            "it led before"
        );
        assert_eq!(
            patience(None, short),
            QUORUM_PATIENCE,
            "it has just started"
        );
        assert_eq!(patience(None, long), WITHOUT_HOPE);
    }
}
