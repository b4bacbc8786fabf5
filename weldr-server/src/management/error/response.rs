//! The response to a call that is refused, in gRPC and in HTTP: the one place that maps errors to codes.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::Error;
use crate::model::{Invalid, Rejection};

/// The word, the gRPC code and the HTTP status of an error.
type Codes = (&'static str, Code, StatusCode);

fn codes_of(rejection: &Rejection) -> Codes {
    use StatusCode as Http;
    match rejection {
        Rejection::NoSuchPool { .. }
        | Rejection::NoSuchServer { .. }
        | Rejection::NoSuchListener { .. }
        | Rejection::NoSuchRule { .. }
        | Rejection::NoSuchCertificate { .. }
        | Rejection::NoSuchRevision { .. }
        | Rejection::NoSuchPrincipal { .. } => ("not_found", Code::NotFound, Http::NOT_FOUND),
        Rejection::Exists { .. }
        | Rejection::Present { .. }
        | Rejection::PrincipalExists { .. } => {
            ("already_exists", Code::AlreadyExists, Http::CONFLICT)
        }
        Rejection::MissingPool { .. }
        | Rejection::InUse { .. }
        | Rejection::MissingCertificate { .. }
        | Rejection::CertificateInUse { .. }
        | Rejection::NoAcmeAccount
        | Rejection::AcmeAccountInUse { .. }
        | Rejection::NotByAcme { .. }
        | Rejection::WouldBeEmpty { .. }
        | Rejection::AddressTaken { .. }
        | Rejection::Permanent { .. } => (
            "failed_precondition",
            Code::FailedPrecondition,
            Http::CONFLICT,
        ),
        Rejection::Changed { .. } => ("aborted", Code::Aborted, Http::CONFLICT),
        Rejection::Invalid { .. } => ("invalid_argument", Code::InvalidArgument, Http::BAD_REQUEST),
        Rejection::PoolFull { .. }
        | Rejection::Full { .. }
        | Rejection::TooManyPrincipals { .. } => (
            "resource_exhausted",
            Code::ResourceExhausted,
            Http::INSUFFICIENT_STORAGE,
        ),
    }
}

impl Error {
    /// The word, the gRPC code and the HTTP status of each error.
    fn codes(&self) -> Codes {
        use StatusCode as Http;
        match self {
            Self::Invalid(_) | Self::Json(_) | Self::BrokenBody => {
                ("invalid_argument", Code::InvalidArgument, Http::BAD_REQUEST)
            }
            Self::Rejected(rejection) => codes_of(rejection),
            Self::NotDurable(_)
            | Self::NoQuorum { .. }
            | Self::ClusterUnavailable(_)
            | Self::NoToken(_)
            | Self::Secrets(_)
            | Self::NoKey(_)
            | Self::Stopping => ("unavailable", Code::Unavailable, Http::SERVICE_UNAVAILABLE),
            Self::NoSuchNode(_) => ("not_found", Code::NotFound, Http::NOT_FOUND),
            Self::ClusterRefused(_) | Self::Outdated(_) => (
                "failed_precondition",
                Code::FailedPrecondition,
                Http::CONFLICT,
            ),
            Self::Unknown { .. } => (
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
            Self::TooManyStreams { .. } | Self::SlowReader { .. } | Self::TooManyAttempts => (
                "resource_exhausted",
                Code::ResourceExhausted,
                Http::TOO_MANY_REQUESTS,
            ),
            Self::NotInHistory(_) => ("out_of_range", Code::OutOfRange, Http::GONE),
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
            Self::Unauthenticated(_) | Self::Revoked { .. } | Self::Expired { .. } => {
                ("unauthenticated", Code::Unauthenticated, Http::UNAUTHORIZED)
            }
            Self::ForeignOrigin { .. }
            | Self::Proxied
            | Self::CrossSite
            | Self::RoleMissing { .. }
            | Self::PoolNotAllowed { .. } => {
                ("permission_denied", Code::PermissionDenied, Http::FORBIDDEN)
            }
            Self::ForeignHost { .. } => (
                "permission_denied",
                Code::PermissionDenied,
                Http::MISDIRECTED_REQUEST,
            ),
        }
    }

    /// The values that are not accepted, if that is the reason.
    fn violations(&self) -> &[Invalid] {
        match self {
            Self::Invalid(violations) => violations,
            _ => &[],
        }
    }

    /// The response to a request with these headers: gRPC if the request is gRPC, and JSON otherwise.
    pub(in crate::management) fn into_response_to(self, request: &HeaderMap) -> Response {
        if speaks_grpc(request) {
            return Status::from(self).into_http();
        }
        self.into_response()
    }
}

/// Whether a request with these headers is gRPC.
pub(in crate::management) fn speaks_grpc(request: &HeaderMap) -> bool {
    request
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
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

/// `{"error":{"code":…,"message":…,"violations":[{"field":…,"value":…,"accepted":…}]}}`.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (code, _, status) = self.codes();
        let violations = self.violations().iter();
        let body = ErrorBody {
            error: ErrorObject {
                code,
                message: self.to_string(),
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
        // The rest of a body that was refused must not be read as the next request.
        if matches!(self, Self::TooLarge { .. } | Self::TooSlow) {
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

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        cluster::ProposeError,
        model::{PoolName, Revision},
    };

    fn json_of(error: Error) -> (u16, Value) {
        let response = error.into_response();
        let status = response.status().as_u16();
        let body = futures_util::FutureExt::now_or_never(response.into_body().collect());
        let bytes = body.unwrap().unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[test]
    fn each_rejection_has_its_codes_on_either_side() {
        let pool = PoolName::default;
        let address = ([127, 0, 0, 1], 80).into();
        let missing = Rejection::NoSuchServer {
            pool: pool(),
            address,
        };
        let exists = Rejection::Exists {
            address,
            differences: vec![],
        };
        let changed = Rejection::Changed {
            object: "x".into(),
            expected: Revision(1),
            actual: Revision(2),
        };
        let full = Rejection::PoolFull {
            pool: pool(),
            limit: 1,
        };
        for (rejection, code, status, word) in [
            (
                Rejection::NoSuchPool { pool: pool() },
                Code::NotFound,
                404,
                "not_found",
            ),
            (missing, Code::NotFound, 404, "not_found"),
            (exists, Code::AlreadyExists, 409, "already_exists"),
            (changed, Code::Aborted, 409, "aborted"),
            (full, Code::ResourceExhausted, 507, "resource_exhausted"),
        ] {
            let error = || Error::from(ProposeError::Rejected(rejection.clone()));
            assert_eq!(Status::from(error()).code(), code);
            let (told, body) = json_of(error());
            assert_eq!((told, &body["error"]["code"]), (status, &json!(word)));
        }
    }

    #[test]
    fn a_change_that_did_not_go_through_says_whether_to_repeat_it() {
        type Make = fn() -> ProposeError;
        let cases: [(Make, Code, u16, &str); 3] = [
            (
                || ProposeError::NoQuorum {
                    missing: vec!["b (127.0.0.1:8698)".to_owned()],
                },
                Code::Unavailable,
                503,
                "no response from b (127.0.0.1:8698)); nothing changed",
            ),
            (
                || ProposeError::ShuttingDown,
                Code::Unavailable,
                503,
                "shutting down",
            ),
            (
                || ProposeError::Unknown { missing: vec![] },
                Code::DeadlineExceeded,
                504,
                "repeating it is safe",
            ),
        ];
        for (error, code, status, words) in cases {
            assert_eq!(Status::from(Error::from(error())).code(), code);
            let (told, body) = json_of(error().into());
            assert_eq!(told, status);
            assert!(body.to_string().contains(words), "{body}");
        }
        let disk = || ProposeError::NotDurable(Arc::new(io::Error::other("sector 7 is gone")));
        assert_eq!(Status::from(Error::from(disk())).code(), Code::Unavailable);
        let (status, body) = json_of(disk().into());
        assert_eq!(status, 503);
        assert!(
            !body.to_string().contains("sector"),
            "causes are for the log: {body}"
        );
    }

    #[test]
    fn violations_are_told_to_programs_and_to_people() {
        let error = || {
            Error::Invalid(vec![
                Invalid::new("address", "x", "`ip:port`"),
                Invalid::new("check.interval", "0s", "more"),
            ])
        };
        let status = Status::from(error());
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_details_bad_request().unwrap();
        let violation = &details.field_violations[1];
        assert_eq!(violation.field, "check.interval");
        assert_eq!(violation.description, r#""0s" is not accepted: more"#);

        let (status, body) = json_of(error());
        assert_eq!(status, 400);
        let message = r#"address: "x" is not accepted: `ip:port`; check.interval: "0s" is not accepted: more"#;
        assert_eq!(
            body,
            json!({"error": {
                "code": "invalid_argument",
                "message": message,
                "violations": [
                    {"field": "address", "value": "x", "accepted": "`ip:port`"},
                    {"field": "check.interval", "value": "0s", "accepted": "more"},
                ],
            }})
        );
    }

    #[test]
    fn a_grpc_client_gets_a_grpc_error() {
        let asks = |content_type: &str| {
            let value = content_type.parse().unwrap();
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value)]);
            let path = "/x".to_owned();
            Error::NoSuchPath { path }.into_response_to(&headers)
        };
        let grpc = asks("application/grpc+proto");
        assert_eq!(grpc.status(), 200);
        assert_eq!(grpc.headers()["grpc-status"], "12");
        assert_eq!(asks("application/json").status(), 404);
    }
}
