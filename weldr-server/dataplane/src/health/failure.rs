//! Why a check failed.

use std::{borrow::Cow, fmt, io, time::Duration};

use crate::model::{ExpectedStatus, Reason};

/// A failed check. Its text is written by Weldr: it may contain numbers that the server sent, but none of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The reason, for programs.
    pub(super) reason: Reason,
    /// The reason, for people: `status 500 instead of 200-399`. Equal failures have equal texts: no counts, no times.
    pub(super) detail: Cow<'static, str>,
    /// Whether this node could not make the check, so that the failure says nothing about the server.
    pub(super) is_ours: bool,
}

impl Failure {
    fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Self {
            reason,
            detail,
            is_ours: false,
        }
    }

    fn ours(detail: &'static str) -> Self {
        Self {
            is_ours: true,
            ..Self::new(Reason::Unreachable, detail)
        }
    }

    /// Marks a check during which this process did not run for a while. If the server closed the stalled connection, that
    /// is no failure of the server; if it refused the connection or cannot be reached, that is one.
    pub(super) fn of_an_interrupted_check(self) -> Self {
        let is_ours = self.is_ours || self.may_be_of_an_interruption();
        Self { is_ours, ..self }
    }

    /// Whether an interruption of this process can be the cause.
    pub(super) fn may_be_of_an_interruption(&self) -> bool {
        matches!(self.reason, Reason::Timeout | Reason::ConnectionClosed)
    }

    /// The failure of a request that could not connect, for `reason`.
    pub(super) fn met_by_request(reason: Reason) -> Self {
        let detail = match reason {
            Reason::ConnectionRefused => REFUSED,
            Reason::ConnectionClosed => "connection reset",
            Reason::Unreachable => "unreachable for requests",
            Reason::Timeout => "a request's connect timed out",
            Reason::TlsFailed => "the TLS handshake of a request failed",
            other => other.as_str(),
        };
        Self::new(reason, detail)
    }

    /// The failure of a check that did not end within `timeout`.
    pub(super) fn timeout(timeout: Duration) -> Self {
        let timeout = humantime::format_duration(timeout);
        Self::new(Reason::Timeout, format!("no response within {timeout}"))
    }

    /// Nothing listens: the kernel connected the probe to itself, which TCP allows on loopback when the
    /// port of the check happens to be chosen as the local port.
    pub(super) fn self_connected() -> Self {
        Self::new(Reason::ConnectionRefused, REFUSED)
    }

    /// The response is malformed, or larger than the traffic takes, as `why` says.
    pub(super) fn invalid_response(why: impl fmt::Display) -> Self {
        Self::new(Reason::InvalidResponse, format!("invalid response: {why}"))
    }

    /// The status of the response is not expected.
    pub(super) fn status(status: u16, expected: &ExpectedStatus) -> Self {
        let detail = format!("status {status} instead of {expected}");
        Self::new(Reason::ResponseCodeMismatch, detail)
    }

    /// The body of the response does not contain what it must.
    pub(super) fn body() -> Self {
        let detail = "the body does not contain the text that the check expects";
        Self::new(Reason::ResponseBodyMismatch, detail)
    }

    /// The check cannot be written as a request; `validate` of the check lets very few such paths through.
    pub(super) fn unsendable() -> Self {
        let detail = "the check's path or host cannot be sent in a request";
        Self::new(Reason::InvalidResponse, detail)
    }

    /// The TLS handshake with the server failed.
    pub(super) fn of_tls(error: &io::Error) -> Self {
        let of_handshake = error
            .get_ref()
            .and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match of_handshake {
            Some(cause) => Self::new(Reason::TlsFailed, format!("TLS: {cause}")),
            None => Self::from_io(error),
        }
    }

    /// This node cannot speak TLS to the pool, as `why` says.
    pub(super) fn unusable_tls(why: &str) -> Self {
        Self::new(Reason::TlsFailed, why.to_owned())
    }

    /// The failure for an I/O error of connecting, reading or writing.
    pub(super) fn from_io(error: &io::Error) -> Self {
        const EMFILE: i32 = 24;
        const ENFILE: i32 = 23;
        use io::ErrorKind as Kind;
        if let Some(EMFILE | ENFILE) = error.raw_os_error() {
            return Self::ours("this node has too many open files to connect");
        }
        let (reason, detail) = match error.kind() {
            Kind::ConnectionRefused => (Reason::ConnectionRefused, REFUSED),
            Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => {
                (Reason::ConnectionClosed, "connection reset")
            }
            Kind::UnexpectedEof => (Reason::ConnectionClosed, CLOSED),
            Kind::TimedOut => (Reason::Timeout, "connection timed out"),
            Kind::HostUnreachable => (Reason::Unreachable, "no route to the host"),
            Kind::NetworkUnreachable => (Reason::Unreachable, "network unreachable"),
            Kind::NetworkDown => (Reason::Unreachable, "network down"),
            Kind::AddrNotAvailable => {
                return Self::ours("this node has no local address or port to connect from");
            }
            Kind::PermissionDenied => (Reason::Unreachable, "this node may not connect to it"),
            _ => {
                let detail = error.raw_os_error().map_or(Cow::from("I/O error"), |code| {
                    format!("I/O error {code} of the operating system").into()
                });
                return Self::new(Reason::Unreachable, detail);
            }
        };
        Self::new(reason, detail)
    }
}

const REFUSED: &str = "connection refused";
const CLOSED: &str = "connection closed before the response";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_have_their_reasons() {
        // Codes of Linux.
        for (code, reason, detail) in [
            (111, Reason::ConnectionRefused, "connection refused"),
            (104, Reason::ConnectionClosed, "connection reset"),
            (32, Reason::ConnectionClosed, "connection reset"),
            (110, Reason::Timeout, "connection timed out"),
            (113, Reason::Unreachable, "no route to the host"),
            (101, Reason::Unreachable, "network unreachable"),
            (100, Reason::Unreachable, "network down"),
            (
                99,
                Reason::Unreachable,
                "this node has no local address or port to connect from",
            ),
            (
                24,
                Reason::Unreachable,
                "this node has too many open files to connect",
            ),
            (
                71,
                Reason::Unreachable,
                "I/O error 71 of the operating system",
            ),
        ] {
            let failure = Failure::from_io(&io::Error::from_raw_os_error(code));
            let expected = Failure {
                is_ours: detail.starts_with("this node has"),
                ..Failure::new(reason, detail)
            };
            assert_eq!(failure, expected, "{code}");
        }
    }

    #[test]
    fn an_interrupted_check_fails_only_when_the_server_refuses_the_connection() {
        for (reason, is_ours) in [
            (Reason::Timeout, true),
            (Reason::ConnectionClosed, true),
            (Reason::ConnectionRefused, false),
            (Reason::Unreachable, false),
            (Reason::ResponseCodeMismatch, false),
            (Reason::InvalidResponse, false),
        ] {
            let failure = Failure::new(reason, "why");
            assert!(!failure.is_ours);
            assert_eq!(
                failure.of_an_interrupted_check().is_ours,
                is_ours,
                "{reason:?}"
            );
        }
    }

    #[test]
    fn a_connect_failure_of_a_request_keeps_its_reason() {
        for reason in [
            Reason::ConnectionRefused,
            Reason::ConnectionClosed,
            Reason::Unreachable,
            Reason::Timeout,
        ] {
            assert_eq!(Failure::met_by_request(reason).reason, reason);
        }
    }
}
