//! The errors of commands, with their text for the operator and their exit code.
//!
//! Two texts: `Display` describes only the error itself, for a log; [`CtlError::sentence`] is the one
//! line that goes to stderr, with the cause and what to do about it.

mod obstacle;
mod refusal;

use std::{error::Error, io, process::ExitCode, time::Duration};

use thiserror::Error;
use tonic::{Code, Status};

pub(crate) use obstacle::Obstacle;
pub(crate) use refusal::Refusal;

use obstacle::{NOTHING_CHANGED, SAFE, obstacle};

/// The exit codes, in order: of several results the worst one is the exit code of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Success.
    Done = 0,
    /// Weldr refused the call, or the condition of `--wait` did not come true in time.
    Refused = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Weldr did not respond.
    Unreachable = 3,
    /// The cluster works, but not all of it: `cluster status` and `cluster check` name what is wrong.
    Degraded = 4,
    /// Weldr does not know the caller, or the caller may not do this.
    Denied = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug, Error)]
pub(crate) enum CtlError {
    /// The arguments contradict each other in a way that clap cannot see.
    #[error("wrong usage: {0}")]
    Usage(String),
    /// Weldr refused the call.
    #[error("weldr refused the call")]
    Refused(#[from] Refusal),
    /// Weldr accepted the call, but the condition of `--wait` did not come true.
    #[error("not done: {0}")]
    NotDone(String),
    /// Weldr did not respond, or the response is not from weldr.
    #[error("cannot reach weldr at {endpoint}")]
    Unreachable {
        /// The endpoint.
        endpoint: String,
        /// The kind of failure.
        why: Obstacle,
        /// The cause, if there is one.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// A file with a credential or contexts cannot be used.
    #[error("cannot {what} {file}")]
    File {
        /// The operation, as a verb.
        what: &'static str,
        /// The path of the file.
        file: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A local operation failed, most often writing to stdout.
    #[error("cannot {what}")]
    Local {
        /// The operation, as a verb and its object.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl CtlError {
    /// A failure to connect, or a call whose connection was lost.
    pub(crate) fn network(
        endpoint: &str,
        timeout: Duration,
        source: Box<dyn Error + Send + Sync>,
    ) -> Self {
        Self::Unreachable {
            endpoint: endpoint.to_owned(),
            why: Obstacle::of_network(source.as_ref(), timeout),
            source: Some(source),
        }
    }

    /// The error for the status of a call.
    pub(crate) fn from_status(endpoint: &str, timeout: Duration, status: Status) -> Self {
        if let Some(why) = obstacle(&status, timeout) {
            return Self::Unreachable {
                endpoint: endpoint.to_owned(),
                why,
                source: Some(Box::new(status)),
            };
        }
        if status.source().is_some() && status.code() != Code::OutOfRange {
            return Self::network(endpoint, timeout, Box::new(status));
        }
        Self::Refused(Refusal {
            code: status.code(),
            violations: refusal::violations(&status),
            message: status.message().to_owned(),
        })
    }

    /// The exit code of this error.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Local { .. } if self.is_closed_output() => Exit::Done,
            Self::Refused(Refusal {
                code: Code::Unauthenticated | Code::PermissionDenied,
                ..
            }) => Exit::Denied,
            Self::Refused(_) | Self::NotDone(_) | Self::Local { .. } | Self::File { .. } => {
                Exit::Refused
            }
        }
    }

    /// Whether a write that ended with this error may have been made.
    pub(crate) fn leaves_open(&self) -> bool {
        match self {
            Self::Unreachable { why, .. } => match why {
                // The message of weldr says whether the change was made.
                Obstacle::Unavailable(said) => {
                    !said.contains(NOTHING_CHANGED) && !said.contains(SAFE)
                }
                Obstacle::NoResponse(_) | Obstacle::ConnectionLost => true,
                Obstacle::ConnectionRefused | Obstacle::NotManagement | Obstacle::Network => false,
            },
            Self::Usage(_)
            | Self::Refused(_)
            | Self::NotDone(_)
            | Self::Local { .. }
            | Self::File { .. } => false,
        }
    }

    /// Whether the reader of the output has closed it (`weldrctl list | head -1`), which is not an error.
    pub(crate) fn is_closed_output(&self) -> bool {
        matches!(self, Self::Local { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The text for the operator: the cause, and what to do about it.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Usage(text) => format!("{text}; see --help"),
            Self::Refused(refusal) => refusal.sentence(),
            Self::NotDone(text) => text.clone(),
            Self::Unreachable {
                endpoint,
                why,
                source,
            } => why.sentence(endpoint, source.as_deref()),
            Self::Local { what, source } => format!("cannot {what}: {source}"),
            Self::File { what, file, source } => format!("cannot {what} {file}: {source}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    const ENDPOINT: &str = "http://127.0.0.1:8687";
    const TIMEOUT: Duration = Duration::from_secs(5);

    fn of(status: Status) -> CtlError {
        CtlError::from_status(ENDPOINT, TIMEOUT, status)
    }

    #[test]
    fn a_response_that_says_no_is_refused() {
        for status in [
            Status::not_found("server 127.0.0.1:1 is not in pool default"),
            Status::already_exists("weight is 1, not 2"),
            Status::aborted("changed at revision 9"),
            Status::resource_exhausted("the pool is full"),
            Status::internal("bug"),
        ] {
            let message = status.message().to_owned();
            let error = of(status);
            assert_eq!(error.exit(), Exit::Refused, "{error:?}");
            assert_eq!(error.sentence(), message);
        }
    }

    #[test]
    fn a_caller_that_may_not_has_a_code_of_its_own() {
        for status in [
            Status::permission_denied("token:ci has the role viewer"),
            Status::unauthenticated("a token is required"),
        ] {
            let message = status.message().to_owned();
            let error = of(status);
            assert_eq!(error.exit(), Exit::Denied, "{error:?}");
            assert_eq!(error.sentence(), message);
        }
    }

    #[test]
    fn violations_are_said_once() {
        let details = ErrorDetails::with_bad_request_violation(
            "weight",
            "300 is too much; accepted: 0 to 256",
        );
        let terse =
            Status::with_error_details(Code::InvalidArgument, "bad request", details.clone());
        assert_eq!(
            of(terse).sentence(),
            "bad request\n  weight: 300 is too much; accepted: 0 to 256"
        );
        let full = "weight: 300 is too much; accepted: 0 to 256";
        let complete = Status::with_error_details(Code::InvalidArgument, full, details);
        assert_eq!(of(complete).sentence(), full);
    }

    #[test]
    fn no_response_is_unreachable() {
        for (status, part) in [
            (
                Status::unavailable("shutting down"),
                "not available now: shutting down",
            ),
            (Status::deadline_exceeded("late"), "within 5s"),
            (Status::unimplemented(""), "is not weldr's management port"),
            (
                Status::unknown("grpc-status header missing, mapped from HTTP status code 200"),
                "is not weldr's management port",
            ),
        ] {
            let error = of(status);
            assert_eq!(error.exit(), Exit::Unreachable, "{error:?}");
            let sentence = error.sentence();
            assert!(sentence.contains(part), "{sentence}");
            assert!(sentence.contains(ENDPOINT), "{sentence}");
            assert!(sentence.contains("--endpoint"), "{sentence}");
        }
    }

    #[test]
    fn the_cause_under_a_network_error_is_found() {
        for (kind, part) in [
            (
                io::ErrorKind::ConnectionRefused,
                "connection refused; is it running?",
            ),
            (io::ErrorKind::TimedOut, "within 5s"),
            (
                io::ErrorKind::ConnectionReset,
                "was closed before the response",
            ),
            (io::ErrorKind::HostUnreachable, "host unreachable"),
        ] {
            let error = CtlError::network(ENDPOINT, TIMEOUT, Box::new(Wrapped(kind.into())));
            assert_eq!(error.exit(), Exit::Unreachable);
            let sentence = error.sentence();
            assert!(sentence.contains(part), "{sentence}");
        }
    }

    #[derive(Debug, Error)]
    #[error("transport error")]
    struct Wrapped(#[source] io::Error);

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        let closed = CtlError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(closed.exit(), Exit::Done);
        let full = CtlError::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit(), Exit::Refused);
        assert!(full.sentence().starts_with("cannot write the output: "));
    }

    #[test]
    fn the_worst_of_several_results_counts() {
        assert!(Exit::Unreachable > Exit::Refused);
        assert!(Exit::Refused > Exit::Done);
    }
}
