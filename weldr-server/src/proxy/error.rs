//! Every way in which a request can fail to be served, and the one place that says what that means.

use std::{io, net::SocketAddr};

use http::StatusCode;

use crate::{model::Reason, snapshot::Unavailable};

use super::{headers::Refusal, retry::Progress};

/// Why a request has no answer of a server.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("no server can take the request")]
    NoServer(#[from] Unavailable),
    #[error("server {server} has as many connections as it may have")]
    ServerFull { server: SocketAddr },
    #[error("cannot connect to server {server}")]
    Connect {
        server: SocketAddr,
        source: io::Error,
    },
    #[error("connecting to server {server} took too long")]
    ConnectTimeout { server: SocketAddr },
    #[error("server {server} did not begin its answer in time")]
    ResponseTimeout { server: SocketAddr },
    #[error("server {server} stopped taking the request")]
    UploadTimeout { server: SocketAddr },
    #[error("server {server} closed the connection before it answered")]
    Closed {
        server: SocketAddr,
        source: hyper::Error,
    },
    #[error("the answer of server {server} is not valid HTTP")]
    InvalidAnswer {
        server: SocketAddr,
        source: hyper::Error,
    },
    #[error(
        "server {server} was removed while the request ran, and the deadline of its removal is over"
    )]
    Removed { server: SocketAddr },
    #[error("the client stopped sending the body of its request")]
    BodyTimeout,
    #[error("the client broke off the body of its request")]
    BodyBroken,
}

/// What a failure means for everybody.
pub(super) struct Verdict {
    /// What the client is told.
    pub(super) status: StatusCode,
    /// The error type of RFC 9209, section 2.3.
    pub(super) proxy_error: &'static str,
    /// What the prober is told, when the server could not be reached.
    pub(super) connect_failure: Option<Reason>,
    /// How far the request came; `None` when sending it again is out of the question.
    pub(super) progress: Option<Progress>,
}

impl ProxyError {
    /// The one match from a failure to its meaning.
    pub(super) fn verdict(&self) -> Verdict {
        let (status, proxy_error, progress) = match self {
            Self::Refused(Refusal::Connect) => {
                (StatusCode::NOT_IMPLEMENTED, "http_request_denied", None)
            }
            Self::Refused(_) | Self::BodyBroken => {
                (StatusCode::BAD_REQUEST, "http_request_error", None)
            }
            Self::NoServer(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "destination_unavailable",
                None,
            ),
            Self::ServerFull { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "connection_limit_reached",
                Some(Progress::Unsent),
            ),
            Self::Connect { source, .. } => (
                StatusCode::BAD_GATEWAY,
                connect_error_type(source),
                Some(Progress::Unsent),
            ),
            Self::ConnectTimeout { .. } => (
                StatusCode::GATEWAY_TIMEOUT,
                "connection_timeout",
                Some(Progress::Unsent),
            ),
            Self::ResponseTimeout { .. } => {
                (StatusCode::GATEWAY_TIMEOUT, "http_response_timeout", None)
            }
            Self::UploadTimeout { .. } => (
                StatusCode::GATEWAY_TIMEOUT,
                "connection_write_timeout",
                None,
            ),
            Self::Closed { .. } => (
                StatusCode::BAD_GATEWAY,
                "connection_terminated",
                Some(Progress::Sent),
            ),
            Self::InvalidAnswer { .. } => (StatusCode::BAD_GATEWAY, "http_protocol_error", None),
            Self::Removed { .. } => (StatusCode::BAD_GATEWAY, "connection_terminated", None),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "http_request_error", None),
        };
        Verdict {
            status,
            proxy_error,
            connect_failure: self.connect_failure(),
            progress,
        }
    }

    fn connect_failure(&self) -> Option<Reason> {
        match self {
            // Our own lack of descriptors or ports says nothing about the server.
            Self::Connect { source, .. } => match source.kind() {
                io::ErrorKind::ConnectionRefused => Some(Reason::ConnectionRefused),
                io::ErrorKind::ConnectionReset => Some(Reason::ConnectionClosed),
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    Some(Reason::Unreachable)
                }
                _ => None,
            },
            Self::ConnectTimeout { .. } => Some(Reason::Timeout),
            Self::Refused(_)
            | Self::NoServer(_)
            | Self::ServerFull { .. }
            | Self::ResponseTimeout { .. }
            | Self::UploadTimeout { .. }
            | Self::Closed { .. }
            | Self::InvalidAnswer { .. }
            | Self::Removed { .. }
            | Self::BodyTimeout
            | Self::BodyBroken => None,
        }
    }

    /// Whether the client caused it: then no server is to blame.
    pub(super) fn is_clients_fault(&self) -> bool {
        matches!(
            self,
            Self::Refused(_) | Self::BodyTimeout | Self::BodyBroken
        )
    }
}

fn connect_error_type(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection_refused",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "destination_ip_unroutable"
        }
        _ => "destination_unavailable",
    }
}
