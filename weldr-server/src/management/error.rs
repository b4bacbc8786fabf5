//! Why a call is refused, and how that is told: the one place that maps errors to gRPC and to HTTP.
//!
//! The client reads [`Error`]'s own level, in words that help who called. The causes below it (a disk that
//! failed) are for the log of this node.

use std::{fmt, sync::Arc};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::{
    cluster::ProposeError,
    model::{Invalid, PoolName, Rejection},
};

use super::rest::json_key;

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Values that are not accepted; at least one.
    #[error("{}", Sentences(.0))]
    Invalid(Vec<Invalid>),
    /// The change does not fit the state.
    #[error("{}", Refused(.0))]
    Rejected(Rejection),
    /// The change could not be written to disk.
    #[error("the change could not be written to disk; nothing changed")]
    NotDurable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// No answer within the time that the call has.
    #[error("the call ran out of time: the change may or may not be made; repeating it is safe")]
    Unknown,
    /// A change was made, and another call undid it before it could be shown.
    #[error("the change was made, and undone by another call at once")]
    Overtaken,
    /// The node stops.
    #[error("the node is shutting down")]
    Stopping,
    /// The whole of a REST request took too long.
    #[error("the request took too long")]
    TooSlow,
    /// The body is not JSON.
    #[error("the body is not valid JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// The body ended early.
    #[error("the body could not be read to its end")]
    BrokenBody,
    /// The body is too long.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// What is accepted.
        limit: usize,
    },
    /// No such path.
    #[error("there is nothing at {path}; GET / lists what there is")]
    NoSuchPath {
        /// What was asked for.
        path: String,
    },
    /// The path is there, the method is not.
    #[error("{method} is not possible here; the Allow header lists what is")]
    WrongMethod {
        /// What was asked for.
        method: http::Method,
    },
    /// A page of another site asks, through the operator's browser.
    #[error("requests of web pages from {origin} are not accepted")]
    ForeignOrigin {
        /// Its `Origin`.
        origin: String,
    },
    /// A name that may have been rebound to this address.
    #[error(
        "requests for host {host} are not accepted on a loopback address; \
         accepted: an IP address or localhost"
    )]
    ForeignHost {
        /// Its `Host`.
        host: String,
    },
}

impl Error {
    /// The word, the gRPC code and the HTTP status of each error.
    fn codes(&self) -> (&'static str, Code, StatusCode) {
        use StatusCode as Http;
        match self {
            Self::Invalid(_) | Self::Json(_) | Self::BrokenBody => {
                ("invalid_argument", Code::InvalidArgument, Http::BAD_REQUEST)
            }
            Self::Rejected(rejection) => match rejection {
                Rejection::NoSuchPool { .. } | Rejection::NoSuchServer { .. } => {
                    ("not_found", Code::NotFound, Http::NOT_FOUND)
                }
                Rejection::Exists { .. } => ("already_exists", Code::AlreadyExists, Http::CONFLICT),
                Rejection::Changed { .. } => ("aborted", Code::Aborted, Http::CONFLICT),
                Rejection::PoolFull { .. } => (
                    "resource_exhausted",
                    Code::ResourceExhausted,
                    Http::INSUFFICIENT_STORAGE,
                ),
            },
            Self::NotDurable(_) | Self::Stopping => {
                ("unavailable", Code::Unavailable, Http::SERVICE_UNAVAILABLE)
            }
            Self::Unknown => (
                "deadline_exceeded",
                Code::DeadlineExceeded,
                Http::GATEWAY_TIMEOUT,
            ),
            Self::Overtaken => ("aborted", Code::Aborted, Http::CONFLICT),
            Self::TooSlow => (
                "deadline_exceeded",
                Code::DeadlineExceeded,
                Http::REQUEST_TIMEOUT,
            ),
            Self::TooLarge { .. } => (
                "too_large",
                Code::ResourceExhausted,
                Http::PAYLOAD_TOO_LARGE,
            ),
            Self::NoSuchPath { .. } => ("not_found", Code::Unimplemented, Http::NOT_FOUND),
            Self::WrongMethod { .. } => (
                "method_not_allowed",
                Code::Unimplemented,
                Http::METHOD_NOT_ALLOWED,
            ),
            Self::ForeignOrigin { .. } => {
                ("permission_denied", Code::PermissionDenied, Http::FORBIDDEN)
            }
            Self::ForeignHost { .. } => (
                "permission_denied",
                Code::PermissionDenied,
                Http::MISDIRECTED_REQUEST,
            ),
        }
    }

