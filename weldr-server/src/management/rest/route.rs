//! `/route`: what becomes of a request.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State, response::IntoResponse as _};
use http::{HeaderMap, Uri};
use weldr_proto::v1;

use crate::management::operations::Operations;

use super::{RestResult, body, of_message, of_revision, query};

/// `POST /route`: says which listener, rule and pool the request of the body would get. Nothing is sent.
pub(super) async fn explain(
    State(operations): State<Arc<Operations>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> RestResult {
    query::none(&uri)?;
    let request: v1::ExplainRouteRequest = body::message(&headers, body).await?;
    let result = operations.explain_route(&request).map_err(of_message)?;
    Ok(of_revision(result.revision, Json(result).into_response()))
}
