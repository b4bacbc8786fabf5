//! Repeated warnings, summarised.
//!
//! A failure can repeat many times a second. The first occurrence of a warning is logged at once; further ones
//! of the same key are only counted until the period is over, and the next line says how many were left out.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// Decides which occurrences of a warning are logged. Pure: the caller reads the clock.
#[derive(Debug)]
pub struct Repeats<K> {
    period: Duration,
    max_keys: usize,
    entries: HashMap<K, LoggedWarning>,
}

#[derive(Debug)]
struct LoggedWarning {
    logged: Instant,
    suppressed: u64,
}

impl<K: Hash + Eq + Clone> Repeats<K> {
    /// Each key is logged once in a `period` at most. Of more than `max_keys` keys within a period, further ones are not
    /// logged.
    pub fn new(period: Duration, max_keys: usize) -> Self {
        Self {
            period,
            max_keys,
            entries: HashMap::new(),
        }
    }

    /// An occurrence of `key`. Returns how many were left out before it when it is to be logged, `None` when it is
    /// only counted.
    pub fn occurred(&mut self, key: &K, now: Instant) -> Option<u64> {
        if let Some(entry) = self.entries.get_mut(key) {
            if now.saturating_duration_since(entry.logged) < self.period {
                entry.suppressed += 1;
                return None;
            }
            entry.logged = now;
            return Some(std::mem::take(&mut entry.suppressed));
        }
        if self.entries.len() >= self.max_keys {
            self.forget_quiet(now);
            if self.entries.len() >= self.max_keys {
                return None;
            }
        }
        let entry = LoggedWarning {
            logged: now,
            suppressed: 0,
        };
        self.entries.insert(key.clone(), entry);
        Some(0)
    }

    /// The keys whose period is over and of which occurrences were left out, with their number: the caller logs a summary.
    /// Call it about once a second, so that the end of a series of failures is told as well.
    pub fn summaries(&mut self, now: Instant) -> Vec<(K, u64)> {
        if self.entries.is_empty() {
            return Vec::new();
        }
        let mut summaries = Vec::new();
        let period = self.period;
        for (key, entry) in &mut self.entries {
            if entry.suppressed > 0 && now.saturating_duration_since(entry.logged) >= period {
                entry.logged = now;
                summaries.push((key.clone(), std::mem::take(&mut entry.suppressed)));
            }
        }
        self.forget_quiet(now);
        summaries
    }

    fn forget_quiet(&mut self, now: Instant) {
        let period = self.period;
        self.entries.retain(|_, entry| {
            entry.suppressed > 0 || now.saturating_duration_since(entry.logged) < period
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_occurrence_is_logged_and_repeats_are_counted() {
        let mut repeats = Repeats::new(PERIOD, 8);
        let start = Instant::now();
        assert_eq!(repeats.occurred(&"refused", start), Some(0));
        for _ in 0..5 {
            assert_eq!(repeats.occurred(&"refused", start + SECOND), None);
        }
        assert_eq!(repeats.occurred(&"timeout", start + SECOND), Some(0));
        assert_eq!(repeats.occurred(&"refused", start + PERIOD), Some(5));
        assert_eq!(repeats.occurred(&"refused", start + 2 * PERIOD), Some(0));
    }

    #[test]
    fn what_was_left_out_is_summarised_once_when_the_period_is_over() {
        let mut repeats = Repeats::new(PERIOD, 8);
        let start = Instant::now();
        repeats.occurred(&"refused", start);
        repeats.occurred(&"refused", start + SECOND);
        repeats.occurred(&"quiet", start);
        assert_eq!(repeats.summaries(start + SECOND), []);
        assert_eq!(repeats.summaries(start + PERIOD), [("refused", 1)]);
        assert_eq!(repeats.summaries(start + 2 * PERIOD), []);
        assert!(repeats.entries.is_empty(), "quiet keys are forgotten");
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let mut repeats = Repeats::new(PERIOD, 2);
        let start = Instant::now();
        assert_eq!(repeats.occurred(&1, start), Some(0));
        assert_eq!(repeats.occurred(&2, start), Some(0));
        assert_eq!(repeats.occurred(&3, start), None);
        assert_eq!(repeats.occurred(&3, start + PERIOD), Some(0));
    }
}
