//! Every way in which a request can fail, and the one place that decides what a failure means.

use std::{io, net::SocketAddr};

use crate::{
    http1::{ChunkDefect, FramingDefect, HeadDefect, ResponseHeadDefect},
    model::Reason,
    snapshot::Unavailable,
    stats::FailureReason,
    tls::{HandshakeError, HandshakeErrorKind},
};

use super::{headers::Refusal, retry::AttemptProgress, transport::is_out_of_descriptors};

/// Why a request has no response from a server, or an incomplete one.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the client did not send the head of its request in time")]
    HeadTimeout,
    #[error("the client stopped sending the body of its request, or sends it too slowly")]
    BodyTimeout,
    #[error("the client broke off the body of its request")]
    BodyBroken,
    #[error("the client closed its connection")]
    ClientGone,
    #[error("the client stopped taking its response")]
    ClientStalled,
    #[error("no server can take the request")]
    NoServer(#[from] Unavailable),
    #[error("server {server} is at its limit of connections or requests")]
    ServerFull { server: SocketAddr },
    #[error(
        "no connection to server {server} can be opened, because the limit of connections to all servers is reached"
    )]
    ServersFull { server: SocketAddr },
    #[error("cannot connect to server {server}")]
    Connect {
        server: SocketAddr,
        source: io::Error,
    },
    #[error("connecting to server {server} took too long")]
    ConnectTimeout { server: SocketAddr },
    #[error("server {server} did not begin its response in time")]
    ResponseTimeout { server: SocketAddr },
    #[error("server {server} stopped taking the request")]
    UploadTimeout { server: SocketAddr },
    #[error("server {server} closed the connection before it responded")]
    Closed {
        server: SocketAddr,
        progress: AttemptProgress,
        source: io::Error,
    },
    #[error("the response of server {server} is not valid HTTP")]
    InvalidResponse {
        server: SocketAddr,
        source: ResponseDefect,
    },
    #[error("server {server} closed the connection in the middle of its response")]
    Truncated {
        server: SocketAddr,
        source: io::Error,
    },
    #[error("server {server} stopped sending its response")]
    StreamTimeout { server: SocketAddr },
    #[error(
        "server {server} was removed while the request ran, and the deadline of its removal is over"
    )]
    Removed { server: SocketAddr },
}

/// A defect of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ResponseDefect {
    #[error("its head is malformed")]
    Head(#[source] HeadDefect),
    #[error("the end of its body is uncertain")]
    Framing(#[source] FramingDefect),
    #[error("its body is malformed")]
    Chunks(#[source] ChunkDefect),
    #[error("it changes the protocol without a request for that")]
    UnrequestedUpgrade,
    #[error("it has too many interim responses before it")]
    TooManyInterim,
}

impl From<ResponseHeadDefect> for ResponseDefect {
    fn from(defect: ResponseHeadDefect) -> Self {
        match defect {
            ResponseHeadDefect::Head(defect) => Self::Head(defect),
            ResponseHeadDefect::Framing(defect) => Self::Framing(defect),
        }
    }
}

/// The side that caused a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Client,
    Server,
    /// Weldr itself: no server can take the request, or an operator removed the server.
    Ours,
}

/// What a failure means for the client, the retries and the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The status for the client; 499 is never sent and stands for a client that is gone.
    pub(super) status: u16,
    pub(super) reason: FailureReason,
    pub(super) fault: Fault,
    /// How far the attempt got; `None` when the request must not be sent again.
    pub(super) progress: Option<AttemptProgress>,
}

const fn clients(status: u16, reason: FailureReason) -> Verdict {
    Verdict {
        status,
        reason,
        fault: Fault::Client,
        progress: None,
    }
}

const fn servers(status: u16, reason: FailureReason) -> Verdict {
    Verdict {
        status,
        reason,
        fault: Fault::Server,
        progress: None,
    }
}

const fn ours(status: u16, reason: FailureReason) -> Verdict {
    Verdict {
        status,
        reason,
        fault: Fault::Ours,
        progress: None,
    }
}

/// The process may open no further connection to the server; others may have room.
const fn no_room() -> Verdict {
    ours(503, FailureReason::ConnectionLimitReached).after(AttemptProgress::Unsent)
}

impl Verdict {
    const fn after(self, progress: AttemptProgress) -> Self {
        Self {
            progress: Some(progress),
            ..self
        }
    }
}

