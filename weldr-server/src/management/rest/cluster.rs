//! `/cluster` and `/cluster/nodes/{name}`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State, rejection::PathRejection},
    response::IntoResponse as _,
};
use http::Uri;
use weldr_proto::{json, v1};

use crate::{
    management::{access::Caller, operations::Operations},
    model::Invalid,
};

use super::{RestResult, caller, in_json, of_revision, query};

/// `GET /cluster`: every node, and whether there is a quorum.
pub(super) async fn get(State(operations): State<Arc<Operations>>, uri: Uri) -> RestResult {
    query::none(&uri)?;
    let result = operations.get_cluster().await?;
    let revision = result.revision;
    let body = Json(json::Cluster::from(&result));
    Ok(of_revision(revision, body.into_response()))
}

/// `DELETE /cluster/nodes/{name}`: removes a node, with the query `force` also if that leaves no quorum.
pub(super) async fn remove_node(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> RestResult {
    let Ok(Path(name)) = name else {
        return Err(Invalid::new("path", "not UTF-8", "/cluster/nodes/{name}").into());
    };
    let mut query = query::query(&uri)?;
    let force = query::switch(&mut query, "force").unwrap_or(false);
    let request = v1::RemoveNodeRequest { name, force };
    let request = query.finish().settle(Some(request))?;
    let result = operations
        .remove_node(caller(known), request)
        .await
        .map_err(in_json)?;
    let body = Json(serde_json::json!({"removed": true}));
    Ok(of_revision(result.revision, body.into_response()))
}
