//! `/acme` and `/certificates/{name}/renewal`. The bodies are the messages of the proto in JSON. No response has a key.

use std::sync::Arc;

use axum::{Extension, Json, body::Body, extract::State, response::IntoResponse as _};
use http::{HeaderMap, StatusCode, Uri};
use weldr_proto::v1;

use crate::management::{access::Caller, operations::Operations};

use super::{
    RestResult, body, caller,
    listeners::{Name, name, removed},
    of_message, of_revision, query,
};

/// `GET /acme`: the account.
pub(super) async fn get(State(operations): State<Arc<Operations>>, uri: Uri) -> RestResult {
    let stale = query::only_stale(&uri)?;
    let request = v1::GetAcmeAccountRequest { stale };
    let result = operations.get_acme_account(request).await;
    let result = result.map_err(of_message)?;
    let body = Json(result.account.unwrap_or_default());
    Ok(of_revision(result.revision, body.into_response()))
}

/// `PUT /acme`: sets the account.
pub(super) async fn set(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> RestResult {
    query::none(&uri)?;
    let request: v1::SetAcmeAccountRequest =
        body::message_of(&headers, body, body::MAX_WITH_AUTHORITIES).await?;
    let result = operations.set_acme_account(caller(known), request).await;
    let result = result.map_err(of_message)?;
    let body = Json(result.account.unwrap_or_default());
    Ok(of_revision(result.revision, body.into_response()))
}

/// `DELETE /acme`: refused while a certificate is obtained with the account.
pub(super) async fn remove(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    uri: Uri,
) -> RestResult {
    let mut query = query::query(&uri)?;
    let request = v1::DeleteAcmeAccountRequest {
        expected_revision: query::expected_revision(&mut query),
    };
    let request = query.finish().settle(Some(request))?;
    let deleted = operations.delete_acme_account(caller(known), request).await;
    let result = deleted.map_err(of_message)?;
    Ok(of_revision(result.revision, removed(result.revision)))
}

/// `POST /certificates/{name}/renewal`: 202, because the leader does it.
pub(super) async fn renew(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    path: Name,
    uri: Uri,
) -> RestResult {
    let name = name(path)?;
    let mut query = query::query(&uri)?;
    let request = v1::RenewCertificateRequest {
        name,
        expected_revision: query::expected_revision(&mut query),
    };
    let request = query.finish().settle(Some(request))?;
    let result = operations.renew_certificate(caller(known), request).await;
    let result = result.map_err(of_message)?;
    let body = Json(serde_json::json!({ "revision": result.revision }));
    let response = (StatusCode::ACCEPTED, body).into_response();
    Ok(of_revision(result.revision, response))
}
