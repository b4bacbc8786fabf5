//! When a request may be sent again. Pure.
//!
//! RFC 9110, section 9.2.2: a proxy must not repeat a request whose method is not idempotent unless it
//! knows that the first was never acted on.

/// How far an attempt came before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing of the request was sent.
    Unsent,
    /// Some of it may have been sent; nothing of an answer has come.
    Sent,
}

/// Whether a request can be sent once more when it is not known what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replay {
    /// Its method is idempotent, and it has no body.
    Possible,
    /// A server may act on it twice, or its body is gone.
    Never,
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

/// Whether a request may be sent again after an attempt that came as far as `progress` says.
///
/// What was never sent costs the servers nothing, so it is not charged to the budget.
pub(super) fn may_retry(progress: Progress, replay: Replay, budget: &mut Budget) -> bool {
    match progress {
        Progress::Unsent => true,
        Progress::Sent => replay == Replay::Possible && budget.spend(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_sent_again() {
        use Replay::{Never, Possible};
        let cases = [
            (Progress::Unsent, Never, true),
            (Progress::Unsent, Possible, true),
            (Progress::Sent, Possible, true),
            (Progress::Sent, Never, false),
        ];
        for (progress, replay, expected) in cases {
            let retried = may_retry(progress, replay, &mut Budget::new());
            assert_eq!(retried, expected, "{progress:?} {replay:?}");
        }
    }

    #[test]
    fn retries_are_a_fifth_of_the_requests_in_the_long_run() {
        let mut budget = Budget::new();
        while budget.spend() {}
        let mut retries = 0;
        for _ in 0..1000 {
            budget.earn();
            retries += u32::from(may_retry(Progress::Sent, Replay::Possible, &mut budget));
        }
        assert_eq!(retries, 200);
    }

    #[test]
    fn what_was_never_sent_is_retried_with_an_empty_budget() {
        let mut budget = Budget::new();
        while budget.spend() {}
        assert!(may_retry(Progress::Unsent, Replay::Never, &mut budget));
        assert!(!may_retry(Progress::Sent, Replay::Possible, &mut budget));
    }
}
