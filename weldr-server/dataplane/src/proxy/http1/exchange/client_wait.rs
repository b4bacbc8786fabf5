//! Enforces the minimum rate at which a client sends the body of a request. Pure.

use std::time::Duration;

/// The total time spent waiting for the client.
#[derive(Debug, Default)]
pub(super) struct ClientWait {
    waited: Duration,
    since: Option<Duration>,
}

impl ClientWait {
    /// Starts to wait at `now`: the time [`running`](crate::proxy::deadline::Deadline::running) of its deadline, so
    /// that time in which this process did not run does not count against the client.
    pub(super) fn start(&mut self, now: Duration) {
        self.since = Some(now);
    }

    /// Stops to wait: the client has sent bytes.
    pub(super) fn stop(&mut self, now: Duration) {
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_sub(since);
        }
    }

    /// How long to wait for the next bytes: `grace`, and the time that the bytes so far take at `min_rate` bytes a second,
    /// less the time waited. A rate of 0 requires no minimum.
    pub(super) fn left(&self, bytes: u64, grace: Duration, min_rate: u64) -> Duration {
        match bytes.checked_div(min_rate) {
            None => Duration::MAX,
            Some(earned) => (grace + Duration::from_secs(earned)).saturating_sub(self.waited),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_add_up() {
        let second = Duration::from_secs(1);
        let mut wait = ClientWait::default();
        for (begin, end) in [(5, 6), (6, 6), (9, 11)] {
            wait.start(second * begin);
            wait.stop(second * end);
            wait.stop(second * 100);
        }
        assert_eq!(wait.waited, second * 3);
    }

    #[test]
    fn a_slow_client_earns_its_time_by_its_bytes() {
        let grace = Duration::from_secs(10);
        let mut wait = ClientWait::default();
        assert_eq!(wait.left(0, grace, 500), grace);
        wait.waited = Duration::from_secs(9);
        assert_eq!(wait.left(0, grace, 500), Duration::from_secs(1));
        assert_eq!(wait.left(1000, grace, 500), Duration::from_secs(3));
        wait.waited = Duration::from_mins(1);
        assert_eq!(wait.left(1000, grace, 500), Duration::ZERO);
        assert_eq!(wait.left(0, grace, 0), Duration::MAX);
    }
}
