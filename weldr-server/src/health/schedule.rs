//! When a server is checked. Pure: the time and the randomness are given.

use std::time::Duration;

use tokio::time::Instant;

/// From one check to the next at least, whatever hastens it: at most ten a second.
const SPACING: Duration = Duration::from_millis(100);

/// The longest interval while the results so far may change the state: a server that boots, fails or
/// recovers is noticed soon even when its interval is long.
const PENDING_INTERVAL: Duration = Duration::from_secs(1);

/// When the next check begins.
#[derive(Debug)]
pub(super) struct Schedule {
    /// When the check that waits begins, or the one that runs began; `None` when there is none.
    next: Option<Instant>,
    /// The spacing to the check before.
    earliest: Instant,
    /// No pause was chosen since the check was taken up.
    fresh: bool,
}

impl Schedule {
    /// Nothing was checked so far.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next: None,
            earliest: now,
            fresh: true,
        }
    }

    /// The check that waits or runs is given up.
    pub(super) fn stop(&mut self, now: Instant) {
        let begun = self.next.take().filter(|&next| next <= now);
        if let Some(begun) = begun {
            self.earliest = begun + SPACING;
        }
    }

    /// A check is taken up: when it begins. At once, unless that is too soon after the one before; no
    /// jitter, because who adds a server waits for it.
    pub(super) fn start(&mut self, now: Instant) -> Instant {
        self.stop(now);
        self.fresh = true;
        *self.next.insert(now.max(self.earliest))
    }

    /// Brings the next check forward: when it begins now; `None` when it is not later than that, or runs.
    pub(super) fn hasten(&mut self, now: Instant) -> Option<Instant> {
        let soon = now.max(self.earliest);
        self.next.filter(|&next| soon < next)?;
        self.next = Some(soon);
        self.next
    }

    /// A check ended at `now`: when the next one begins. `random` is from 0 to 1.
    ///
    /// The first pause is any part of the interval, so that servers which came together spread out;
    /// later ones differ from it by a tenth at most, so that they stay so.
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
