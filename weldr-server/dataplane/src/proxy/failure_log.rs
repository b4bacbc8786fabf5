//! Logs failures that the client did not cause.

use std::{
    cell::RefCell,
    error::Error,
    fmt::Write as _,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    model::{PoolName, ServerId},
    stats::FailureReason,
    warnings::Repeats,
};

use super::error::{Fault, ProxyError};

/// How often a worker logs the same failure of the same server.
const PERIOD: Duration = Duration::from_secs(10);
/// Maximum number of keys at a time.
const MAX_KEYS: usize = 1024;

/// The key of equal failures. A server is more than its address, because two pools may have the same address. Without a
/// server, none could be chosen.
type FailureWarning = (
    Option<PoolName>,
    Option<ServerId>,
    Option<SocketAddr>,
    FailureReason,
);

/// Logs failures at `warn`, repeated ones summarised by server and reason.
#[derive(Debug)]
pub(super) struct FailureLog(RefCell<Repeats<FailureWarning>>);

impl Default for FailureLog {
    fn default() -> Self {
        Self(RefCell::new(Repeats::new(PERIOD, MAX_KEYS)))
    }
}

impl FailureLog {
    /// Logs `error`, which was met at the server `id` of `pool`, unless the client caused it or the same was logged just now.
    pub(super) fn report(&self, error: &ProxyError, pool: Option<&PoolName>, id: Option<ServerId>) {
        let verdict = error.verdict();
        if verdict.fault == Fault::Client {
            return;
        }
        let server = error.server();
        let key = (pool.cloned(), id, server, verdict.reason);
        let Some(suppressed) = self.0.borrow_mut().occurred(&key, Instant::now()) else {
            return;
        };
        tracing::warn!(
            pool = pool.map(tracing::field::display),
            server = server.map(tracing::field::display),
            reason = verdict.reason.name(),
            error = %with_causes(error),
            suppressed = (suppressed > 0).then_some(suppressed),
            "request failed"
        );
    }

    /// Logs how many failures were left out. Called about once a second.
    pub(super) fn summarise(&self) {
        let summaries = self.0.borrow_mut().summaries(Instant::now());
        for ((pool, _, server, reason), suppressed) in summaries {
            tracing::warn!(
                pool = pool.map(tracing::field::display),
                server = server.map(tracing::field::display),
                reason = reason.name(),
                suppressed,
                "more requests failed"
            );
        }
    }
}

/// `error` and its causes, each after a colon.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::{http1::FramingDefect, proxy::error::ResponseDefect};

    use super::*;

    #[test]
    fn the_cause_of_a_failure_is_told() {
        let error = ProxyError::InvalidResponse {
            server: ([127, 0, 0, 1], 80).into(),
            source: ResponseDefect::Framing(FramingDefect::Lengths),
        };
        let text = with_causes(&error);
        assert!(
            text.starts_with("server 127.0.0.1:80") || text.contains("127.0.0.1:80"),
            "{text}"
        );
        assert!(
            text.ends_with(&FramingDefect::Lengths.to_string()),
            "{text}"
        );
    }

    #[test]
    fn a_failure_is_the_same_only_at_the_same_server_of_the_same_pool() {
        let log = FailureLog::default();
        let error = ProxyError::ServerFull {
            server: ([127, 0, 0, 1], 80).into(),
        };
        let left_out = || log.0.borrow_mut().summaries(Instant::now() + PERIOD).len();
        log.report(&error, None, Some(ServerId(1)));
        log.report(&error, None, Some(ServerId(2)));
        assert_eq!(left_out(), 0, "both were logged");
        log.report(&error, None, Some(ServerId(1)));
        log.report(&error, None, Some(ServerId(1)));
        assert_eq!(left_out(), 1);
    }
}
