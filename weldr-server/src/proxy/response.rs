//! What a client is told when no server answered it.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};

use crate::snapshot::Unavailable;

use super::{error::ProxyError, headers};

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// The answer to a request that failed with `error`: its status, `Proxy-Status` (RFC 9209), and a sentence.
///
/// What the client reads says what happened and not where: addresses of servers stay in the log.
pub(super) fn explain(error: &ProxyError) -> Response<Bytes> {
    let verdict = error.verdict();
    let mut response = Response::new(Bytes::from(text(error, verdict.status)));
    *response.status_mut() = verdict.status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let proxy_status = format!("weldr; error={}", verdict.proxy_error);
    if let Ok(value) = HeaderValue::try_from(proxy_status) {
        headers.insert(PROXY_STATUS, value);
    }
    if error.is_clients_fault() {
        // What follows on the connection may not be what the client believes it is.
        headers::close_after(headers);
    }
    response
}

fn text(error: &ProxyError, status: StatusCode) -> String {
    let sentence = match error {
        ProxyError::Refused(refusal) => refusal.to_string(),
        ProxyError::NoServer(Unavailable::Empty) => "the pool has no server. Add one:\n\n  \
             weldrctl add IP:PORT\n  curl localhost:8687/servers -d '{\"ip\":\"IP\", \"port\":\"PORT\"}'"
            .to_owned(),
        ProxyError::NoServer(unavailable) => format!("{unavailable}. See: weldrctl list"),
        ProxyError::ServerFull { .. } => "the servers have as many connections as they may have".to_owned(),
        ProxyError::Connect { .. } => "no connection to a server".to_owned(),
        ProxyError::ConnectTimeout { .. } => "connecting to a server took too long".to_owned(),
        ProxyError::ResponseTimeout { .. } => "the server did not answer in time".to_owned(),
        ProxyError::UploadTimeout { .. } => "the server stopped taking the request".to_owned(),
        ProxyError::Closed { .. } => "the server closed the connection before it answered".to_owned(),
        ProxyError::InvalidAnswer { .. } => "the answer of the server is not valid HTTP".to_owned(),
        ProxyError::Removed { .. } => "the server was removed while the request ran".to_owned(),
        ProxyError::BodyTimeout | ProxyError::BodyBroken => error.to_string(),
    };
    let reason = status.canonical_reason().unwrap_or_default();
    format!("{} {reason}: {sentence}\n", status.as_u16())
}