impl ProxyError {
    /// Maps the failure to its meaning; the only place that does.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Refused(refusal) => refused(*refusal),
            Self::HeadTimeout | Self::BodyTimeout => clients(408, FailureReason::ClientTimeout),
            Self::BodyBroken => clients(400, FailureReason::HttpRequestError),
            Self::ClientGone => clients(499, FailureReason::ClientClosed),
            Self::ClientStalled => clients(499, FailureReason::ClientTimeout),
            Self::NoServer(_) => ours(503, FailureReason::DestinationUnavailable),
            Self::ServerFull { .. } | Self::ServersFull { .. } => no_room(),
            Self::Connect { source, .. } if is_out_of_descriptors(source) => no_room(),
            Self::Connect { source, .. } => {
                servers(502, connect_error_type(source)).after(AttemptProgress::Unsent)
            }
            Self::ConnectTimeout { .. } => {
                servers(504, FailureReason::ConnectionTimeout).after(AttemptProgress::Unsent)
            }
            Self::ResponseTimeout { .. } => servers(504, FailureReason::HttpResponseTimeout),
            Self::UploadTimeout { .. } => servers(504, FailureReason::ConnectionWriteTimeout),
            Self::Closed { progress, .. } => {
                servers(502, FailureReason::ConnectionTerminated).after(*progress)
            }
            Self::InvalidResponse { source, .. } => servers(502, response_error_type(*source)),
            Self::Truncated { .. } => servers(502, FailureReason::HttpResponseIncomplete),
            Self::StreamTimeout { .. } => servers(504, FailureReason::ConnectionReadTimeout),
            Self::Removed { .. } => ours(502, FailureReason::ConnectionTerminated),
        }
    }

    /// The server that failed; `None` when no server could be chosen, or the client failed.
    pub(super) fn server(&self) -> Option<SocketAddr> {
        match self {
            Self::ServerFull { server }
            | Self::ServersFull { server }
            | Self::Connect { server, .. }
            | Self::ConnectTimeout { server }
            | Self::ResponseTimeout { server }
            | Self::UploadTimeout { server }
            | Self::Closed { server, .. }
            | Self::InvalidResponse { server, .. }
            | Self::Truncated { server, .. }
            | Self::StreamTimeout { server }
            | Self::Removed { server } => Some(*server),
            Self::Refused(_)
            | Self::HeadTimeout
            | Self::BodyTimeout
            | Self::BodyBroken
            | Self::ClientGone
            | Self::ClientStalled
            | Self::NoServer(_) => None,
        }
    }

    /// The reason to report to the prober when the server could not be reached. A lack of descriptors or ports on this
    /// node says nothing about the server.
    pub(super) fn connect_failure(&self) -> Option<Reason> {
        match self {
            Self::Connect { source, .. } => match source.kind() {
                io::ErrorKind::ConnectionRefused => Some(Reason::ConnectionRefused),
                io::ErrorKind::ConnectionReset => Some(Reason::ConnectionClosed),
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    Some(Reason::Unreachable)
                }
                _ if HandshakeError::of(source).is_some() => Some(Reason::TlsFailed),
                _ => None,
            },
            Self::ConnectTimeout { .. } => Some(Reason::Timeout),
            Self::Refused(_)
            | Self::HeadTimeout
            | Self::BodyTimeout
            | Self::BodyBroken
            | Self::ClientGone
            | Self::ClientStalled
            | Self::NoServer(_)
            | Self::ServerFull { .. }
            | Self::ServersFull { .. }
            | Self::ResponseTimeout { .. }
            | Self::UploadTimeout { .. }
            | Self::Closed { .. }
            | Self::InvalidResponse { .. }
            | Self::Truncated { .. }
            | Self::StreamTimeout { .. }
            | Self::Removed { .. } => None,
        }
    }

    /// Whether the client caused the failure, so that it says nothing about a server.
    pub(super) fn is_clients_fault(&self) -> bool {
        self.verdict().fault == Fault::Client
    }

    /// Whether the server caused the failure.
    pub(super) fn is_servers_fault(&self) -> bool {
        self.verdict().fault == Fault::Server
    }
}

fn refused(refusal: Refusal) -> Verdict {
    match refusal {
        Refusal::Head(HeadDefect::TargetTooLong) => clients(414, FailureReason::HttpRequestError),
        Refusal::Head(HeadDefect::TooManyFields { .. } | HeadDefect::TooLarge { .. }) => {
            clients(431, FailureReason::HttpRequestError)
        }
        Refusal::Head(HeadDefect::Version) => clients(505, FailureReason::HttpRequestError),
        // RFC 9112, sections 3 and 6.1.
        Refusal::Head(HeadDefect::MethodTooLong)
        | Refusal::Framing(FramingDefect::UnknownCoding) => {
            clients(501, FailureReason::HttpRequestError)
        }
        Refusal::Head(
            HeadDefect::LineEnd
            | HeadDefect::RequestLine
            | HeadDefect::StatusLine
            | HeadDefect::Target
            | HeadDefect::Folded
            | HeadDefect::NoColon
            | HeadDefect::FieldName
            | HeadDefect::FieldValue,
        )
        | Refusal::Framing(_)
        | Refusal::Chunks(_)
        | Refusal::NoHost
        | Refusal::SeveralHosts
        | Refusal::MalformedHost
        | Refusal::Route(_)
        | Refusal::TraceContent => clients(400, FailureReason::HttpRequestError),
        Refusal::BodyTooLarge { .. } => clients(413, FailureReason::HttpRequestError),
        // RFC 5842, section 7.2. RFC 9209 recommends 502, which would look like any other failure of a server.
        Refusal::Loop | Refusal::TooManyNodes { .. } => ours(508, FailureReason::ProxyLoopDetected),
        Refusal::Connect => clients(501, FailureReason::HttpRequestDenied),
    }
}

fn response_error_type(defect: ResponseDefect) -> FailureReason {
    match defect {
        ResponseDefect::Head(HeadDefect::TooManyFields { .. } | HeadDefect::TooLarge { .. }) => {
            FailureReason::HttpResponseHeaderSectionSize
        }
        ResponseDefect::UnrequestedUpgrade => FailureReason::HttpUpgradeFailed,
        ResponseDefect::Head(_)
        | ResponseDefect::Framing(_)
        | ResponseDefect::Chunks(_)
        | ResponseDefect::TooManyInterim => FailureReason::HttpProtocolError,
    }
}

fn connect_error_type(error: &io::Error) -> FailureReason {
    if let Some(handshake) = HandshakeError::of(error) {
        return match handshake.kind() {
            HandshakeErrorKind::Certificate => FailureReason::TlsCertificateError,
            HandshakeErrorKind::Alert => FailureReason::TlsAlertReceived,
            HandshakeErrorKind::Protocol => FailureReason::TlsProtocolError,
        };
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => FailureReason::ConnectionRefused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            FailureReason::DestinationIpUnroutable
        }
        _ => FailureReason::DestinationUnavailable,
    }
}
