//! What the node tells its guard: one line of JSON a message, through a pipe.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::{Deserialize, Serialize};

/// The first message to the guard, as a line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GuardConfig {
    /// The process that is guarded.
    pub(super) process: u32,
    pub(super) addresses: Vec<String>,
    pub(super) interface: String,
    pub(super) hook: Option<PathBuf>,
}

/// The following messages, a line of JSON each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum GuardMessage {
    /// The addresses must be removed by this time, in nanoseconds of the monotonic clock, which all processes of a
    /// machine share.
    Until(u64),
    /// The addresses are removed.
    Clear,
    /// What to tell when the process is dead.
    LastWords(Option<String>),
    /// Asks whether the guard runs. It answers with this number, as a line on its standard output.
    Ping(u64),
}

/// `moment` in nanoseconds of the monotonic clock.
pub(super) fn on_the_clock(moment: Instant) -> u64 {
    let ahead = moment.saturating_duration_since(Instant::now());
    clock().saturating_add(u64::try_from(ahead.as_nanos()).unwrap_or(u64::MAX))
}

/// The inverse of [`on_the_clock`]. A time in the past becomes the present.
pub(super) fn moment(nanos: u64) -> Instant {
    Instant::now() + Duration::from_nanos(nanos.saturating_sub(clock()))
}

fn clock() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (
        u64::try_from(tv_sec).unwrap_or(0),
        u64::try_from(tv_nsec).unwrap_or(0),
    );
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_the_way_through_the_clock() {
        let soon = Instant::now() + Duration::from_secs(5);
        let read = moment(on_the_clock(soon));
        let apart = read.max(soon).duration_since(read.min(soon));
        assert!(apart < Duration::from_secs(1), "{apart:?}");
        assert!(moment(0) <= Instant::now(), "what has passed is now");
    }
}
