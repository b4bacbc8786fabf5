//! When a server is checked. Pure: the time and the randomness are given.

use std::time::Duration;

use tokio::time::Instant;

/// The minimum spacing from one check to the next, so at most ten checks a second.
const SPACING: Duration = Duration::from_millis(100);

/// The longest interval while the results so far may change the state: a server that boots, fails or
/// recovers is noticed soon even when its interval is long.
const PENDING_INTERVAL: Duration = Duration::from_secs(1);

/// When the next check begins.
#[derive(Debug)]
pub(super) struct CheckSchedule {
    /// When the check that waits begins, or the one that runs began; `None` when there is none.
    next: Option<Instant>,
    /// The spacing to the check before.
    earliest: Instant,
    /// No pause was chosen since the check was taken up.
    fresh: bool,
}

impl CheckSchedule {
    /// A schedule without any check so far.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next: None,
            earliest: now,
            fresh: true,
        }
    }

    /// Cancels the check that waits or runs.
    pub(super) fn stop(&mut self, now: Instant) {
        let begun = self.next.take().filter(|&next| next <= now);
        if let Some(begun) = begun {
            self.earliest = begun + SPACING;
        }
    }

    /// Starts a new check, and returns when it begins: at once, or after the minimum spacing to the previous check.
    /// Without jitter, because an operator who adds a server waits for the result.
    pub(super) fn start(&mut self, now: Instant) -> Instant {
        self.stop(now);
        self.fresh = true;
        *self.next.insert(now.max(self.earliest))
    }

    /// Moves the next check to an earlier time, which is returned; `None` when the check is due earlier anyway, or runs.
    pub(super) fn hasten(&mut self, now: Instant) -> Option<Instant> {
        let soon = now.max(self.earliest);
        self.next.filter(|&next| soon < next)?;
        self.next = Some(soon);
        self.next
    }

    /// Records that a check ended at `now`, and returns when the next one begins. `random` is from 0 to 1.
    ///
    /// The first pause is a random part of the interval, so that the checks of servers that were added together are
    /// spread over time. Later pauses differ from the interval by at most a tenth, so that they stay spread.
    pub(super) fn ended(
        &mut self,
        now: Instant,
        interval: Duration,
        pending: bool,
        random: f64,
    ) -> Instant {
        let interval = if pending {
            interval.min(PENDING_INTERVAL)
        } else {
            interval
        };
        let pause = if self.fresh {
            interval.mul_f64(random).max(SPACING.min(interval))
        } else {
            interval.mul_f64(0.9 + 0.2 * random)
        };
        self.fresh = false;
        self.earliest = now + SPACING;
        *self.next.insert(now + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A schedule whose check began and ended at `now`, and when it goes on.
    fn after_one(now: Instant, pending: bool, random: f64) -> (CheckSchedule, Duration) {
        let mut schedule = CheckSchedule::new(now);
        assert_eq!(schedule.start(now), now);
        let next = schedule.ended(now, INTERVAL, pending, random);
        (schedule, next - now)
    }

    #[test]
    fn the_first_pause_is_any_part_of_the_interval() {
        let now = Instant::now();
        for (random, pause) in [(0.0, 100), (0.5, 5_000), (1.0, 10_000)] {
            assert_eq!(after_one(now, false, random).1, millis(pause));
        }
    }

    #[test]
    fn later_pauses_differ_by_a_tenth() {
        let now = Instant::now();
        for (random, pause) in [(0.0, 9_000), (0.5, 10_000), (1.0, 11_000)] {
            let (mut schedule, _) = after_one(now, false, 0.3);
            let later = now + INTERVAL;
            assert_eq!(
                schedule.ended(later, INTERVAL, false, random),
                later + millis(pause)
            );
        }
    }

    #[test]
    fn a_pending_decision_shortens_a_long_interval_only() {
        let now = Instant::now();
        let (mut schedule, pause) = after_one(now, true, 1.0);
        assert_eq!(pause, millis(1_000));
        assert_eq!(
            schedule.ended(now, INTERVAL, true, 0.5) - now,
            millis(1_000)
        );
        assert_eq!(
            schedule.ended(now, millis(300), true, 0.5) - now,
            millis(300)
        );
    }

    #[test]
    fn an_earlier_check_keeps_the_spacing() {
        let now = Instant::now();
        let (mut schedule, _) = after_one(now, false, 1.0);
        let spaced = now + SPACING;
        assert_eq!(schedule.hasten(now + millis(10)), Some(spaced));
        assert_eq!(
            schedule.hasten(now + millis(20)),
            None,
            "it is not later than that"
        );
        assert_eq!(schedule.hasten(now + millis(200)), None, "it runs");
    }

    #[test]
    fn a_new_check_keeps_the_spacing_to_the_one_it_replaces() {
        let now = Instant::now();
        let (mut schedule, _) = after_one(now, false, 1.0);
        assert_eq!(schedule.start(now + millis(30)), now + SPACING);
        let begun = now + SPACING;
        assert_eq!(
            schedule.start(begun + millis(1)),
            begun + SPACING,
            "it ran and was given up"
        );
        schedule.stop(begun + millis(2));
        let much_later = begun + INTERVAL;
        assert_eq!(schedule.start(much_later), much_later);
    }
}
