//! `/stats` and the paths below it, `/listeners/{name}/stats` and `/pools/{name}/stats`.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse as _};
use http::Uri;
use weldr_proto::{json, v1};

use crate::management::{error::Error, operations::Operations};

use super::{
    RestResult, in_json,
    listeners::{Name, name},
    of_message, of_revision, query,
};

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

/// `GET /stats/objects`: the statistics of all listeners, rules and pools.
pub(super) async fn objects(State(operations): State<Arc<Operations>>, uri: Uri) -> RestResult {
    query::none(&uri)?;
    let request = v1::GetObjectStatsRequest::default();
    let stats = operations.get_object_stats(&request).map_err(of_message)?;
    Ok(of_revision(stats.revision, Json(stats).into_response()))
}

/// `GET /listeners/{name}/stats`: the statistics of a listener and its rules.
pub(super) async fn of_listener(
    State(operations): State<Arc<Operations>>,
    path: Name,
    uri: Uri,
) -> RestResult {
    query::none(&uri)?;
    let request = v1::GetObjectStatsRequest {
        listener: name(path)?,
        ..v1::GetObjectStatsRequest::default()
    };
    let stats = operations.get_object_stats(&request).map_err(of_message)?;
    let listener = Json(stats.listeners.into_iter().next());
    Ok(of_revision(stats.revision, listener.into_response()))
}

/// `GET /pools/{name}/stats`: the statistics of a pool.
pub(super) async fn of_pool(
    State(operations): State<Arc<Operations>>,
    path: Name,
    uri: Uri,
) -> RestResult {
    query::none(&uri)?;
    let request = v1::GetObjectStatsRequest {
        pool: name(path)?,
        ..v1::GetObjectStatsRequest::default()
    };
    let stats = operations.get_object_stats(&request).map_err(of_message)?;
    let pool = Json(stats.pools.into_iter().next());
    Ok(of_revision(stats.revision, pool.into_response()))
}

fn read(operations: &Operations, uri: &Uri) -> Result<(u64, v1::Stats), Error> {
    let request = v1::GetStatsRequest {
        pool: query::pool(uri)?,
    };
    let result = operations.get_stats(&request).map_err(in_json)?;
    Ok((result.revision, result.stats.unwrap_or_default()))
}
