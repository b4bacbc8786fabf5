//! `/pools` and `/pools/{name}`.

use std::sync::Arc;

use axum::{Extension, Json, body::Body, extract::State, response::IntoResponse as _};
use http::{HeaderMap, Uri, header};
use serde_json::Value;
use weldr_proto::{json, v1};

use crate::{
    management::{access::Caller, operations::Operations},
    model::Invalid,
};

use super::{
    RestResult, body, caller, expect_as_in_path, in_json,
    json::shown,
    listeners::{Name, name, removed, status_of},
    of_revision, pool, query,
};

/// `GET /pools`: an array, ordered by name.
pub(super) async fn list(State(operations): State<Arc<Operations>>, uri: Uri) -> RestResult {
    let stale = query::only_stale(&uri)?;
    let result = operations.list_pools(v1::ListPoolsRequest { stale }).await;
    let result = result.map_err(in_json)?;
    let pools: Vec<json::Pool> = result.pools.iter().map(json::Pool::from).collect();
    Ok(of_revision(result.revision, Json(pools).into_response()))
}

/// `POST /pools`: 201 with the pool, or 200 if it was already there.
pub(super) async fn add(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> RestResult {
    query::none(&uri)?;
    let mut object = body::object_of(&headers, body, body::MAX_WITH_AUTHORITIES).await?;
    let name = match object.remove("name") {
        Some(Value::String(name)) => name,
        other => {
            let found = other.as_ref().map(shown).unwrap_or_default();
            return Err(Invalid::new("name", found, "the name of the pool, as a string").into());
        }
    };
    let settings: json::PoolSettings = body::read(object)?;
    let settings = v1::PoolSettings::try_from(settings)
        .map_err(|accepted| Invalid::new("settings", "", accepted))?;
    let request = v1::CreatePoolRequest {
        name,
        settings: Some(settings),
    };
    let created = operations.create_pool(caller(known), request).await;
    let result = created.map_err(in_json)?;
    let pool = json::Pool::from(&result.pool.unwrap_or_default());
    let location = [(header::LOCATION, format!("/pools/{}", pool.name))];
    let response = (status_of(result.created), location, Json(pool)).into_response();
    Ok(of_revision(result.revision, response))
}

/// `GET /pools/{name}`.
pub(super) async fn get(
    State(operations): State<Arc<Operations>>,
    path: Name,
    uri: Uri,
) -> RestResult {
    let request = v1::GetPoolRequest {
        pool: name(path)?,
        stale: query::only_stale(&uri)?,
    };
    let result = operations.get_pool(&request).await.map_err(in_json)?;
    Ok(of_revision(result.revision, pool::shown(result.pool)))
}

/// `PATCH /pools/{name}`: changes the settings that the body contains.
pub(super) async fn update(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    path: Name,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> RestResult {
    query::none(&uri)?;
    let pool = name(path)?;
    let changes =
        pool::changes(body::object_of(&headers, body, body::MAX_WITH_AUTHORITIES).await?)?;
    expect_as_in_path("pool", &changes.pool, &pool)?;
    let request = v1::UpdatePoolRequest { pool, ..changes };
    let updated = operations.update_pool(caller(known), request).await;
    let result = updated.map_err(in_json)?;
    Ok(of_revision(result.revision, pool::shown(result.pool)))
}

/// `DELETE /pools/{name}`: removes the pool with its servers, with `force` also if a route names it.
pub(super) async fn remove(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    path: Name,
    uri: Uri,
) -> RestResult {
    let name = name(path)?;
    let mut query = query::query(&uri)?;
    let request = v1::DeletePoolRequest {
        name,
        force: query::flag(&mut query, "force"),
        expected_revision: query::expected_revision(&mut query),
    };
    let request = query.finish().settle(Some(request))?;
    let deleted = operations.delete_pool(caller(known), request).await;
    let result = deleted.map_err(in_json)?;
    Ok(of_revision(result.revision, removed(result.revision)))
}
