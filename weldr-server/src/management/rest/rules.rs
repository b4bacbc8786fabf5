//! `/listeners/{name}/rules` and `/listeners/{name}/rules/{priority}`. The bodies are the messages of the proto in JSON.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    response::IntoResponse as _,
};
use http::{HeaderMap, Uri, header};
use weldr_proto::v1;

use crate::{
    management::{access::Caller, error::Error, operations::Operations},
    model::Invalid,
};

use super::{
    RestResult, body, caller, expect_as_in_path,
    listeners::{Name, name, removed, status_of},
    of_message, of_revision, query,
};

type Place = Result<Path<(String, String)>, PathRejection>;

/// The listener and the priority in a path.
fn place(place: Place) -> Result<(String, u32), Error> {
    let accepted = "/listeners/{name}/rules/{priority}";
    let Ok(Path((listener, priority))) = place else {
        return Err(Invalid::new("path", "not UTF-8", accepted).into());
    };
    match priority.parse() {
        Ok(number) => Ok((listener, number)),
        Err(_) => Err(Invalid::new("priority", priority, "a whole number").into()),
    }
}

/// Refuses a body that names another rule than the path; 0 is no number of a rule.
fn expect_place(in_body: (&str, u32), in_path: (&str, u32)) -> Result<(), Error> {
    expect_as_in_path("listener", in_body.0, in_path.0)?;
    let priority = match in_body.1 {
        0 => String::new(),
        number => number.to_string(),
    };
    expect_as_in_path("priority", &priority, &in_path.1.to_string())
}

/// `GET /listeners/{name}/rules`: an array, in the order in which the rules are tried.
pub(super) async fn list(
    State(operations): State<Arc<Operations>>,
    path: Name,
    uri: Uri,
) -> RestResult {
    let listener = name(path)?;
    let stale = query::only_stale(&uri)?;
    let request = v1::ListRulesRequest { listener, stale };
    let result = operations.list_rules(request).await.map_err(of_message)?;
    let body = Json(result.rules);
    Ok(of_revision(result.revision, body.into_response()))
}

/// `POST /listeners/{name}/rules`: 201 with the rule, or 200 if it was already there.
pub(super) async fn add(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    path: Name,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> RestResult {
    query::none(&uri)?;
    let listener = name(path)?;
    let request: v1::CreateRuleRequest = body::message(&headers, body).await?;
    expect_as_in_path("listener", &request.listener, &listener)?;
    let request = v1::CreateRuleRequest {
        listener,
        ..request
    };
    let path = format!("/listeners/{}/rules", request.listener);
    let created = operations.create_rule(caller(known), request).await;
    let result = created.map_err(of_message)?;
    let rule = result.rule.unwrap_or_default();
    let location = [(header::LOCATION, format!("{path}/{}", rule.priority))];
    let response = (status_of(result.created), location, Json(rule)).into_response();
    Ok(of_revision(result.revision, response))
}

/// `PATCH /listeners/{name}/rules/{priority}`: replaces the conditions or the route that the body contains, and moves the rule
/// if it contains `to_priority`.
pub(super) async fn update(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    path: Place,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> RestResult {
    query::none(&uri)?;
    let (listener, priority) = place(path)?;
    let object = body::object(&headers, body).await?;
    let result = if object.contains_key("to_priority") {
        let request: v1::MoveRuleRequest = body::read(object)?;
        expect_place((&request.listener, request.priority), (&listener, priority))?;
        let request = v1::MoveRuleRequest {
            listener,
            priority,
            ..request
        };
        let moved = operations.move_rule(caller(known), request).await;
        let moved = moved.map_err(of_message)?;
        (moved.revision, moved.rule)
    } else {
        let request: v1::UpdateRuleRequest = body::read(object)?;
        expect_place((&request.listener, request.priority), (&listener, priority))?;
        let request = v1::UpdateRuleRequest {
            listener,
            priority,
            ..request
        };
        let updated = operations.update_rule(caller(known), request).await;
        let updated = updated.map_err(of_message)?;
        (updated.revision, updated.rule)
    };
    let (revision, rule) = result;
    let body = Json(rule.unwrap_or_default());
    Ok(of_revision(revision, body.into_response()))
}

/// `DELETE /listeners/{name}/rules/{priority}`.
pub(super) async fn remove(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    path: Place,
    uri: Uri,
) -> RestResult {
    let (listener, priority) = place(path)?;
    let mut query = query::query(&uri)?;
    let request = v1::DeleteRuleRequest {
        listener,
        priority,
        expected_revision: query::expected_revision(&mut query),
    };
    let request = query.finish().settle(Some(request))?;
    let deleted = operations.delete_rule(caller(known), request).await;
    let result = deleted.map_err(of_message)?;
    Ok(of_revision(result.revision, removed(result.revision)))
}
