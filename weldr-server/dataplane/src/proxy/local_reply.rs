//! Responses that Weldr makes itself: for a failure, or for a request to the proxy itself. Pure.
//!
//! A reply is made here as a value; the protocol of the client writes it.

use std::borrow::Cow;

use http::StatusCode;

use crate::{model::FixedResponse, snapshot::Unavailable, stats::LocalReplyReason};

use super::{
    error::ProxyError, failure_log::with_causes, headers::ProxyRequest, message::RequestFacts,
};

/// A response that Weldr makes itself. The fields of its framing and of its connection are not part of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LocalReply {
    pub(super) status: u16,
    pub(super) reason: LocalReplyReason,
    /// Names and values, in their order.
    pub(super) fields: Vec<(&'static str, Cow<'static, str>)>,
    pub(super) body: Vec<u8>,
}

impl LocalReply {
    /// The reply to a request that failed with `error`: its status, `Proxy-Status` (RFC 9209), and a sentence.
    ///
    /// The sentence describes the failure without addresses of servers, which only the log contains. `how_to_add`: the commands
    /// that add a server, for an empty pool.
    pub(super) fn to_failure(error: &ProxyError, request: RequestFacts, how_to_add: &str) -> Self {
        let verdict = error.verdict();
        let (sentence, hint) = (sentence(error), hint(error, how_to_add));
        let (kind, body) = if request.prefers_json {
            let body = serde_json::json!({
                "status": verdict.status,
                "error": verdict.reason.proxy_error(),
                "message": format!("{sentence}{hint}"),
            });
            ("application/json", format!("{body}\n"))
        } else {
            let (status, reason) = (verdict.status, reason_phrase(verdict.status));
            let body = format!("{status} {reason}: {sentence}{hint}\n");
            ("text/plain; charset=utf-8", body)
        };
        let proxy_status = format!(
            "weldr; error={}; details=\"{}\"",
            verdict.reason.proxy_error(),
            detail(&sentence)
        );
        Self {
            status: verdict.status,
            reason: LocalReplyReason::Failure(verdict.reason),
            fields: vec![
                ("Proxy-Status", Cow::Owned(proxy_status)),
                ("Content-Type", Cow::Borrowed(kind)),
                ("Cache-Control", Cow::Borrowed("no-store")),
            ],
            body: body.into_bytes(),
        }
    }

    /// The reply of a route that redirects to `location`, which is a valid value of a field.
    pub(super) fn redirect(status: u16, location: &[u8]) -> Self {
        let location = String::from_utf8_lossy(location).into_owned();
        Self {
            status,
            reason: LocalReplyReason::Redirect,
            fields: vec![("Location", Cow::Owned(location))],
            body: Vec::new(),
        }
    }

    /// The reply that a route says.
    pub(super) fn fixed(response: &FixedResponse) -> Self {
        let kind = Cow::Owned(response.content_type.clone());
        let has_type = !response.content_type.is_empty();
        Self {
            status: response.status,
            reason: LocalReplyReason::FixedResponse,
            fields: has_type
                .then_some(("Content-Type", kind))
                .into_iter()
                .collect(),
            body: response.body.clone().into_bytes(),
        }
    }

    /// Whether a response with this status has a body, if the method allows it.
    pub(super) fn may_have_body(&self) -> bool {
        !matches!(self.status, 204 | 304)
    }

    /// The reply to a request for the proxy itself.
    pub(super) fn to_proxy_request(request: ProxyRequest) -> Self {
        let (field, body) = match request {
            ProxyRequest::Options => {
                let methods = "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, TRACE";
                (("Allow", Cow::Borrowed(methods)), Vec::new())
            }
            ProxyRequest::Trace(seen) => (("Content-Type", Cow::Borrowed("message/http")), seen),
        };
        Self {
            status: 200,
            reason: LocalReplyReason::ProxyRequest,
            fields: vec![field],
            body,
        }
    }
}

/// The reason phrase of a status, empty where the registry has none.
pub(super) fn reason_phrase(status: u16) -> &'static str {
    StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default()
}

/// The characters of `sentence` that a string of RFC 8941 may have without escapes.
fn detail(sentence: &str) -> String {
    sentence
        .chars()
        .filter(|c| c.is_ascii() && !c.is_ascii_control() && !matches!(c, '"' | '\\'))
        .collect()
}

/// Advice for the reader of the reply.
fn hint(error: &ProxyError, how_to_add: &str) -> String {
    match error {
        ProxyError::NoServer(Unavailable::Empty) => {
            format!(". Add one:\n\n{}", how_to_add.trim_end())
        }
        ProxyError::NoServer(
            Unavailable::NoneReady | Unavailable::NoneHealthy | Unavailable::NoPool,
        ) => ". See: weldrctl list".to_owned(),
        _ => String::new(),
    }
}

fn sentence(error: &ProxyError) -> String {
    match error {
        ProxyError::Refused(refusal) => with_causes(refusal),
        ProxyError::NoServer(unavailable) => unavailable.to_string(),
        ProxyError::ServerFull { .. } | ProxyError::ServersFull { .. } => {
            "the servers have as many requests or connections as they may have".to_owned()
        }
        ProxyError::Connect { .. } => "no connection to a server".to_owned(),
        ProxyError::ConnectTimeout { .. } => "connecting to a server took too long".to_owned(),
        ProxyError::ResponseTimeout { .. } => "the server did not respond in time".to_owned(),
        ProxyError::UploadTimeout { .. } => "the server stopped taking the request".to_owned(),
        ProxyError::Closed { .. } => {
            "the server closed the connection before it responded".to_owned()
        }
        ProxyError::InvalidResponse { source, .. } => {
            format!(
                "the response of the server is not valid HTTP: {}",
                with_causes(source)
            )
        }
        ProxyError::Truncated { .. } => {
            "the server closed the connection in the middle of its response".to_owned()
        }
        ProxyError::StreamTimeout { .. } => "the server stopped sending its response".to_owned(),
        ProxyError::Removed { .. } => "the server was removed while the request ran".to_owned(),
        ProxyError::HeadTimeout
        | ProxyError::BodyTimeout
        | ProxyError::BodyBroken
        | ProxyError::ClientGone
        | ProxyError::ClientStalled => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field<'r>(reply: &'r LocalReply, name: &str) -> &'r str {
        let mut fields = reply.fields.iter();
        fields
            .find(|(n, _)| *n == name)
            .map_or("", |(_, value)| value)
    }

    #[test]
    fn a_failure_has_its_status_its_type_and_a_sentence() {
        let error = ProxyError::NoServer(Unavailable::Empty);
        let reply = LocalReply::to_failure(&error, RequestFacts::default(), "  like this\n");
        assert_eq!(reply.status, 503);
        assert_eq!(
            field(&reply, "Proxy-Status"),
            "weldr; error=destination_unavailable; details=\"the pool has no server\""
        );
        let body = String::from_utf8(reply.body).unwrap();
        assert!(body.ends_with("Add one:\n\n  like this\n"), "{body}");
    }

    #[test]
    fn a_failure_is_json_for_a_client_that_prefers_it() {
        let request = RequestFacts {
            prefers_json: true,
            ..RequestFacts::default()
        };
        let reply = LocalReply::to_failure(&ProxyError::HeadTimeout, request, "");
        assert_eq!(field(&reply, "Content-Type"), "application/json");
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(body["status"], 408);
    }
}
