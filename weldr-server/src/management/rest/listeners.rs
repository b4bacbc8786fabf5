//! `/listeners` and `/listeners/{name}`. The bodies are the messages of the proto in JSON.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, Uri, header};
use weldr_proto::v1;

use crate::{
    management::{access::Caller, error::Error, operations::Operations},
    model::Invalid,
};

use super::{RestResult, body, caller, expect_as_in_path, of_message, of_revision, query};

/// The name of an object in a path.
pub(super) type Name = Result<Path<String>, PathRejection>;

/// The name in a path.
pub(super) fn name(name: Name) -> Result<String, Error> {
    let Ok(Path(name)) = name else {
        return Err(Invalid::new("path", "not UTF-8", "the name of an object").into());
    };
    Ok(name)
}

/// `GET /listeners`: an array, ordered by name.
pub(super) async fn list(State(operations): State<Arc<Operations>>, uri: Uri) -> RestResult {
    let stale = query::only_stale(&uri)?;
    let request = v1::ListListenersRequest { stale };
    let result = operations
        .list_listeners(request)
        .await
        .map_err(of_message)?;
    let body = Json(result.listeners);
    Ok(of_revision(result.revision, body.into_response()))
}

/// `POST /listeners`: 201 with the listener, or 200 if it was already there.
pub(super) async fn add(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> RestResult {
    query::none(&uri)?;
    let request: v1::CreateListenerRequest =
        body::message_of(&headers, body, body::MAX_WITH_AUTHORITIES).await?;
    let created = operations.create_listener(caller(known), request).await;
    let result = created.map_err(of_message)?;
    let listener = result.listener.unwrap_or_default();
    let location = [(header::LOCATION, format!("/listeners/{}", listener.name))];
    let response = (status_of(result.created), location, Json(listener)).into_response();
    Ok(of_revision(result.revision, response))
}

/// The status of a call that adds an object.
pub(super) fn status_of(created: bool) -> StatusCode {
    if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    }
}

/// `GET /listeners/{name}`.
pub(super) async fn get(
    State(operations): State<Arc<Operations>>,
    path: Name,
    uri: Uri,
) -> RestResult {
    let name = name(path)?;
    let stale = query::only_stale(&uri)?;
    let request = v1::GetListenerRequest { name, stale };
    let result = operations.get_listener(request).await.map_err(of_message)?;
    Ok(of_revision(result.revision, shown(result.listener)))
}

/// `PATCH /listeners/{name}`: changes what the body contains.
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
    let request: v1::UpdateListenerRequest =
        body::message_of(&headers, body, body::MAX_WITH_AUTHORITIES).await?;
    expect_as_in_path("name", &request.name, &name)?;
    let request = v1::UpdateListenerRequest { name, ..request };
    let updated = operations.update_listener(caller(known), request).await;
    let result = updated.map_err(of_message)?;
    Ok(of_revision(result.revision, shown(result.listener)))
}

/// `DELETE /listeners/{name}`: closes it, and gives its running requests until the deadline of the query.
pub(super) async fn remove(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    path: Name,
    uri: Uri,
) -> RestResult {
    let name = name(path)?;
    let mut query = query::query(&uri)?;
    let deadline = query::seconds(&mut query, "drain_deadline_seconds");
    let expected = query::expected_revision(&mut query);
    let request = v1::DeleteListenerRequest {
        name,
        drain_deadline: deadline,
        expected_revision: expected,
    };
    let request = query.finish().settle(Some(request))?;
    let deleted = operations.delete_listener(caller(known), request).await;
    let result = deleted.map_err(of_message)?;
    Ok(of_revision(result.revision, removed(result.revision)))
}

/// The response to the removal of an object.
pub(super) fn removed(revision: u64) -> Response {
    Json(serde_json::json!({"removed": true, "revision": revision})).into_response()
}

fn shown(listener: Option<v1::Listener>) -> Response {
    Json(listener.unwrap_or_default()).into_response()
}
