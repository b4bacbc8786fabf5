//! A histogram of latencies.
//!
//! Each power of two of microseconds is cut into eight buckets of equal width, so a quantile is within 7 %
//! of the true value at any scale. One writer, like every counter of a shard.

use std::{sync::OnceLock, time::Duration};

use super::Counter;

/// Buckets a power of two.
const PARTS: u64 = 8;
const PART_BITS: u32 = PARTS.trailing_zeros();
/// The last bucket begins at about 71 minutes and holds everything above.
const BUCKETS: usize = 240;

/// How often each latency was seen, written by one worker.
#[derive(Debug, Default)]
pub struct Histogram {
    sum_micros: Counter,
    max_micros: Counter,
    /// Allocated with the first latency: in a large pool, most workers never use most servers.
    buckets: OnceLock<Box<Buckets>>,
}

type Buckets = [Counter; BUCKETS];

fn no_counts() -> Box<Buckets> {
    Box::new(std::array::from_fn(|_| Counter::default()))
}

impl Histogram {
    /// Counts one latency; only the owner of the shard may.
    pub fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.buckets.get_or_init(no_counts)[bucket(micros)].add(1);
        self.sum_micros.add(micros);
        let highest = self.max_micros.get();
        if micros > highest {
            self.max_micros.add(micros - highest);
        }
    }
}

fn bucket(micros: u64) -> usize {
    let index = if micros < PARTS {
        micros
    } else {
        let octave = u64::from(micros.ilog2() - PART_BITS);
        (octave + 1) * PARTS + ((micros >> octave) - PARTS)
    };
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

/// The least latency of a bucket.
fn start(index: usize) -> u64 {
    let index = index as u64;
    if index < PARTS {
        return index;
    }
    (PARTS + index % PARTS) << (index / PARTS - 1)
}

/// The middle of what falls into a bucket.
fn middle(index: usize) -> u64 {
    let (start, end) = (start(index), start(index + 1));
    start + (end - start) / 2
}

/// The latencies of several histograms, summed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latency {
    buckets: Vec<u64>,
    /// The number of latencies.
    pub count: u64,
    sum_micros: u64,
    max_micros: u64,
}

impl Latency {
    /// Adds what `histogram` has counted.
    pub fn add(&mut self, histogram: &Histogram) {
        let Some(buckets) = histogram.buckets.get() else {
            return;
        };
        self.buckets.resize(BUCKETS, 0);
        for (sum, bucket) in self.buckets.iter_mut().zip(buckets.iter()) {
            let count = bucket.get();
            *sum += count;
            self.count += count;
        }
        self.sum_micros += histogram.sum_micros.get();
        self.max_micros = self.max_micros.max(histogram.max_micros.get());
    }

    /// Adds the latencies of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.buckets
            .resize(self.buckets.len().max(other.buckets.len()), 0);
        for (sum, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += count;
        }
        self.count += other.count;
        self.sum_micros += other.sum_micros;
        self.max_micros = self.max_micros.max(other.max_micros);
    }

    /// The sum of all latencies.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros)
    }

    /// How many latencies each bucket has, with the least latency that is above it: as histograms of metrics are written.
    /// Empty buckets are left out.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let filled = self.buckets.iter().enumerate().filter(|(_, n)| **n > 0);
        filled.map(|(index, count)| (Duration::from_micros(start(index + 1)), *count))
    }

    /// The mean; zero when there were none.
    pub fn mean(&self) -> Duration {
        Duration::from_micros(self.sum_micros.checked_div(self.count).unwrap_or(0))
    }

    /// The longest one.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max_micros)
    }

    /// The latency that `per_mille` of a thousand do not exceed; zero when there were none.
    pub fn quantile(&self, per_mille: u64) -> Duration {
        let rank = (self.count * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(middle(index).min(self.max_micros));
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_of_nothing_are_zero() {
        assert_eq!(Latency::default().quantile(990), Duration::ZERO);
        assert_eq!(Latency::default().mean(), Duration::ZERO);
    }

    #[test]
    fn histograms_of_two_workers_are_summed() {
        let (first, second) = (Histogram::default(), Histogram::default());
        (0..99).for_each(|_| first.record(Duration::from_millis(1)));
        second.record(Duration::from_secs(2));
        let mut latency = Latency::default();
        latency.add(&first);
        latency.add(&second);
        assert_eq!(latency.count, 100);
        assert_eq!(latency.max(), Duration::from_secs(2));
        assert!(
            latency.quantile(990) < Duration::from_micros(1070),
            "{:?}",
            latency.quantile(990)
        );
        assert!(latency.quantile(1000) > Duration::from_millis(1860));
    }

    #[test]
    fn merging_sums_is_summing_histograms() {
        let (first, second) = (Histogram::default(), Histogram::default());
        for millis in [1, 2, 300] {
            first.record(Duration::from_millis(millis));
            second.record(Duration::from_millis(7 * millis));
        }
        let latency_of = |histograms: &[&Histogram]| {
            let mut latency = Latency::default();
            for histogram in histograms {
                latency.add(histogram);
            }
            latency
        };
        let both = latency_of(&[&first, &second]);
        for (mut one, other) in [
            (latency_of(&[&first]), latency_of(&[&second])),
            (Latency::default(), both.clone()),
            (both.clone(), Latency::default()),
        ] {
            one.merge(&other);
            assert_eq!(one, both);
        }
        assert_eq!(both.sum(), Duration::from_millis(303 * 8));
    }

    #[test]
    fn each_latency_is_below_the_end_of_its_bucket() {
        let histogram = Histogram::default();
        let times = [0, 7, 8, 9, 1000, 4_000_000].map(Duration::from_micros);
        for time in times {
            histogram.record(time);
        }
        let mut latency = Latency::default();
        latency.add(&histogram);
        let buckets: Vec<_> = latency.buckets().collect();
        assert_eq!(buckets.len(), times.len());
        for ((end, count), time) in buckets.into_iter().zip(times) {
            assert_eq!(count, 1);
            assert!(time < end && end <= time * 9 / 8 + Duration::from_micros(1));
        }
    }

    #[test]
    fn the_longest_latency_has_a_bucket() {
        let histogram = Histogram::default();
        histogram.record(Duration::MAX);
        let mut latency = Latency::default();
        latency.add(&histogram);
        assert_eq!(latency.count, 1);
    }

    proptest! {
        #[test]
        fn a_bucket_is_within_seven_percent(micros in 1_u64..3_600_000_000) {
            let shown = middle(bucket(micros));
            prop_assert!(shown.abs_diff(micros) * 100 <= micros * 7, "{micros} shown as {shown}");
        }
    }
}
