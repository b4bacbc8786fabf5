//! Numbers for people: short, with a unit, and no more exact than useful.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use weldr_proto::v1::Server;

/// The text for a value that is not known.
pub(crate) const NONE: &str = "-";

/// A duration of the API in seconds. Negative ones do not occur.
pub(crate) fn seconds(duration: prost_types::Duration) -> f64 {
    duration.seconds as f64 + f64::from(duration.nanos) / 1e9
}

/// The time from `since` to `now`; zero if the clocks of the machines disagree.
pub(crate) fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    let nanos = |time: Timestamp| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    let passed = nanos(now).saturating_sub(nanos(since)).max(0);
    Duration::from_nanos(u64::try_from(passed).unwrap_or(u64::MAX))
}

/// How long requests may still run on a server that is being removed; `None` when it is not. `now` is for a weldr that
/// tells only the date.
pub(crate) fn removal_left(server: &Server, now: Timestamp) -> Option<Duration> {
    let date = server.removal_deadline?;
    let left = server
        .removal_remaining
        .and_then(|left| left.try_into().ok());
    Some(left.unwrap_or_else(|| elapsed(now, date)))
}

/// The present time by the clock of this machine.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

/// A duration in its largest unit: `12s`, `3m`, `5h`, `9d`.
pub(crate) fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The time from `since` to `now`, in its largest unit.
pub(crate) fn since(since: Option<Timestamp>, now: Timestamp) -> String {
    since.map_or_else(|| NONE.to_owned(), |since| age(elapsed(since, now)))
}

/// A point in time: RFC 3339 in UTC, with milliseconds.
pub(crate) fn instant(time: Timestamp) -> String {
    // The `Timestamp` formats to the second, the milli-, micro- or nanosecond, as its value needs. Columns
    // stay in line when it never needs less than the milliseconds.
    let whole = Timestamp {
        seconds: time.seconds,
        nanos: 0,
    };
    let text = whole.to_string();
    let millis = time.nanos.clamp(0, 999_999_999) / 1_000_000;
    format!("{}.{millis:03}Z", text.trim_end_matches('Z'))
}

/// A rate per second: one decimal below 100, thousands above 10,000.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        x if !x.is_finite() => NONE.to_owned(),
        x if x < 0.05 => "0".to_owned(),
        x if x < 99.95 => format!("{x:.1}"),
        x if x < 9_999.5 => format!("{x:.0}"),
        x if x < 999_950.0 => format!("{:.1}k", x / 1e3),
        x => format!("{:.1}M", x / 1e6),
    }
}

/// The latency of a request: `240µs`, `1.2ms`, `35ms`, `1.20s`.
pub(crate) fn latency(duration: prost_types::Duration) -> String {
    let micros = seconds(duration) * 1e6;
    match micros {
        us if us < 999.5 => format!("{us:.0}µs"),
        us if us < 9_950.0 => format!("{:.1}ms", us / 1e3),
        us if us < 999_500.0 => format!("{:.0}ms", us / 1e3),
        us => format!("{:.2}s", us / 1e6),
    }
}

/// A duration that is a setting: `5s`, `1m 30s`, `100ms`.
pub(crate) fn setting(duration: prost_types::Duration) -> String {
    Duration::try_from(duration).map_or_else(
        |_negative| NONE.to_owned(),
        |duration| humantime::format_duration(duration).to_string(),
    )
}

/// Bytes in decimal units: `94 kB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1_000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1e3;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    let decimals = usize::from(value < 9.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_micros(micros: u64) -> prost_types::Duration {
        crate::settings::proto_duration(Duration::from_micros(micros))
    }

    #[test]
    fn ages_have_one_unit() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (200, "3m"),
            (3_600, "1h"),
            (172_799, "47h"),
            (172_800, "2d"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_clock_that_is_behind_makes_no_negative_age() {
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        assert_eq!(since(Some(at(100)), at(90)), "0s");
        assert_eq!(since(Some(at(100)), at(190)), "1m");
        assert_eq!(since(None, at(190)), "-");
    }

    #[test]
    fn what_is_left_of_a_removal_is_told_by_no_clock_of_ours() {
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        let mut server = Server::default();
        assert_eq!(removal_left(&server, at(90)), None);
        server.removal_deadline = Some(at(100));
        let older = removal_left(&server, at(90));
        assert_eq!(older, Some(Duration::from_secs(10)));
        server.removal_remaining = Some(crate::settings::proto_duration(Duration::from_secs(7)));
        for now in [0, 90, 4_000] {
            assert_eq!(removal_left(&server, at(now)), Some(Duration::from_secs(7)));
        }
    }

    #[test]
    fn instants_have_milliseconds() {
        let at = |nanos| instant(Timestamp { seconds: 0, nanos });
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(7_654_321), "1970-01-01T00:00:00.007Z");
    }

    #[test]
    fn rates_keep_three_digits_or_so() {
        for (value, text) in [
            (0.0, "0"),
            (0.4, "0.4"),
            (99.94, "99.9"),
            (99.96, "100"),
            (9_999.0, "9999"),
            (12_345.0, "12.3k"),
            (2_500_000.0, "2.5M"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(rate(value), text, "{value}");
        }
    }

    #[test]
    fn latencies_change_their_unit() {
        for (micros, text) in [
            (0, "0µs"),
            (240, "240µs"),
            (1_240, "1.2ms"),
            (35_400, "35ms"),
            (999_600, "1.00s"),
            (1_204_000, "1.20s"),
        ] {
            assert_eq!(latency(of_micros(micros)), text);
        }
    }

    #[test]
    fn bytes_change_their_unit() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (94_000, "94 kB"),
            (999_700, "1.0 MB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn settings_read_as_they_are_typed() {
        assert_eq!(setting(of_micros(100_000)), "100ms");
        assert_eq!(setting(of_micros(90_000_000)), "1m 30s");
    }
}
