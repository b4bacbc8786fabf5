//! How slowly a client may send the body of its request. Pure.

use std::time::Duration;

/// How long the client has been waited for in total.
#[derive(Debug, Default)]
pub(super) struct ClientWait {
    waited: Duration,
    since: Option<Duration>,
}

impl ClientWait {
    /// The client is waited for from `now` on: [`running`](crate::proxy::deadline::Deadline::running) of its deadline, so
    /// that a client is not to blame for time in which this process did not run.
    pub(super) fn start(&mut self, now: Duration) {
        self.since = Some(now);
    }

    /// It has sent something.
    pub(super) fn stop(&mut self, now: Duration) {
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_sub(since);
        }
    }

    /// How long the client may be waited for until its next part: it has `grace`, and what its bytes take at
    /// `min_rate` bytes a second. 0 asks for nothing.
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
    fn what_is_waited_for_adds_up() {
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
