//! Connections that could not be accepted, told to the operator.

use std::{
    cell::RefCell,
    io,
    time::{Duration, Instant},
};

use crate::warnings::Repeats;

/// How often a worker logs the same error.
const PERIOD: Duration = Duration::from_secs(10);
/// Errors that are told apart at a time.
const MAX_KEYS: usize = 16;

/// Logs errors of `accept` at `warn`, repeated ones summarised by error code.
#[derive(Debug)]
pub(super) struct AcceptLog(RefCell<Repeats<Option<i32>>>);

impl Default for AcceptLog {
    fn default() -> Self {
        Self(RefCell::new(Repeats::new(PERIOD, MAX_KEYS)))
    }
}

impl AcceptLog {
    /// Logs `error`, unless the same was logged just now.
    pub(super) fn report(&self, error: &io::Error) {
        let key = error.raw_os_error();
        let Some(suppressed) = self.0.borrow_mut().occurred(&key, Instant::now()) else {
            return;
        };
        tracing::warn!(
            %error,
            suppressed = (suppressed > 0).then_some(suppressed),
            "cannot accept client connections; trying again"
        );
    }

    /// Logs how many errors were left out. Called about once a second.
    pub(super) fn summarise(&self) {
        let summaries = self.0.borrow_mut().summaries(Instant::now());
        for (code, suppressed) in summaries {
            let error = code.map(io::Error::from_raw_os_error);
            tracing::warn!(
                error = error.map(tracing::field::display),
                suppressed,
                "client connections could not be accepted"
            );
        }
    }
}
