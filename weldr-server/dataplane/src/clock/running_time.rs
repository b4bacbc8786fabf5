//! Time in which this process ran.

use std::{
    future::{Future, pending},
    pin::pin,
    time::{Duration, Instant},
};

use tokio::time;

/// How often a wait reads the clock.
const LOOK: Duration = Duration::from_millis(100);
/// The longest time that a wait counts from one reading to the next.
const LONGEST_STEP: Duration = Duration::from_millis(500);

/// Measures time in which this process ran.
///
/// The monotonic clock goes on while a process is stopped by a signal or gets no CPU. Deadlines by it would end requests
/// and fail checks that had no chance to finish. So code that waits calls [`advance`](Self::advance) at short intervals: a
/// longer interval means that the process did not run, and only a part of it counts.
#[derive(Debug, Clone, Copy)]
pub struct RunningTime {
    last: Instant,
    longest_step: Duration,
    counted: Duration,
    was_interrupted: bool,
}

impl RunningTime {
    /// Begins at `now`. From one call of [`advance`](Self::advance) to the next, at most `longest_step` is counted.
    pub fn start(now: Instant, longest_step: Duration) -> Self {
        Self {
            last: now,
            longest_step,
            counted: Duration::ZERO,
            was_interrupted: false,
        }
    }

    /// Counts the time up to `now`, and gives all that was counted so far.
    pub fn advance(&mut self, now: Instant) -> Duration {
        let step = now.saturating_duration_since(self.last);
        self.last = now;
        self.counted += step.min(self.longest_step);
        self.was_interrupted |= step > self.longest_step;
        self.counted
    }

    /// [`advance`](Self::advance) to the present.
    pub fn count(&mut self) -> Duration {
        self.advance(now())
    }

    /// Whether some of the time did not count, because the process did not run.
    pub fn was_interrupted(&self) -> bool {
        self.was_interrupted
    }
}

/// Begins with the steps that suit a wait which reads the clock every 100 ms.
impl Default for RunningTime {
    fn default() -> Self {
        Self::start(now(), LONGEST_STEP)
    }
}

/// Runs `work` for at most `limit`, measured in [`RunningTime`]. Returns the result, with the measured time.
///
/// `None`: the limit was reached. Work that is ready at the limit is not lost.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> (Option<T>, RunningTime) {
    let mut work = pin!(work);
    let mut running = RunningTime::default();
    loop {
        let left = limit.saturating_sub(running.counted);
        let step = time::timeout(left.min(LOOK), &mut work).await;
        let counted = running.count();
        match step {
            Ok(output) => return (Some(output), running),
            Err(_) if counted >= limit => return (None, running),
            Err(_) => {}
        }
    }
}

/// Waits for `duration` of [`RunningTime`].
pub async fn sleep(duration: Duration) {
    within(duration, pending::<()>()).await;
}

/// The monotonic clock; in tests with paused time, that time.
fn now() -> Instant {
    time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_long_step_counts_in_part_and_is_remembered() {
        let start = Instant::now();
        let mut running = RunningTime::start(start, SECOND);
        assert_eq!(running.advance(start + SECOND / 2), SECOND / 2);
        assert_eq!(running.advance(start + SECOND), SECOND);
        assert!(!running.was_interrupted());
        assert_eq!(running.advance(start + SECOND * 60), SECOND * 2);
        assert!(running.was_interrupted());
        assert_eq!(running.advance(start), SECOND * 2, "time does not go back");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_has_no_end_ends_at_its_limit() {
        for limit in [Duration::ZERO, LOOK / 3, LOOK, SECOND * 2] {
            let begun = time::Instant::now();
            let (output, running) = within(limit, pending::<()>()).await;
            assert_eq!((output, running.was_interrupted()), (None, false));
            assert!(begun.elapsed() >= limit, "{limit:?}");
            assert!(begun.elapsed() <= limit + LOOK, "{limit:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_the_process_did_not_run_is_given_again() {
        let (sender, receiver) = oneshot::channel();
        let mut waits = Box::pin(within(SECOND * 2, receiver));
        assert!((&mut waits).now_or_never().is_none());
        time::advance(SECOND * 60).await;
        assert!((&mut waits).now_or_never().is_none(), "its time is over");
        sender.send("late").unwrap();
        let (output, running) = waits.await;
        assert_eq!(output, Some(Ok("late")));
        assert!(running.was_interrupted());
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_holds_after_an_interruption_as_well() {
        let mut waits = Box::pin(within(SECOND * 2, pending::<()>()));
        assert!((&mut waits).now_or_never().is_none());
        time::advance(SECOND * 60).await;
        let begun = time::Instant::now();
        assert_eq!(waits.await.0, None);
        assert!(begun.elapsed() <= SECOND * 2);
    }
}
