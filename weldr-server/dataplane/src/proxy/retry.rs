//! When a request may be sent again. Pure.
//!
//! RFC 9110, section 9.2.2: a proxy must not repeat a request whose method is not idempotent unless it knows that the
//! first was never acted on.

/// How far an attempt came before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptProgress {
    /// Nothing of the request was sent.
    Unsent,
    /// A part of the request may have been sent; nothing of a response has come.
    Sent,
}

/// Whether a request can be repeated when it is not known whether a server acted on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replay {
    /// Its method is idempotent, and it has no body.
    Possible,
    /// A server may act on it twice, or its body is no longer here.
    Never,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The failure is the result.
    GiveUp,
    /// A server that was not tried yet, if there is one.
    UntriedServer,
    /// A server that was not tried yet, or else any.
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

    /// Decides what follows an attempt on a server that failed after it came as far as `progress`. `None`: it must
    /// not be repeated, whatever else holds.
    ///
    /// An attempt of which nothing was sent costs the servers nothing: neither the number of retries nor `budget`
    /// limits it, only the number of servers does.
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

/// The retries of all requests of a worker, as a share of the requests: servers in trouble must not get more requests
/// just then.
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

    /// A request begins.
    pub(super) fn earn(&mut self) {
        self.fifths = (self.fifths + 1).min(MAX_SAVED * RETRY);
    }

    /// Pays for a retry; false when too little is left.
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
