//! Decides how a client connection continues or closes after a response. Pure.

use crate::proxy::outcome::RequestOutcome;

/// How a client connection continues or closes after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It is kept for the next request.
    Keep,
    /// It is closed so that the client receives all that was written.
    Close,
    /// The same, for a client that has announced that it sends no more requests (RFC 9112, section 9.6).
    CloseAtClientsWish,
    /// It is closed at once: the response was broken off, or the client is gone.
    Cut,
    /// It is reset. A plain close would look like the end of a response that ends with its connection.
    Reset,
}

/// The facts that decide about persistence, besides the outcome.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one exchange"
)]
pub(super) struct Exchanged {
    /// Whether the request allows the connection to persist.
    pub(super) client_keeps: bool,
    /// Whether the whole request was read: otherwise the begin of the next request is unknown.
    pub(super) request_is_read: bool,
    /// Whether the response said that the connection closes.
    pub(super) said_close: bool,
    /// Whether the end of the connection marks the end of the response.
    pub(super) ends_with_connection: bool,
}

impl Exchanged {
    /// Whether another request may follow.
    pub(super) fn keeps(self) -> bool {
        self.client_keeps && self.request_is_read && !self.said_close
    }
}

/// Decides what to do with the connection after a request with this outcome. `None` when a local reply decides.
pub(super) fn after(outcome: &RequestOutcome, exchanged: Exchanged) -> Option<After> {
    Some(match outcome {
        RequestOutcome::Failed(_) => return None,
        RequestOutcome::Complete if exchanged.keeps() => After::Keep,
        RequestOutcome::Complete if !exchanged.client_keeps && exchanged.request_is_read => {
            After::CloseAtClientsWish
        }
        RequestOutcome::Complete => After::Close,
        RequestOutcome::BrokenOff(_) if exchanged.ends_with_connection => After::Reset,
        RequestOutcome::BrokenOff(_) | RequestOutcome::Tunnelled => After::Cut,
    })
}

#[cfg(test)]
mod tests {
    use crate::proxy::error::ProxyError;

    use super::*;

    const KEPT: Exchanged = Exchanged {
        client_keeps: true,
        request_is_read: true,
        said_close: false,
        ends_with_connection: false,
    };

    #[test]
    fn a_connection_is_kept_only_when_both_sides_and_the_framing_allow_it() {
        let with = |exchanged| after(&RequestOutcome::Complete, exchanged);
        assert_eq!(with(KEPT), Some(After::Keep));
        let unread = Exchanged {
            request_is_read: false,
            ..KEPT
        };
        assert_eq!(with(unread), Some(After::Close));
        let told = Exchanged {
            said_close: true,
            ..KEPT
        };
        assert_eq!(with(told), Some(After::Close));
        let leaves = Exchanged {
            client_keeps: false,
            ..KEPT
        };
        assert_eq!(with(leaves), Some(After::CloseAtClientsWish));
    }

    #[test]
    fn a_truncated_response_never_looks_complete() {
        let broken = || RequestOutcome::BrokenOff(ProxyError::ClientGone);
        assert_eq!(after(&broken(), KEPT), Some(After::Cut));
        let until_close = Exchanged {
            ends_with_connection: true,
            ..KEPT
        };
        assert_eq!(after(&broken(), until_close), Some(After::Reset));
    }

    #[test]
    fn a_failed_request_leaves_the_decision_to_the_local_reply() {
        let failed = RequestOutcome::Failed(ProxyError::HeadTimeout);
        assert_eq!(after(&failed, KEPT), None);
    }
}
