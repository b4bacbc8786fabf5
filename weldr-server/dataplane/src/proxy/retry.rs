//! When a request may be sent again. Pure.
//!
//! RFC 9110, section 9.2.2: a proxy must not repeat a request with a non-idempotent method unless it knows that the first
//! request was never applied.

/// How far an attempt got before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptProgress {
    /// Nothing of the request was sent.
    Unsent,
    /// A part of the request may have been sent; no byte of a response has arrived.
    Sent,
}

/// Whether a request can be repeated when it is not known whether a server acted on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replay {
    /// Its method is idempotent, and it has no body.
    Possible,
    /// The method is not idempotent, or the body was already sent and is no longer in memory.
    Never,
}

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The failure is the result of the request.
    GiveUp,
    /// Try a server that was not tried yet, if there is one.
    UntriedServer,
    /// Try a server that was not tried yet, or else any server.
    AnyServer,
}

/// The retries of one request.
#[derive(Debug)]
pub(super) struct Retries {
    allowed: usize,
    replay: Replay,
    /// How often the request was sent again.
    resent: usize,
}

impl Retries {
    /// `allowed`: how often the request may be sent again when a server may already have it.
    pub(super) fn new(allowed: usize, replay: Replay) -> Self {
        Self {
            allowed,
            replay,
            resent: 0,
        }
    }

    /// Whether the request can be repeated when a server may already have it.
    pub(super) fn replay(&self) -> Replay {
        self.replay
    }

    /// Decides what to do after an attempt that failed at `progress`. With `None`, the request must not be repeated.
    ///
    /// An attempt that sent nothing costs the servers nothing, so neither the number of retries nor `budget` limits such
    /// attempts, only the number of servers.
    pub(super) fn after_failure(
        &mut self,
        progress: Option<AttemptProgress>,
        budget: &mut Budget,
    ) -> Next {
        match progress {
            Some(AttemptProgress::Unsent) => Next::UntriedServer,
            Some(AttemptProgress::Sent)
                if self.resent < self.allowed && self.may_resend(budget) =>
            {
                self.resent += 1;
                Next::AnyServer
            }
            Some(AttemptProgress::Sent) | None => Next::GiveUp,
        }
    }

    /// Decides whether the request goes to the same server again, on a new connection, because the server closed the
    /// reused connection in the moment in which the request was written to it.
    ///
    /// That is no failure of the server, so it is charged to `budget` but does not consume a retry: a server that dies
    /// closes its connections, and may accept one more that it will not serve either.
    pub(super) fn after_reuse_race(
        &mut self,
        progress: AttemptProgress,
        budget: &mut Budget,
    ) -> bool {
        match progress {
            AttemptProgress::Unsent => true,
            AttemptProgress::Sent => self.allowed > 0 && self.may_resend(budget),
        }
    }

    fn may_resend(&self, budget: &mut Budget) -> bool {
        self.replay == Replay::Possible && budget.spend()
    }
}

/// Limits the retries of all requests of a worker to a share of the requests, so that retries do not overload servers that
/// already fail.
///
/// Each request earns a fifth of a retry. Earned retries are saved up to a bound, with which a worker also begins, so
/// that the loss of a server under load is covered at once.
#[derive(Debug)]
pub(super) struct Budget {
    fifths: u32,
}

/// The price of one retry, in fifths.
const RETRY: u32 = 5;
/// Retries that can be saved up.
const MAX_SAVED: u32 = 100;

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            fifths: MAX_SAVED * RETRY,
        }
    }

    /// Adds the earnings of one request.
    pub(super) fn earn(&mut self) {
        self.fifths = (self.fifths + 1).min(MAX_SAVED * RETRY);
    }

    /// Pays for a retry. Returns false when too little is left.
    fn spend(&mut self) -> bool {
        let left = self.fifths.checked_sub(RETRY);
        self.fifths = left.unwrap_or(self.fifths);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty_budget() -> Budget {
        Budget { fifths: 0 }
    }

    #[test]
    fn an_attempt_of_which_nothing_was_sent_is_always_followed_by_another_server() {
        let mut retries = Retries::new(0, Replay::Never);
        for _ in 0..100 {
            let next = retries.after_failure(Some(AttemptProgress::Unsent), &mut empty_budget());
            assert_eq!(next, Next::UntriedServer);
        }
    }

    #[test]
    fn unsent_attempts_do_not_consume_retries() {
        let mut budget = Budget::new();
        let mut retries = Retries::new(1, Replay::Possible);
        for _ in 0..7 {
            retries.after_failure(Some(AttemptProgress::Unsent), &mut budget);
        }
        let sent = Some(AttemptProgress::Sent);
        assert_eq!(retries.after_failure(sent, &mut budget), Next::AnyServer);
        assert_eq!(retries.after_failure(sent, &mut budget), Next::GiveUp);
    }

    #[test]
    fn a_request_that_a_server_may_have_is_repeated_only_when_that_is_safe() {
        let sent = Some(AttemptProgress::Sent);
        let mut never = Retries::new(5, Replay::Never);
        assert_eq!(never.after_failure(sent, &mut Budget::new()), Next::GiveUp);
        let mut poor = Retries::new(5, Replay::Possible);
        assert_eq!(poor.after_failure(sent, &mut empty_budget()), Next::GiveUp);
        let mut possible = Retries::new(5, Replay::Possible);
        let next = possible.after_failure(None, &mut Budget::new());
        assert_eq!(next, Next::GiveUp, "the failure itself forbids it");
    }

    #[test]
    fn a_race_on_a_reused_connection_is_repeated_and_consumes_no_retry() {
        let mut budget = Budget::new();
        let mut retries = Retries::new(1, Replay::Possible);
        let sent = Some(AttemptProgress::Sent);
        assert!(retries.after_reuse_race(AttemptProgress::Sent, &mut budget));
        assert_eq!(retries.after_failure(sent, &mut budget), Next::AnyServer);
        assert!(retries.after_reuse_race(AttemptProgress::Sent, &mut budget));
        assert_eq!(retries.after_failure(sent, &mut budget), Next::GiveUp);
        assert!(retries.after_reuse_race(AttemptProgress::Unsent, &mut empty_budget()));
        assert!(
            !Retries::new(0, Replay::Possible).after_reuse_race(AttemptProgress::Sent, &mut budget)
        );
        assert!(
            !Retries::new(1, Replay::Never).after_reuse_race(AttemptProgress::Sent, &mut budget)
        );
    }

    #[test]
    fn retries_are_a_fifth_of_the_requests_in_the_long_run() {
        let mut budget = empty_budget();
        let mut resent = 0;
        for _ in 0..1000 {
            budget.earn();
            let mut retries = Retries::new(1, Replay::Possible);
            let next = retries.after_failure(Some(AttemptProgress::Sent), &mut budget);
            resent += u32::from(next == Next::AnyServer);
        }
        assert_eq!(resent, 200);
    }
}
