//! Responses that Weldr makes itself, by reason.

use super::{Counter, FailureReason};

/// Why Weldr responded itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LocalReplyReason {
    /// The route redirects.
    Redirect,
    /// The route says the response.
    FixedResponse,
    /// The request was for the proxy itself: `OPTIONS *`, or a `Max-Forwards` that was used up.
    ProxyRequest,
    /// The request failed.
    Failure(FailureReason),
}

/// The reasons beside failures.
const OTHERS: usize = 3;

impl LocalReplyReason {
    /// How many there are.
    pub const COUNT: usize = OTHERS + FailureReason::ALL.len();

    /// The names of all, in the order in which they are counted.
    pub fn names() -> [&'static str; Self::COUNT] {
        std::array::from_fn(|index| match index.checked_sub(OTHERS) {
            Some(failure) => FailureReason::ALL[failure].name(),
            None => ["redirect", "fixed_response", "proxy_request"][index],
        })
    }

    fn index(self) -> usize {
        match self {
            Self::Redirect => 0,
            Self::FixedResponse => 1,
            Self::ProxyRequest => 2,
            Self::Failure(reason) => OTHERS + reason as usize,
        }
    }
}

/// How many responses Weldr made itself, by reason.
#[derive(Debug, Default)]
pub struct LocalReplies([Counter; LocalReplyReason::COUNT]);

/// The sums of [`LocalReplies`], in the order of [`LocalReplyReason::names`].
pub type LocalReplyTotals = [u64; LocalReplyReason::COUNT];

impl LocalReplies {
    /// Counts a response for `reason`.
    pub fn record(&self, reason: LocalReplyReason) {
        self.0[reason.index()].add(1);
    }

    /// The counts, in the order of [`LocalReplyReason::names`].
    pub fn get(&self) -> LocalReplyTotals {
        std::array::from_fn(|index| self.0[index].get())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_reason_has_a_name_and_a_counter_of_its_own() {
        let names = LocalReplyReason::names();
        let others = [
            (LocalReplyReason::Redirect, "redirect"),
            (LocalReplyReason::FixedResponse, "fixed_response"),
            (LocalReplyReason::ProxyRequest, "proxy_request"),
        ];
        let failures =
            FailureReason::ALL.map(|reason| (LocalReplyReason::Failure(reason), reason.name()));
        for (reason, name) in others.into_iter().chain(failures) {
            let replies = LocalReplies::default();
            replies.record(reason);
            let counted = names.iter().zip(replies.get());
            let counted: Vec<_> = counted.filter(|(_, count)| *count > 0).collect();
            assert_eq!(counted, [(&name, 1)], "{reason:?}");
        }
        assert_eq!(BTreeSet::from(names).len(), LocalReplyReason::COUNT);
    }
}
