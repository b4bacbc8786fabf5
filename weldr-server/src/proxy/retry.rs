//! When a request may be sent again. Pure.
//!
//! RFC 9110, section 9.2.2: a proxy must not repeat a request whose method is not idempotent unless it
//! knows that the first was never acted on.

use http::Method;

/// Attempts of one request, the first included.
pub(super) const MOST_ATTEMPTS: usize = 3;

/// How far an attempt came before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing of the request was sent.
    Unsent,
    /// Some of it may have been sent; nothing of an answer has come.
    Sent,
}

/// Retries are a share of the requests, so that servers in trouble do not get more of them just then.
///
/// Each request earns a fifth of a retry; what is earned is kept up to a bound, with which a worker also
/// begins, so that the loss of a server under load is covered at once.
#[derive(Debug)]
pub(super) struct Budget {
    fifths: u32,
}

/// The price of one retry.
const RETRY: u32 = 5;
/// Retries that can be saved up.
const MOST_SAVED: u32 = 100;

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            fifths: MOST_SAVED * RETRY,
        }
    }

    /// A request begins.
    pub(super) fn earn(&mut self) {
        self.fifths = (self.fifths + 1).min(MOST_SAVED * RETRY);
    }

    /// Pays for a retry; false when there is nothing left.
    pub(super) fn spend(&mut self) -> bool {
        let left = self.fifths.checked_sub(RETRY);
        self.fifths = left.unwrap_or(self.fifths);
        left.is_some()
    }
}

/// Whether a request may be sent again after `attempts` attempts, of which the last came as far as
/// `progress` says. `replayable`: its method is idempotent, and it has no body that is gone now.
///
/// What was never sent costs the servers nothing, so it is not charged to the budget.
pub(super) fn may_retry(
    attempts: usize,
    progress: Progress,
    replayable: bool,
    budget: &mut Budget,
) -> bool {
    attempts < MOST_ATTEMPTS
        && match progress {
            Progress::Unsent => true,
            Progress::Sent => replayable && budget.spend(),
        }
}

/// The idempotent methods of RFC 9110, section 9.2.2.
pub(super) fn is_idempotent(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::TRACE,
        Method::PUT,
        Method::DELETE,
    ]
    .contains(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_sent_again() {
        let cases = [
            // attempts, progress, replayable, expected
            (1, Progress::Unsent, false, true),
            (2, Progress::Unsent, false, true),
            (MOST_ATTEMPTS, Progress::Unsent, true, false),
            (1, Progress::Sent, true, true),
            (1, Progress::Sent, false, false),
            (MOST_ATTEMPTS, Progress::Sent, true, false),
        ];
        for (attempts, progress, replayable, expected) in cases {
            let retried = may_retry(attempts, progress, replayable, &mut Budget::new());
            assert_eq!(retried, expected, "{attempts} {progress:?} {replayable}");
        }
    }

    #[test]
    fn retries_are_a_fifth_of_the_requests_in_the_long_run() {
        let mut budget = Budget::new();
        while budget.spend() {}
        let mut retries = 0;
        for _ in 0..1000 {
            budget.earn();
            retries += u32::from(may_retry(1, Progress::Sent, true, &mut budget));
        }
        assert_eq!(retries, 200);
    }

    #[test]
    fn what_was_never_sent_is_retried_with_an_empty_budget() {
        let mut budget = Budget::new();
        while budget.spend() {}
        assert!(may_retry(1, Progress::Unsent, false, &mut budget));
        assert!(!may_retry(1, Progress::Sent, true, &mut budget));
    }

    #[test]
    fn a_post_is_not_idempotent() {
        assert!(is_idempotent(&Method::GET) && is_idempotent(&Method::DELETE));
        assert!(!is_idempotent(&Method::POST) && !is_idempotent(&Method::PATCH));
    }
}
