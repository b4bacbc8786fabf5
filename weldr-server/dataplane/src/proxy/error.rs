//! Every way in which a request can fail to be served, and the one place that says what that means.

use std::{io, net::SocketAddr};

use crate::{
    http1::{ChunkDefect, FramingDefect, HeadDefect},
    model::Reason,
    snapshot::Unavailable,
};

use super::{headers::Refusal, retry::Progress};

/// Why a request has no response of a server, or not all of one.
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
    #[error("the client stopped taking its answer")]
    ClientStalled,
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
        progress: Progress,
        source: io::Error,
    },
    #[error("the answer of server {server} is not valid HTTP")]
    InvalidResponse {
        server: SocketAddr,
        source: ResponseDefect,
    },
    #[error("server {server} closed the connection in the middle of its answer")]
    Truncated {
        server: SocketAddr,
        source: io::Error,
    },
    #[error("server {server} stopped sending its answer")]
    StreamTimeout { server: SocketAddr },
    #[error(
        "server {server} was removed while the request ran, and the deadline of its removal is over"
    )]
    Removed { server: SocketAddr },
}

/// What is wrong with a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ResponseDefect {
    #[error("its head is malformed")]
    Head(#[source] HeadDefect),
    #[error("nobody can say for certain where its body ends")]
    Framing(#[source] FramingDefect),
    #[error("its body is malformed")]
    Chunks(#[source] ChunkDefect),
    #[error("it changes the protocol, and nobody asked for that")]
    UnrequestedUpgrade,
    #[error("it has too many interim answers before it")]
    TooManyInterim,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Client,
    Server,
    /// Nobody can serve the request, or an operator took the server away.
    Ours,
}

/// What a failure means for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// What the client is told; 499, which nobody is told, stands for a client that is gone.
    pub(super) status: u16,
    /// The error type of RFC 9209, section 2.3.
    pub(super) proxy_error: &'static str,
    pub(super) fault: Fault,
    /// How far the request came; `None` when sending it again is out of the question.
    pub(super) progress: Option<Progress>,
}

const fn clients(status: u16) -> Verdict {
    Verdict {
        status,
        proxy_error: "http_request_error",
        fault: Fault::Client,
        progress: None,
    }
}

const fn servers(status: u16, proxy_error: &'static str) -> Verdict {
    Verdict {
        status,
        proxy_error,
        fault: Fault::Server,
        progress: None,
    }
}

const fn ours(status: u16, proxy_error: &'static str) -> Verdict {
    Verdict {
        status,
        proxy_error,
        fault: Fault::Ours,
        progress: None,
    }
}

impl Verdict {
    const fn after(self, progress: Progress) -> Self {
        Self {
            progress: Some(progress),
            ..self
        }
    }
}

impl ProxyError {
    /// The one match from a failure to its meaning.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Refused(refusal) => refused(*refusal),
            Self::HeadTimeout | Self::BodyTimeout => clients(408),
            Self::BodyBroken => clients(400),
            Self::ClientGone | Self::ClientStalled => clients(499),
            Self::NoServer(_) => ours(503, "destination_unavailable"),
            Self::ServerFull { .. } => {
                ours(503, "connection_limit_reached").after(Progress::Unsent)
            }
            Self::Connect { source, .. } => {
                servers(502, connect_error_type(source)).after(Progress::Unsent)
            }
            Self::ConnectTimeout { .. } => {
                servers(504, "connection_timeout").after(Progress::Unsent)
            }
            Self::ResponseTimeout { .. } => servers(504, "http_response_timeout"),
            Self::UploadTimeout { .. } => servers(504, "connection_write_timeout"),
            Self::Closed { progress, .. } => servers(502, "connection_terminated").after(*progress),
            Self::InvalidResponse { source, .. } => servers(502, response_error_type(*source)),
            Self::Truncated { .. } => servers(502, "http_response_incomplete"),
            Self::StreamTimeout { .. } => servers(504, "connection_read_timeout"),
            Self::Removed { .. } => ours(502, "connection_terminated"),
        }
    }

    /// How the access log calls it.
    pub(super) fn termination(&self) -> &'static str {
        match self {
            Self::ClientGone => "client_closed",
            Self::HeadTimeout | Self::BodyTimeout | Self::ClientStalled => "client_timeout",
            other => other.verdict().proxy_error,
        }
    }

    /// What the prober is told, when the server could not be reached. Our own lack of descriptors or ports says
    /// nothing about the server.
    pub(super) fn connect_failure(&self) -> Option<Reason> {
        match self {
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
            | Self::HeadTimeout
            | Self::BodyTimeout
            | Self::BodyBroken
            | Self::ClientGone
            | Self::ClientStalled
            | Self::NoServer(_)
            | Self::ServerFull { .. }
            | Self::ResponseTimeout { .. }
            | Self::UploadTimeout { .. }
            | Self::Closed { .. }
            | Self::InvalidResponse { .. }
            | Self::Truncated { .. }
            | Self::StreamTimeout { .. }
            | Self::Removed { .. } => None,
        }
    }

    /// Whether the client caused it: then no server is to blame.
    pub(super) fn is_clients_fault(&self) -> bool {
        self.verdict().fault == Fault::Client
    }
}

fn refused(refusal: Refusal) -> Verdict {
    match refusal {
        Refusal::Head(HeadDefect::TargetTooLong) => clients(414),
        Refusal::Head(HeadDefect::TooManyFields | HeadDefect::TooLarge) => clients(431),
        Refusal::Head(HeadDefect::Version) => clients(505),
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
        | Refusal::TraceContent => clients(400),
        Refusal::BodyTooLarge { .. } => clients(413),
        Refusal::Connect => Verdict {
            proxy_error: "http_request_denied",
            ..clients(501)
        },
    }
}

fn response_error_type(defect: ResponseDefect) -> &'static str {
    match defect {
        ResponseDefect::Head(HeadDefect::TooManyFields | HeadDefect::TooLarge) => {
            "http_response_header_section_size"
        }
        ResponseDefect::UnrequestedUpgrade => "http_upgrade_failed",
        ResponseDefect::Head(_)
        | ResponseDefect::Framing(_)
        | ResponseDefect::Chunks(_)
        | ResponseDefect::TooManyInterim => "http_protocol_error",
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