    /// What is wrong with the input, when that is the reason.
    fn violations(&self) -> &[Invalid] {
        match self {
            Self::Invalid(violations) => violations,
            _ => &[],
        }
    }

    /// The answer to a request with these headers: gRPC to who speaks gRPC, JSON to everybody else.
    pub(super) fn answer(self, request: &HeaderMap) -> Response {
        if speaks_grpc(request) {
            return Status::from(self).into_http();
        }
        self.into_response()
    }
}

/// Whether a request with these headers is gRPC.
pub(super) fn speaks_grpc(request: &HeaderMap) -> bool {
    request
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<ProposeError> for Error {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Rejected(rejection) => Self::Rejected(rejection),
            ProposeError::NotDurable(cause) => Self::NotDurable(cause),
            ProposeError::Unknown => Self::Unknown,
            ProposeError::ShuttingDown => Self::Stopping,
        }
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(vec![invalid])
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let (_, code, _) = error.codes();
        let violations: Vec<FieldViolation> = error
            .violations()
            .iter()
            .map(
                |Invalid {
                     field,
                     value,
                     accepted,
                 }| {
                    FieldViolation::new(field, format!("{value:?} is not accepted: {accepted}"))
                },
            )
            .collect();
        if violations.is_empty() {
            return Self::new(code, error.to_string());
        }
        let details = ErrorDetails::with_bad_request(violations);
        Self::with_error_details(code, error.to_string(), details)
    }
}

/// `{"error":{"code":…,"message":…,"violations":[{"field":…,"value":…,"accepted":…}]}}`, with the fields
/// under the names that JSON has for them.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let error = match self {
            Self::Invalid(violations) => Self::Invalid(
                violations
                    .into_iter()
                    .map(|invalid| {
                        let key = json_key(&invalid.field);
                        invalid.named(key)
                    })
                    .collect(),
            ),
            other => other,
        };
        let (code, _, status) = error.codes();
        let violations = error.violations().iter();
        let body = ErrorBody {
            error: ErrorObject {
                code,
                message: error.to_string(),
                violations: violations
                    .map(
                        |Invalid {
                             field,
                             value,
                             accepted,
                         }| Violation {
                            field,
                            value,
                            accepted,
                        },
                    )
                    .collect(),
            },
        };
        let mut response = (status, Json(body)).into_response();
        // What is left of a body that was refused must not be read as the next request.
        if matches!(error, Error::TooLarge { .. } | Error::TooSlow) {
            let close = http::HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<Violation<'a>>,
}

#[derive(Serialize)]
struct Violation<'a> {
    field: &'a str,
    value: &'a str,
    accepted: &'a str,
}

struct Sentences<'a>(&'a [Invalid]);

impl fmt::Display for Sentences<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, invalid) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{invalid}")?;
        }
        Ok(())
    }
}

struct Refused<'a>(&'a Rejection);

impl fmt::Display for Refused<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        match self.0 {
            Rejection::NoSuchPool { .. } => {
                write!(
                    f,
                    "; the pool that always exists is {}",
                    PoolName::default()
                )
            }
            Rejection::NoSuchServer { .. }
            | Rejection::Exists { .. }
            | Rejection::Changed { .. }
            | Rejection::PoolFull { .. } => Ok(()),
        }
    }
}
