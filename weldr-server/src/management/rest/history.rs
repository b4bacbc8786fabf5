//! `/history`.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse as _};
use http::Uri;
use weldr_proto::{json, v1};

use crate::management::{error::Error, operations::Operations};

use super::{RestResult, in_json, of_revision, query};

/// `GET /history`: the last changes, the newest first. `limit` is the maximum number.
pub(super) async fn get(State(operations): State<Arc<Operations>>, uri: Uri) -> RestResult {
    let result = operations.get_history(request_of(&uri)?).await;
    let result = result.map_err(in_json)?;
    let revision = result.revision;
    let body = Json(json::History::from(&result));
    Ok(of_revision(revision, body.into_response()))
}

fn request_of(uri: &Uri) -> Result<v1::GetHistoryRequest, Error> {
    let mut query = query::query(uri)?;
    let limit = query.take("limit", "a whole number from 1 to 1000", |value| {
        let limit = value.as_str()?.parse().ok()?;
        (1..=1000).contains(&limit).then_some(limit)
    });
    let stale = query::stale(&mut query);
    let request = v1::GetHistoryRequest {
        // 0 is the default of the call.
        limit: limit.unwrap_or_default(),
        stale,
    };
    query.finish().settle(Some(request))
}
