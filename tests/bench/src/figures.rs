//! What is measured, and what several rounds of it say.

use std::collections::BTreeMap;

use serde::Serialize;

/// Something that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// Requests a second.
    RequestsPerSecond,
    /// CPU time of the proxy for a request, in µs.
    CpuMicros,
    /// The part of it that was spent in the proxy's own code.
    UserMicros,
    /// The part of it that was spent in the kernel.
    SystemMicros,
    /// Half of the requests were completed in this time, in µs.
    P50Micros,
    /// 99 % were.
    P99Micros,
    /// 99.9 % were.
    P999Micros,
    /// The most memory that the proxy had, in bytes.
    MemoryBytes,
    /// Memory for each idle connection, in bytes.
    IdleConnectionBytes,
}

impl Metric {
    /// Whether more is better.
    pub(crate) fn is_better_high(self) -> bool {
        self == Self::RequestsPerSecond
    }

    /// What it is called in a sentence.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests/s",
            Self::CpuMicros => "CPU",
            Self::UserMicros => "user CPU",
            Self::SystemMicros => "system CPU",
            Self::P50Micros => "p50",
            Self::P99Micros => "p99",
            Self::P999Micros => "p99.9",
            Self::MemoryBytes => "memory",
            Self::IdleConnectionBytes => "memory of an idle connection",
        }
    }
}

/// What one turn of one proxy measured.
pub(crate) type Sample = BTreeMap<Metric, f64>;

/// What several rounds say of one quantity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Rounds {
    /// The middle one.
    pub(crate) median: f64,
    /// The lowest.
    pub(crate) low: f64,
    /// The highest.
    pub(crate) high: f64,
}

impl Rounds {
    /// Of these values; none when there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values
            .into_iter()
            .filter(|value| value.is_finite())
            .collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], upper)
        } else {
            upper
        };
        Some(Self {
            median,
            low: *values.first()?,
            high: *values.last()?,
        })
    }

    /// From the lowest to the highest, as a part of the median.
    pub(crate) fn spread(&self) -> f64 {
        (self.high - self.low) / self.median
    }
}

/// The rounds of one metric.
pub(crate) fn rounds(samples: &[Sample], metric: Metric) -> Option<Rounds> {
    Rounds::of(
        samples
            .iter()
            .filter_map(|sample| sample.get(&metric))
            .copied(),
    )
}

/// One proxy against another, round by round: what disturbs the machine for a while disturbs both.
pub(crate) fn ratio(samples: &[Sample], reference: &[Sample], metric: Metric) -> Option<Rounds> {
    let pairs = samples.iter().zip(reference);
    Rounds::of(
        pairs
            .filter_map(|(sample, reference)| Some(sample.get(&metric)? / reference.get(&metric)?)),
    )
}

#[cfg(test)]
mod tests {
    use super::{Metric, Rounds, Sample, ratio};

    #[test]
    fn the_median_is_in_the_middle() {
        let rounds = Rounds::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((rounds.low, rounds.median, rounds.high), (1.0, 2.0, 3.0));
        assert!((rounds.spread() - 1.0).abs() < 1e-9);
        let even = Rounds::of([4.0, 1.0, 2.0, 3.0]).unwrap();
        assert!((even.median - 2.5).abs() < 1e-9);
        assert_eq!(Rounds::of([]), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let samples =
            |values: [f64; 3]| values.map(|value| Sample::from([(Metric::CpuMicros, value)]));
        // The machine was twice as slow in the last round, for both.
        let ratio = ratio(
            &samples([11.0, 12.0, 22.0]),
            &samples([10.0, 10.0, 20.0]),
            Metric::CpuMicros,
        );
        assert_eq!(ratio, Rounds::of([1.1, 1.2, 1.1]));
    }
}
