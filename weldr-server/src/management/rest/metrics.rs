//! `/metrics`: the metrics of this node, for Prometheus.

use std::sync::Arc;

use axum::{extract::State, response::IntoResponse as _};
use http::{HeaderMap, Uri, header};

use crate::{
    management::operations::Operations,
    metrics::{Detail, Format},
};

use super::{RestResult, query};

/// `GET /metrics`: with `rules` and `servers` in the query also the series of each rule and of each server.
pub(super) async fn get(
    State(operations): State<Arc<Operations>>,
    uri: Uri,
    headers: HeaderMap,
) -> RestResult {
    let mut query = query::query(&uri)?;
    let detail = Detail {
        rules: query::flag(&mut query, "rules"),
        servers: query::flag(&mut query, "servers"),
    };
    let detail = query.finish().settle(Some(detail))?;
    let accept = headers.get(header::ACCEPT);
    let format = Format::accepted(accept.and_then(|accept| accept.to_str().ok()));
    let text = operations.metrics(detail, format).await?;
    Ok(([(header::CONTENT_TYPE, format.content_type())], text).into_response())
}
