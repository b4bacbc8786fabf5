//! The errors of commands, with their text for the operator and their exit code.
//!
//! Two texts: `Display` names the level of the error alone, for a log; [`CtlError::sentence`] is the one
//! line that goes to stderr, with the cause and what to do about it.

use std::{error::Error, io, process::ExitCode, time::Duration};

use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

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
    /// A local operation failed, most often writing to stdout.
    #[error("cannot {what}")]
    Local {
        /// The operation, as a verb and its object.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// Why there was no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The connection was refused.
    ConnectionRefused,
    /// There was no response within this time.
    NoAnswer(Duration),
    /// The connection was closed before the response, or during a stream.
    ConnectionLost,
    /// The response is not from a management API of weldr.
    NotManagement,
    /// Weldr responded that it is not available.
    Unavailable(String),
    /// Another network error, which the source describes.
    Network,
}

/// A refusal by weldr.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {message}", code_name(*code))]
pub(crate) struct Refusal {
    /// The kind of the refusal.
    pub(crate) code: Code,
    /// Weldr's message.
    pub(crate) message: String,
    /// The fields that were refused and why, from `google.rpc.BadRequest`.
    pub(crate) violations: Vec<(String, String)>,
}

impl CtlError {
    /// A failure to connect, or a call whose connection was lost.
    pub(crate) fn network(
        endpoint: &str,
        timeout: Duration,
        source: Box<dyn Error + Send + Sync>,
    ) -> Self {
        let why = match io_kind(source.as_ref()) {
            _ if speaks_no_http2(source.as_ref()) => Obstacle::NotManagement,
            Some(io::ErrorKind::ConnectionRefused) => Obstacle::ConnectionRefused,
            Some(io::ErrorKind::TimedOut) => Obstacle::NoAnswer(timeout),
            Some(
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof,
            ) => Obstacle::ConnectionLost,
            _ => Obstacle::Network,
        };
        Self::Unreachable {
            endpoint: endpoint.to_owned(),
            why,
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
            violations: violations(&status),
            message: status.message().to_owned(),
        })
    }

    /// The exit code of this error.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Local { .. } if self.is_closed_output() => Exit::Done,
            Self::Refused(_) | Self::NotDone(_) | Self::Local { .. } => Exit::Refused,
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
                Obstacle::NoAnswer(_) | Obstacle::ConnectionLost => true,
                Obstacle::ConnectionRefused | Obstacle::NotManagement | Obstacle::Network => false,
            },
            Self::Usage(_) | Self::Refused(_) | Self::NotDone(_) | Self::Local { .. } => false,
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
        }
    }
}

impl Obstacle {
    fn sentence(
        &self,
        endpoint: &str,
        source: Option<&(dyn Error + Send + Sync + 'static)>,
    ) -> String {
        const OTHER: &str = "to use another address: --endpoint or WELDR_ENDPOINT";
        match self {
            Self::ConnectionRefused => format!(
                "cannot reach weldr at {endpoint}: connection refused; is it running? {OTHER}"
            ),
            Self::NoAnswer(timeout) => format!(
                "no response from weldr at {endpoint} within {}; to wait longer: --timeout; {OTHER}",
                humantime::format_duration(*timeout)
            ),
            Self::ConnectionLost => format!(
                "the connection to weldr at {endpoint} was closed before the response; is it shutting down, \
                 and is it weldr's management port? {OTHER}"
            ),
            Self::NotManagement => format!(
                "{endpoint} is not weldr's management port, which is 8687 by default; {OTHER}"
            ),
            Self::Unavailable(message) => {
                format!("weldr at {endpoint} is not available now: {message}; {OTHER}")
            }
            Self::Network => {
                let cause =
                    source.map_or_else(|| "unknown".to_owned(), |error| root(error).to_string());
                format!("cannot reach weldr at {endpoint}: {cause}; {OTHER}")
            }
        }
    }
}

impl Refusal {
    /// Weldr's message, and the refused fields that it does not contain.
    fn sentence(&self) -> String {
        let mut text = if self.message.is_empty() {
            format!("refused with {}", code_name(self.code))
        } else {
            self.message.clone()
        };
        for (field, description) in &self.violations {
            if !text.contains(description.as_str()) {
                text.push_str("\n  ");
                text.push_str(field);
                text.push_str(": ");
                text.push_str(description);
            }
        }
        text
    }
}

/// The parts of weldr's messages that say whether a change was made.
const NOTHING_CHANGED: &str = "nothing changed";
const SAFE: &str = "repeating it is safe";

/// Why there was no response, if that is what a status means.
fn obstacle(status: &Status, timeout: Duration) -> Option<Obstacle> {
    let broken = status.source().is_some();
    match status.code() {
        // The status that tonic makes of a response that is HTTP/2 but not gRPC.
        _ if status.message().starts_with("grpc-status header missing") => {
            Some(Obstacle::NotManagement)
        }
        Code::Unimplemented => Some(Obstacle::NotManagement),
        // Weldr has waited for other nodes, and its message names them.
        Code::DeadlineExceeded if !broken && status.message().contains(SAFE) => {
            Some(Obstacle::Unavailable(status.message().to_owned()))
        }
        Code::DeadlineExceeded => Some(Obstacle::NoAnswer(timeout)),
        Code::Unavailable if !broken => Some(Obstacle::Unavailable(status.message().to_owned())),
        _ => None,
    }
}

fn violations(status: &Status) -> Vec<(String, String)> {
    status
        .get_details_bad_request()
        .map(|details| details.field_violations)
        .unwrap_or_default()
        .into_iter()
        .map(|violation| (violation.field, violation.description))
        .collect()
}

/// The name of a code as in the documentation of the API.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The kind of the first I/O error in a chain of causes.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    causes(error).find_map(|cause| cause.downcast_ref::<io::Error>().map(io::Error::kind))
}

/// Whether the HTTP/2 library could not parse what the other side sent, for example an HTTP/1 response.
fn speaks_no_http2(error: &(dyn Error + 'static)) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<h2::Error>())
        .any(|error| error.is_go_away() && error.is_library())
}

fn root<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    causes(error).last().unwrap_or(error)
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        (*error).source()
    })
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    const ENDPOINT: &str = "http://127.0.0.1:8687";
    const TIMEOUT: Duration = Duration::from_secs(5);

    fn of(status: Status) -> CtlError {
        CtlError::from_status(ENDPOINT, TIMEOUT, status)
    }

    #[test]
    fn an_answer_that_says_no_is_refused() {
        for status in [
            Status::not_found("server 127.0.0.1:1 is not in pool default"),
            Status::already_exists("weight is 1, not 2"),
            Status::aborted("changed at revision 9"),
            Status::resource_exhausted("the pool is full"),
            Status::permission_denied("no"),
            Status::internal("bug"),
        ] {
            let message = status.message().to_owned();
            let error = of(status);
            assert_eq!(error.exit(), Exit::Refused, "{error:?}");
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
    fn no_answer_is_unreachable() {
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
