//! What can go wrong, as the operator reads it and as the exit code tells it.
//!
//! Two texts: `Display` names the level of the error alone, for a log; [`CtlError::sentence`] is the one
//! line that goes to stderr, with the cause and what to do about it.

use std::{error::Error, io, process::ExitCode, time::Duration};

use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// How the program ends. Ordered: of several results the worst one is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// Weldr answered, and the answer is no; or it did not come true in the time given to wait.
    Refused = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No answer of weldr.
    Unreachable = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, Error)]
pub(crate) enum CtlError {
    /// The arguments contradict each other in a way that clap cannot see.
    #[error("wrong usage: {0}")]
    Usage(String),
    /// Weldr refused the call.
    #[error("weldr refused the call")]
    Refused(#[from] Refusal),
    /// Weldr accepted the call, and what was waited for did not happen.
    #[error("not done: {0}")]
    NotDone(String),
    /// Weldr did not answer, or what answered is not weldr.
    #[error("cannot reach weldr at {endpoint}")]
    Unreachable {
        /// The endpoint as it was dialled.
        endpoint: String,
        /// What stood in the way.
        why: Obstacle,
        /// The error under it, when there is one.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// Something of this machine failed, most often the writing to stdout.
    #[error("cannot {what}")]
    Local {
        /// What was tried, as a verb and its object.
        what: &'static str,
        /// The error of the system.
        source: io::Error,
    },
}

/// What stood between us and an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Nothing listens there.
    ConnectionRefused,
    /// Nothing came back in this time.
    NoAnswer(Duration),
    /// The connection ended before the answer, or in the middle of a stream.
    ConnectionLost,
    /// Something answers, and it is no management port of weldr.
    NotManagement,
    /// Weldr itself says that it cannot answer now.
    Unavailable(String),
    /// Another error of the network; its text is the source's.
    Network,
}

/// An answer that says no.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {message}", code_name(*code))]
pub(crate) struct Refusal {
    /// The kind of the refusal.
    pub(crate) code: Code,
    /// Weldr's message.
    pub(crate) message: String,
    /// What is wrong with which field, of `google.rpc.BadRequest`.
    pub(crate) violations: Vec<(String, String)>,
}

impl CtlError {
    /// An error of the connection: of connecting, or of a call whose connection broke.
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

    /// What the status of a call means.
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

    /// Whether a write that ended so may have been made all the same.
    pub(crate) fn leaves_open(&self) -> bool {
        match self {
            Self::Unreachable { why, .. } => match why {
                // Weldr says so itself, either way.
                Obstacle::Unavailable(said) => {
                    !said.contains(NOTHING_CHANGED) && !said.contains(SAFE)
                }
                Obstacle::NoAnswer(_) | Obstacle::ConnectionLost => true,
                Obstacle::ConnectionRefused | Obstacle::NotManagement | Obstacle::Network => false,
            },
            Self::Usage(_) | Self::Refused(_) | Self::NotDone(_) | Self::Local { .. } => false,
        }
    }

    /// Whether the reader of our output went away (`weldrctl list | head -1`), which is no error.
    pub(crate) fn is_closed_output(&self) -> bool {
        matches!(self, Self::Local { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What the operator reads: the cause, and what to do about it.
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
        const OTHER: &str = "--endpoint (or WELDR_ENDPOINT) names another";
        match self {
            Self::ConnectionRefused => format!(
                "cannot reach weldr at {endpoint}: connection refused; is it running? {OTHER}"
            ),
            Self::NoAnswer(timeout) => format!(
                "no answer from weldr at {endpoint} within {}; --timeout gives it longer, {OTHER}",
                humantime::format_duration(*timeout)
            ),
            Self::ConnectionLost => format!(
                "the connection to weldr at {endpoint} was closed before its answer; is it shutting down, \
                 and is it weldr's management port? {OTHER}"
            ),
            Self::NotManagement => format!(
                "what answers at {endpoint} is not weldr's management port, by default 8687; {OTHER}"
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
    /// Weldr's message, and what it says of single fields as far as the message does not say it.
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

/// How weldr says what became of a write.
const NOTHING_CHANGED: &str = "nothing changed";
const SAFE: &str = "repeating it is safe";

/// Whether a status says that nobody of weldr answered, and why.
fn obstacle(status: &Status, timeout: Duration) -> Option<Obstacle> {
    let broken = status.source().is_some();
    match status.code() {
        // What tonic makes of an HTTP/2 answer that is no gRPC, and of bytes that are no HTTP/2.
        _ if status.message().starts_with("grpc-status header missing") => {
            Some(Obstacle::NotManagement)
        }
        Code::Unimplemented => Some(Obstacle::NotManagement),
        // Weldr has waited for others, and says for whom.
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

/// The name of a code as the API's documentation writes it.
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

/// The kind of the first error of the system in a chain of causes.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    causes(error).find_map(|cause| cause.downcast_ref::<io::Error>().map(io::Error::kind))
}

/// Whether our side of HTTP/2 could make nothing of what the other side sent, an HTTP/1 answer for example.
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
                "was closed before its answer",
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
