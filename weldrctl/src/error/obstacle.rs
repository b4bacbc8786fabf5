//! Why there was no response from weldr.

use std::{error::Error, io, time::Duration};

use tonic::{Code, Status};

/// Why there was no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The connection was refused.
    ConnectionRefused,
    /// There was no response within this time.
    NoResponse(Duration),
    /// The connection was closed before the response, or during a stream.
    ConnectionLost,
    /// The response is not from a management API of weldr.
    NotManagement,
    /// Weldr responded that it is not available.
    Unavailable(String),
    /// Another network error, which the source describes.
    Network,
}

impl Obstacle {
    /// The obstacle for an error of connecting, or of a call whose connection was lost.
    pub(super) fn of_network(source: &(dyn Error + 'static), timeout: Duration) -> Self {
        match io_kind(source) {
            _ if speaks_no_http2(source) => Obstacle::NotManagement,
            Some(io::ErrorKind::ConnectionRefused) => Obstacle::ConnectionRefused,
            Some(io::ErrorKind::TimedOut) => Obstacle::NoResponse(timeout),
            Some(
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof,
            ) => Obstacle::ConnectionLost,
            _ => Obstacle::Network,
        }
    }

    /// The text for the operator.
    pub(super) fn sentence(
        &self,
        endpoint: &str,
        source: Option<&(dyn Error + Send + Sync + 'static)>,
    ) -> String {
        const OTHER: &str = "to use another address: --endpoint or WELDR_ENDPOINT";
        match self {
            Self::ConnectionRefused => format!(
                "cannot reach weldr at {endpoint}: connection refused; is it running? {OTHER}"
            ),
            Self::NoResponse(timeout) => format!(
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
                let advice = if cause.contains("certificate") {
                    "the certificate authority of the node is given with --ca"
                } else {
                    OTHER
                };
                format!("cannot reach weldr at {endpoint}: {cause}; {advice}")
            }
        }
    }
}

/// The parts of weldr's messages that say whether a change was made.
pub(super) const NOTHING_CHANGED: &str = "nothing changed";
pub(super) const SAFE: &str = "repeating it is safe";

/// Why there was no response, if that is what a status means.
pub(super) fn obstacle(status: &Status, timeout: Duration) -> Option<Obstacle> {
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
        Code::DeadlineExceeded => Some(Obstacle::NoResponse(timeout)),
        Code::Unavailable if !broken => Some(Obstacle::Unavailable(status.message().to_owned())),
        _ => None,
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
