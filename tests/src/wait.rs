//! Waiting for a level, with a bound.
//!
//! Nothing else in the tests sleeps: a test asks again until the state that it wants is there, so it is as
//! fast as the machine and fails only when the state does not come.

use std::{fmt::Display, future::Future, panic::Location, time::Duration};

use tokio::time::{self, Instant, error::Elapsed};

/// How long anything may take before a test calls it lost. Far more than a busy machine needs.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks `probe` until it responses `Ok`, for at most [`LIMIT`].
///
/// # Panics
/// When the bound is reached: names `what` and the last `Err`.
#[track_caller]
pub fn until<T, E: Display>(
    what: impl Display,
    probe: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    until_within(LIMIT, what, probe)
}

/// [`until`] with another bound.
#[track_caller]
pub fn until_within<T, E: Display>(
    limit: Duration,
    what: impl Display,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let deadline = Instant::now() + limit;
        let mut last = String::from("the first look did not end");
        // A probe that is ready at once is never interrupted by the timeout, so the clock is read as well.
        while Instant::now() < deadline {
            match time::timeout_at(deadline, probe()).await {
                Ok(Ok(value)) => return value,
                Ok(Err(seen)) => last = seen.to_string(),
                Err(Elapsed { .. }) => break,
            }
            time::sleep(PAUSE).await;
        }
        panic!("{caller}: waited {limit:?} for {what}; last seen: {last}");
    }
}

/// Lets `future` run for at most [`LIMIT`].
///
/// # Panics
/// When the bound is reached: names `what`.
#[track_caller]
pub fn bounded<T>(what: impl Display, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        match time::timeout(LIMIT, future).await {
            Ok(value) => value,
            Err(Elapsed { .. }) => panic!("{caller}: waited {LIMIT:?} for {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn responses_as_soon_as_the_level_is_there() {
        let mut looks = 0;
        let seen = until("the third look", async || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(looks) }
        })
        .await;
        assert_eq!(seen, 3);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "for water to boil; last seen: 99 degrees")]
    async fn names_what_did_not_come_and_what_was_there_instead() {
        until("water to boil", async || Err::<(), _>("99 degrees")).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "for a look that hangs; last seen: the first look did not end")]
    async fn bounds_a_look_that_hangs() {
        let hang = async || std::future::pending::<Result<(), String>>().await;
        until("a look that hangs", hang).await;
    }
}
