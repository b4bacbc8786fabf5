//! When a failure is tried again, and when a certificate is renewed. Pure: the caller brings the clock and the random number.

use std::time::Duration;

use crate::model::{AcmeFailure, Timestamp};

/// The pause after the first failure. Each further one makes it three times as long, so that five attempts take most of an
/// hour: Let's Encrypt accepts five failed validations of a name in an hour.
const FIRST_PAUSE: Duration = Duration::from_mins(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_hours(6);
/// The longest pause that an authority can ask for: a mistake of one must not stop everything for good.
pub(super) const MOST_ASKED: Duration = Duration::from_hours(24);
/// A pause is longer by up to this share, so that certificates that failed together are not tried again together.
const JITTER: f64 = 0.25;
/// The share of the lifetime after which a certificate is renewed, unless the authority says otherwise, and by how much of the
/// lifetime that is spread.
const RENEWAL: f64 = 2.0 / 3.0;
const SPREAD: f64 = 0.05;

/// The failure after `failures` others in a row. `retry_after`: how long the authority wants us to wait at least. `random`: from 0
/// to 1.
pub(super) fn failed(
    message: String,
    failures: u32,
    retry_after: Option<Duration>,
    now: Timestamp,
    random: f64,
) -> AcmeFailure {
    let pause = FIRST_PAUSE.saturating_mul(3_u32.saturating_pow(failures));
    let pause = pause.min(LONGEST_PAUSE).mul_f64(1.0 + JITTER * random);
    let pause = pause.max(retry_after.unwrap_or_default().min(MOST_ASKED));
    AcmeFailure {
        message: beginning(message),
        at: now,
        retry_at: now.after(pause),
        failures: failures.saturating_add(1),
    }
}

/// What the state accepts of a message.
fn beginning(mut message: String) -> String {
    let longest = message.floor_char_boundary(AcmeFailure::LONGEST_MESSAGE);
    message.truncate(longest);
    message
}

/// When a certificate of this lifetime is renewed.
pub(super) fn by_lifetime(not_before: Timestamp, not_after: Timestamp, random: f64) -> Timestamp {
    let lifetime = not_after.remaining(not_before);
    not_before.after(lifetime.mul_f64(RENEWAL - SPREAD * random))
}

/// When a certificate is renewed for which the authority suggests a window (RFC 9773, section 4.2). A moment in it that was
/// chosen before stays.
pub(super) fn by_authority(
    (start, end): (Timestamp, Timestamp),
    chosen: Option<Timestamp>,
    random: f64,
) -> Timestamp {
    if let Some(chosen) = chosen
        && (start..=end).contains(&chosen)
    {
        return chosen;
    }
    start.after(end.remaining(start).mul_f64(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn pause(failures: u32, retry_after: Option<Duration>, random: f64) -> Duration {
        let failure = failed(String::new(), failures, retry_after, NOW, random);
        assert_eq!(failure.failures, failures + 1);
        failure.retry_at.remaining(NOW)
    }

    #[test]
    fn pauses_grow_up_to_a_limit_and_are_never_shorter_than_the_authority_wants() {
        let minutes = [0, 1, 2, 3].map(|failures| pause(failures, None, 0.0).as_secs() / 60);
        assert_eq!(minutes, [1, 3, 9, 27]);
        assert_eq!(pause(30, None, 0.0), LONGEST_PAUSE);
        assert_eq!(pause(u32::MAX - 1, None, 1.0), LONGEST_PAUSE.mul_f64(1.25));
        let day = Duration::from_hours(24);
        assert_eq!(pause(0, Some(day), 1.0), day);
        assert_eq!(pause(0, Some(Duration::MAX), 1.0), day);
        assert_eq!(pause(0, Some(Duration::ZERO), 0.0), FIRST_PAUSE);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = "é".repeat(AcmeFailure::LONGEST_MESSAGE);
        let failure = failed(message, 0, None, NOW, 0.0);
        assert_eq!(failure.message.len(), AcmeFailure::LONGEST_MESSAGE);
    }

    #[test]
    fn without_a_word_of_the_authority_two_thirds_of_the_lifetime_are_used() {
        let at = |random| by_lifetime(Timestamp(0), Timestamp(90_000), random).0;
        assert_eq!(at(0.0), 60_000);
        assert_eq!(at(1.0), 55_500);
    }

    #[test]
    fn a_moment_in_the_window_of_the_authority_is_chosen_once() {
        let window = (Timestamp(100), Timestamp(200));
        assert_eq!(by_authority(window, None, 0.0), Timestamp(100));
        assert_eq!(by_authority(window, None, 0.5), Timestamp(150));
        assert_eq!(
            by_authority(window, Some(Timestamp(120)), 0.5),
            Timestamp(120)
        );
        assert_eq!(
            by_authority(window, Some(Timestamp(99)), 0.5),
            Timestamp(150)
        );
        // An authority that wants a certificate to be replaced at once names a window in the past.
        let passed = (Timestamp(1), Timestamp(2));
        assert!(by_authority(passed, Some(Timestamp(150)), 0.9) < NOW);
    }
}
