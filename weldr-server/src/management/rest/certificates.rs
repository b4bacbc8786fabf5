//! `/certificates`, `/certificates/{name}` and `/tls-policies`. The bodies are the messages of the proto in JSON. No response
//! has a private key.

use std::sync::Arc;

use axum::{Extension, Json, body::Body, extract::State, response::IntoResponse as _};
use http::{HeaderMap, Uri, header};
use serde::Serialize;
use weldr_proto::v1;

use crate::management::{access::Caller, operations::Operations};

use super::{
    RestResult, body, caller, expect_as_in_path,
    listeners::{Name, name, removed, status_of},
    of_message, of_revision, query,
};

/// The maximum size of a body with a certificate and its key, in bytes: the longest chain is smaller in PEM.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// A certificate that was written.
#[derive(Serialize)]
struct Written {
    #[serde(flatten)]
    certificate: v1::Certificate,
    warnings: Vec<String>,
}

/// `GET /certificates`: an array, ordered by name.
pub(super) async fn list(State(operations): State<Arc<Operations>>, uri: Uri) -> RestResult {
    let stale = query::only_stale(&uri)?;
    let request = v1::ListCertificatesRequest { stale };
    let result = operations.list_certificates(request).await;
    let result = result.map_err(of_message)?;
    let body = Json(result.certificates);
    Ok(of_revision(result.revision, body.into_response()))
}

/// `POST /certificates`: 201 with the certificate, or 200 if it was already there.
pub(super) async fn add(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> RestResult {
    query::none(&uri)?;
    let request: v1::CreateCertificateRequest =
        body::message_of(&headers, body, MAX_BODY_BYTES).await?;
    let created = operations.create_certificate(caller(known), request).await;
    let result = created.map_err(of_message)?;
    let certificate = result.certificate.unwrap_or_default();
    let location = [(
        header::LOCATION,
        format!("/certificates/{}", certificate.name),
    )];
    let body = Json(Written {
        certificate,
        warnings: result.warnings,
    });
    let response = (status_of(result.created), location, body).into_response();
    Ok(of_revision(result.revision, response))
}

/// `GET /certificates/{name}`: with its chain.
pub(super) async fn get(
    State(operations): State<Arc<Operations>>,
    path: Name,
    uri: Uri,
) -> RestResult {
    let name = name(path)?;
    let stale = query::only_stale(&uri)?;
    let request = v1::GetCertificateRequest { name, stale };
    let result = operations.get_certificate(request).await;
    let result = result.map_err(of_message)?;
    let body = Json(result.certificate.unwrap_or_default());
    Ok(of_revision(result.revision, body.into_response()))
}

/// `PUT /certificates/{name}`: replaces the chain and the private key.
pub(super) async fn update(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    path: Name,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> RestResult {
    query::none(&uri)?;
    let name = name(path)?;
    let request: v1::UpdateCertificateRequest =
        body::message_of(&headers, body, MAX_BODY_BYTES).await?;
    expect_as_in_path("name", &request.name, &name)?;
    let request = v1::UpdateCertificateRequest { name, ..request };
    let updated = operations.update_certificate(caller(known), request).await;
    let result = updated.map_err(of_message)?;
    let body = Json(Written {
        certificate: result.certificate.unwrap_or_default(),
        warnings: result.warnings,
    });
    Ok(of_revision(result.revision, body.into_response()))
}

/// `DELETE /certificates/{name}`: refused while a listener or a pool names it.
pub(super) async fn remove(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    path: Name,
    uri: Uri,
) -> RestResult {
    let name = name(path)?;
    let mut query = query::query(&uri)?;
    let request = v1::DeleteCertificateRequest {
        name,
        expected_revision: query::expected_revision(&mut query),
    };
    let request = query.finish().settle(Some(request))?;
    let deleted = operations.delete_certificate(caller(known), request).await;
    let result = deleted.map_err(of_message)?;
    Ok(of_revision(result.revision, removed(result.revision)))
}

/// `GET /tls-policies`: what each contains.
pub(super) async fn tls_policies(
    State(operations): State<Arc<Operations>>,
    uri: Uri,
) -> RestResult {
    query::none(&uri)?;
    let result = operations.list_tls_policies();
    Ok(of_revision(
        result.revision,
        Json(result.policies).into_response(),
    ))
}
