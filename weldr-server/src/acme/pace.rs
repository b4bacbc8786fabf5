//! How many orders are begun in a time. Pure.

use std::time::{Duration, Instant};

/// Limits the orders of one leader. Let's Encrypt accepts 300 orders of an account in three hours: a few at once, and then one in
/// 45 seconds, is less, also when several nodes lead one after the other.
#[derive(Debug)]
pub(super) struct Pace {
    /// How many orders may be begun at once.
    left: u32,
    since: Instant,
    /// When orders may be begun again, if the authority has refused them.
    paused_until: Option<Instant>,
}

/// How many orders may be begun at once.
const AT_ONCE: u32 = 20;
/// The time after which one more may be begun.
const INTERVAL: Duration = Duration::from_secs(45);

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: AT_ONCE,
            since: now,
            paused_until: None,
        }
    }

    /// Whether an order may be begun at `now`, and counts it if so.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.paused_until.is_some_and(|until| now < until) {
            return false;
        }
        while self.left < AT_ONCE && now.saturating_duration_since(self.since) >= INTERVAL {
            self.left += 1;
            self.since += INTERVAL;
        }
        if self.left == 0 {
            return false;
        }
        if self.left == AT_ONCE {
            self.since = now;
        }
        self.left -= 1;
        true
    }

    /// Begins no order until `until`: the authority has refused one because there were too many.
    pub(super) fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pace: &mut Pace, now: Instant) -> usize {
        std::iter::from_fn(|| pace.take(now).then_some(())).count()
    }

    #[test]
    fn some_orders_are_begun_at_once_and_then_one_in_each_interval() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let later = start + Duration::from_hours(1);
        assert_eq!(taken(&mut pace, later), 20);
        assert_eq!(taken(&mut pace, later + INTERVAL / 2), 0);
        assert_eq!(taken(&mut pace, later + INTERVAL), 1);
        assert_eq!(taken(&mut pace, later + INTERVAL * 3), 2);
        assert_eq!(taken(&mut pace, later + INTERVAL * 1000), 20);
    }

    /// What Let's Encrypt accepts.
    #[test]
    fn three_hours_have_fewer_orders_than_authorities_accept() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let seconds = 0..3 * 60 * 60;
        let orders: usize = seconds
            .map(|second| taken(&mut pace, start + Duration::from_secs(second)))
            .sum();
        assert!((200..=300).contains(&orders), "{orders}");
    }

    #[test]
    fn a_pause_is_kept() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.pause(start + INTERVAL);
        pace.pause(start);
        assert!(!pace.take(start));
        assert!(pace.take(start + INTERVAL));
    }
}
