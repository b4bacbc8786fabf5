//! `/configuration`: the state as one document.

use std::sync::Arc;

use axum::{Extension, Json, body::Body, extract::State, response::IntoResponse as _};
use http::{HeaderMap, Uri};
use weldr_proto::v1;

use crate::management::{access::Caller, operations::Operations};

use super::{RestResult, body, caller, of_message, of_revision, query};

/// `GET /configuration`.
pub(super) async fn get(State(operations): State<Arc<Operations>>, uri: Uri) -> RestResult {
    let stale = query::only_stale(&uri)?;
    let result = operations.export(v1::ExportRequest { stale }).await;
    let result = result.map_err(of_message)?;
    let body = Json(result.configuration.unwrap_or_default());
    Ok(of_revision(result.revision, body.into_response()))
}

/// `PUT /configuration`: applies a document as one change. In the query: `prune`, `force`, `dry_run` and
/// `expected_revision`.
pub(super) async fn put(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> RestResult {
    let mut query = query::query(&uri)?;
    let request = v1::ApplyRequest {
        configuration: None,
        prune: query::flag(&mut query, "prune"),
        force: query::flag(&mut query, "force"),
        dry_run: query::flag(&mut query, "dry_run"),
        expected_revision: query::expected_revision(&mut query),
    };
    let request = query.finish().settle(Some(request))?;
    let configuration =
        body::message_of(&headers, body, Operations::MAX_CONFIGURATION_BYTES).await?;
    let request = v1::ApplyRequest {
        configuration: Some(configuration),
        ..request
    };
    let applied = operations.apply(caller(known), request).await;
    let result = applied.map_err(of_message)?;
    Ok(of_revision(result.revision, Json(result).into_response()))
}
