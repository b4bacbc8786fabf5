//! Durations in requests.

use std::time::Duration;

use prost_types::Duration as ProtoDuration;

use crate::model::Invalid;

const NANOS_PER_SECOND: i32 = 1_000_000_000;

/// Accepts a duration that is not negative and whose nanoseconds are less than a second.
pub(in crate::management) fn duration(
    field: &str,
    given: ProtoDuration,
) -> Result<Duration, Invalid> {
    let ProtoDuration { seconds, nanos } = given;
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(narrow)) if nanos < NANOS_PER_SECOND => Ok(Duration::new(seconds, narrow)),
        _ => Err(Invalid::new(
            field,
            format!("{seconds} s and {nanos} ns"),
            "a duration that is not negative, with 0 to 999999999 nanoseconds",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_sent_becomes_a_duration_or_an_error() {
        let convert = |seconds, nanos| duration("interval", ProtoDuration { seconds, nanos });
        assert_eq!(convert(0, 0), Ok(Duration::ZERO));
        assert_eq!(convert(1, 500_000_000), Ok(Duration::from_millis(1500)));
        assert_eq!(
            convert(i64::MAX, 999_999_999),
            Ok(Duration::new(i64::MAX.unsigned_abs(), 999_999_999))
        );
        for (seconds, nanos) in [
            (-1, 0),
            (0, -1),
            (1, -1),
            (-1, 1),
            (0, NANOS_PER_SECOND),
            (i64::MAX, i32::MAX),
            (i64::MIN, i32::MIN),
        ] {
            let refused = convert(seconds, nanos).unwrap_err();
            assert_eq!(refused.field, "interval");
            assert_eq!(refused.value, format!("{seconds} s and {nanos} ns"));
        }
    }
}
