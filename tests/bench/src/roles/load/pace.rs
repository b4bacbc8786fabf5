//! When requests are due.

use std::time::Duration;

use super::spec::Pace;

/// Gives each request the time when it is due, counted from the begin of the load.
#[derive(Debug)]
pub(super) struct Schedule {
    pace: Pace,
    given: u64,
}

/// What a free connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Sends a request that was due at this time.
    Send(Duration),
    /// Waits until this time.
    Wait(Duration),
}

impl Schedule {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, given: 0 }
    }

    /// What a connection does that is free at `now`.
    pub(super) fn next(&mut self, now: Duration) -> Next {
        let Pace::Rate(rate) = self.pace else {
            return Next::Send(now);
        };
        let due = Duration::from_secs_f64(self.given as f64 / rate);
        if due > now {
            return Next::Wait(due);
        }
        self.given += 1;
        Next::Send(due)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Next, Schedule};
    use crate::roles::load::spec::Pace;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_closed_loop_sends_when_a_connection_is_free() {
        let mut schedule = Schedule::new(Pace::Closed);
        assert_eq!(schedule.next(7 * MS), Next::Send(7 * MS));
        assert_eq!(schedule.next(7 * MS), Next::Send(7 * MS));
    }

    #[test]
    fn a_stall_is_charged_to_every_request_that_was_due_in_it() {
        let mut schedule = Schedule::new(Pace::Rate(1000.0));
        assert_eq!(schedule.next(Duration::ZERO), Next::Send(Duration::ZERO));
        assert_eq!(schedule.next(Duration::ZERO), Next::Wait(MS));
        for due in 1..=3 {
            assert_eq!(schedule.next(3 * MS), Next::Send(due * MS));
        }
        assert_eq!(schedule.next(3 * MS), Next::Wait(4 * MS));
    }
}
