//! `/tokens`, `/tokens/{name}` and `/whoami`.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    response::IntoResponse as _,
};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::Value;
use weldr_proto::{json, v1};

use crate::{
    management::{access::Caller, operations::Operations},
    model::Invalid,
};

use super::{RestResult, body, caller, in_json, object::Object, of_revision, query};

/// `GET /tokens`: all principals, without secrets.
pub(super) async fn list(State(operations): State<Arc<Operations>>, uri: Uri) -> RestResult {
    let mut query = query::query(&uri)?;
    let stale = query::stale(&mut query);
    let request = v1::ListTokensRequest { stale };
    let request = query.finish().settle(Some(request))?;
    let result = operations.list_tokens(&request).await?;
    let body = Json(json::Principals::from(&result));
    Ok(of_revision(result.revision, body.into_response()))
}

/// `POST /tokens`: 201 with the principal and its token.
pub(super) async fn create(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> RestResult {
    query::none(&uri)?;
    let mut object = Object::new(body::object(&headers, body).await?);
    let name = object.require("name", "a string", |value| {
        value.as_str().map(str::to_owned)
    });
    let request = v1::CreateTokenRequest {
        name: name.unwrap_or_default(),
        role: object.role().into(),
        pools: object
            .take("pools", "an array of names", names)
            .unwrap_or_default(),
        expires: object.take("expires", "a date as in RFC 3339", date),
        subject: object.text("subject").unwrap_or_default(),
    };
    let request = object.finish().settle(Some(request))?;
    let result = operations
        .create_token(caller(known), request)
        .await
        .map_err(in_json)?;
    let body = Json(json::CreatedToken::from(&result));
    let response = (StatusCode::CREATED, body).into_response();
    Ok(of_revision(result.revision, response))
}

/// `DELETE /tokens/{name}`: revokes a principal.
pub(super) async fn revoke(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> RestResult {
    query::none(&uri)?;
    let Ok(Path(name)) = name else {
        return Err(Invalid::new("path", "not UTF-8", "/tokens/{name}").into());
    };
    let request = v1::RevokeTokenRequest { name };
    let result = operations.revoke_token(caller(known), &request).await?;
    let body = Json(json::RevokedToken::from(&result));
    Ok(of_revision(result.revision, body.into_response()))
}

/// `GET /whoami`.
pub(super) async fn who_am_i(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    uri: Uri,
) -> RestResult {
    query::none(&uri)?;
    let result = operations.who_am_i(&known);
    let body = Json(json::WhoAmI::from(&result));
    Ok(of_revision(result.revision, body.into_response()))
}

fn names(value: &Value) -> Option<Vec<String>> {
    let names = value.as_array()?.iter();
    names.map(|name| name.as_str().map(str::to_owned)).collect()
}

fn date(value: &Value) -> Option<prost_types::Timestamp> {
    let date = humantime::parse_rfc3339_weak(value.as_str()?).ok()?;
    Some(SystemTime::into(date))
}
