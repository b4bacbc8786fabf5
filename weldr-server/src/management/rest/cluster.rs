//! `/cluster`.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse as _};
use http::Uri;
use weldr_proto::json;

use crate::management::operations::Operations;

use super::{RestResult, of_revision, query};

/// `GET /cluster`: every node, and whether there is a quorum.
pub(super) async fn get(State(operations): State<Arc<Operations>>, uri: Uri) -> RestResult {
    query::none(&uri)?;
    let result = operations.get_cluster().await?;
    let revision = result.revision;
    let body = Json(json::Cluster::from(&result));
    Ok(of_revision(revision, body.into_response()))
}
