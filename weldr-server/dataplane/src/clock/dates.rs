//! Dates of events of this process, for people.
//!
//! A date is noted by [`now`], a clock that is read once and then follows the monotonic one, so that the time between
//! two dates is right even if the clock of the machine was set in between. [`shown`] gives the date by the machine's
//! clock as it is set at that moment.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The clocks' values when they were first read.
static ORIGIN: LazyLock<(Instant, SystemTime)> =
    LazyLock::new(|| (Instant::now(), SystemTime::now()));

/// How far the machine's clock is ahead of [`now`], in milliseconds.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// A difference below this is the drift of the machine's clock, not a step. It is not shown: a date that is asked for
/// twice is the same.
const DRIFT: u64 = 1000;

/// 2026-11-01T00:00:00Z: this program did not exist before.
const EARLIEST: u64 = 1_793_491_200;
/// 2100-01-01T00:00:00Z.
const LATEST: u64 = 4_102_444_800;

/// The current date, to be stored with an event. Never goes back.
pub fn now() -> SystemTime {
    let (begun, date) = *ORIGIN;
    date.checked_add(begun.elapsed()).unwrap_or(date)
}

/// What the machine's clock would have said at `noted`, a date by [`now`], had it been set as it is set now.
pub fn shown(noted: SystemTime) -> SystemTime {
    let ahead = settle(AHEAD.load(Relaxed), difference(SystemTime::now(), now()));
    AHEAD.store(ahead, Relaxed);
    moved(noted, ahead)
}

/// What is wrong with the machine's clock when it says `date`, as a sentence; `None`: it may be right.
pub fn doubt(date: SystemTime) -> Option<String> {
    let seconds = date
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    if (EARLIEST..LATEST).contains(&seconds) {
        return None;
    }
    let date = humantime::format_rfc3339_seconds(writable(date));
    Some(format!(
        "the clock of this machine says {date}: dates in logs, responses and the history are wrong until it is set"
    ))
}

/// `date`, or the nearest one that can be written with a year of four digits.
pub fn writable(date: SystemTime) -> SystemTime {
    /// 9999-12-31T23:59:59Z.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    date.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST)
}

/// The difference to show, where `last` is shown so far and `measured` is the difference now.
fn settle(last: i64, measured: i64) -> i64 {
    if measured.abs_diff(last) < DRIFT {
        last
    } else {
        measured
    }
}

/// `a - b` in milliseconds.
fn difference(a: SystemTime, b: SystemTime) -> i64 {
    let millis = |between: Duration| i64::try_from(between.as_millis()).unwrap_or(i64::MAX);
    match a.duration_since(b) {
        Ok(ahead) => millis(ahead),
        Err(behind) => -millis(behind.duration()),
    }
}

fn moved(date: SystemTime, millis: i64) -> SystemTime {
    let by = Duration::from_millis(millis.unsigned_abs());
    let moved = if millis < 0 {
        date.checked_sub(by)
    } else {
        date.checked_add(by)
    };
    moved.unwrap_or(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_step_of_the_clock_moves_dates_and_drift_does_not() {
        let hour = 3_600_000;
        assert_eq!(settle(0, 999), 0);
        assert_eq!(settle(0, -999), 0);
        assert_eq!(settle(0, hour), hour);
        assert_eq!(settle(hour, hour - 5), hour);
        assert_eq!(settle(hour, -hour), -hour);
        assert_eq!(settle(i64::MIN, i64::MAX), i64::MAX);
        assert_eq!(moved(at(10), 5_000), at(15));
        assert_eq!(moved(at(10), -5_000), at(5));
        assert_eq!(moved(at(10), difference(at(20), at(10))), at(20));
        assert_eq!(moved(at(10), difference(at(3), at(10))), at(3));
    }

    #[test]
    fn a_date_that_is_asked_for_twice_is_the_same() {
        let noted = now();
        assert_eq!(shown(noted), shown(noted));
        assert!(now() >= noted);
    }

    #[test]
    fn a_clock_that_cannot_be_right_is_told() {
        assert_eq!(doubt(at(EARLIEST)), None);
        assert_eq!(doubt(at(LATEST - 1)), None);
        for (date, said) in [
            (UNIX_EPOCH - Duration::from_secs(1), "1970-01-01T00:00:00Z"),
            (UNIX_EPOCH, "1970-01-01T00:00:00Z"),
            (at(EARLIEST - 1), "2026-10-31T23:59:59Z"),
            (at(4_300_000_000), "2106-04-06T12:26:40Z"),
            (at(300_000_000_000), "9999-12-31T23:59:59Z"),
        ] {
            let doubt = doubt(date).unwrap();
            assert!(doubt.contains(said), "{doubt}");
        }
    }
}
