//! A call that weldr refused.

use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

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

impl Refusal {
    /// Weldr's message, and the refused fields that it does not contain.
    pub(super) fn sentence(&self) -> String {
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

/// The fields that were refused and why.
pub(super) fn violations(status: &Status) -> Vec<(String, String)> {
    status
        .get_details_bad_request()
        .map(|details| details.field_violations)
        .unwrap_or_default()
        .into_iter()
        .map(|violation| (violation.field, violation.description))
        .collect()
}

/// The name of a code as in the documentation of the API.
fn code_name(code: Code) -> &'static str {
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
