//! What openraft counts its own work in, without the counting.
//!
//! The crate of this name builds tables for sixteen resolutions at its first use, of which openraft needs one: 25 MB that
//! stay for as long as the process does, more than all else that a node which has nothing to do holds. Weldr reads none
//! of these counts. So a crate that has as much of the interface as openraft calls, and keeps nothing, takes its place
//! (`[patch.crates-io]` in the workspace's manifest). Once it builds a table when it is asked for, this can go.

use std::{fmt, marker::PhantomData};

/// Forgets what it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram<T = ()>(PhantomData<T>);

impl<T> Histogram<T> {
    /// One to be told of values.
    pub const fn new() -> Self {
        Self(PhantomData)
    }

    /// Is told of a value.
    pub const fn record(&mut self, _value: u64) {}

    /// Is told of a value that occurred so often.
    pub const fn record_n(&mut self, _value: u64, _count: u64) {}

    /// What is known of the values: that there were none.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats::default()
    }
}

/// How values are distributed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many there were.
    pub samples: u64,
    /// 99.9 % of them are this or higher.
    pub p0_1: u64,
    /// 99 % are.
    pub p1: u64,
    /// 95 % are.
    pub p5: u64,
    /// 90 % are.
    pub p10: u64,
    /// The median.
    pub p50: u64,
    /// 90 % of them are this or lower.
    pub p90: u64,
    /// 99 % are.
    pub p99: u64,
    /// 99.9 % are.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not counted")
    }
}

/// A chart without bars.
#[derive(Debug, Default)]
pub struct AsciiChart;

impl AsciiChart {
    /// An empty one.
    pub const fn new() -> Self {
        Self
    }

    /// The same, with a histogram that has nothing to show.
    #[must_use]
    pub fn add<T>(self, _name: &str, _histogram: Histogram<T>) -> Self {
        self
    }
}
