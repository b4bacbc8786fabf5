//! `/stats` and `/stats/detail`.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse as _};
use http::Uri;
use weldr_proto::{json, v1};

use crate::management::{error::Error, operations::Operations};

use super::{RestResult, in_json, of_revision, query};

/// `GET /stats`: the numbers of successes and failures, and nothing else.
pub(super) async fn summary(State(operations): State<Arc<Operations>>, uri: Uri) -> RestResult {
    let (revision, stats) = read(&operations, &uri)?;
    let body = Json(json::Totals::from(&stats));
    Ok(of_revision(revision, body.into_response()))
}

/// `GET /stats/detail`: an array with one object per server, ordered by address.
pub(super) async fn detail(State(operations): State<Arc<Operations>>, uri: Uri) -> RestResult {
    let (revision, stats) = read(&operations, &uri)?;
    let servers: Vec<json::ServerStats> = stats.servers.iter().map(Into::into).collect();
    Ok(of_revision(revision, Json(servers).into_response()))
}

fn read(operations: &Operations, uri: &Uri) -> Result<(u64, v1::Stats), Error> {
    let request = v1::GetStatsRequest {
        pool: query::pool(uri)?,
    };
    let result = operations.get_stats(&request).map_err(in_json)?;
    Ok((result.revision, result.stats.unwrap_or_default()))
}
