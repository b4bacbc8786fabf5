//! `/servers` and `/servers/{ip}/{port}`.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, Uri, header};
use prost_types::Duration as ProtoDuration;
use serde::Serialize;
use serde_json::{Map, Value};
use weldr_proto::{json, v1};

use crate::{
    management::{access::Caller, convert::Violations, error::Error, operations::Operations},
    model::Invalid,
};

use super::{
    RestResult, body, caller, expect_as_in_path, in_json,
    listeners::{Name, name},
    object::Object,
    of_revision, query,
};

/// The result of a removal.
#[derive(Debug, Serialize)]
struct Removal {
    /// False while running requests finish.
    removed: bool,
    server: Option<json::Server>,
}

type Address = Result<Path<(String, String)>, PathRejection>;

const IP: &str = "an IPv4 or IPv6 address; host names are not resolved";
const PORT: &str = "a port from 1 to 65535";

/// `GET /servers`: an array, ordered by address.
pub(super) async fn list(State(operations): State<Arc<Operations>>, uri: Uri) -> RestResult {
    let (pool, stale) = query::pool_and_stale(&uri)?;
    let request = v1::ListServersRequest { pool, stale };
    let result = operations.list_servers(&request).await.map_err(in_json)?;
    let servers: Vec<json::Server> = result.servers.iter().map(json::Server::in_rest).collect();
    Ok(of_revision(result.revision, Json(servers).into_response()))
}

/// `POST /servers`: 201 with the server, or 200 if it was already there with the same settings.
pub(super) async fn add(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> RestResult {
    query::none(&uri)?;
    let object = body::object(&headers, body).await?;
    add_object(&operations, known, object).await
}

async fn add_object(
    operations: &Operations,
    known: Caller,
    object: Map<String, Value>,
) -> RestResult {
    let mut object = Object::new(object);
    let ip = object.require("ip", IP, |value| read_ip(value.as_str()?));
    let port = object.require("port", PORT, |value| match value {
        Value::Number(number) => read_port(&number.to_string()),
        Value::String(text) => read_port(text),
        _ => None,
    });
    let request = v1::AddServerRequest {
        address: String::new(),
        weight: object.whole("weight"),
        admin_state: object.admin_state().into(),
        check: object.check(),
        pool: object.pool(),
        expected_revision: object.expected_revision(),
    };
    let (ip, port) = object.finish().settle(ip.zip(port))?;
    let address = SocketAddr::new(ip, port).to_string();
    let request = v1::AddServerRequest { address, ..request };
    let result = operations
        .add_server(caller(known), request)
        .await
        .map_err(in_json)?;
    let status = if result.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let server = result.server.unwrap_or_default();
    let location = location(&server.address);
    let body = Json(json::Server::in_rest(&server));
    let response = (status, location, body).into_response();
    Ok(of_revision(result.revision, response))
}

/// `GET /pools/{name}/servers`.
pub(super) async fn list_of(
    State(operations): State<Arc<Operations>>,
    path: Name,
    uri: Uri,
) -> RestResult {
    let pool = name(path)?;
    let stale = query::only_stale(&uri)?;
    let request = v1::ListServersRequest { pool, stale };
    let result = operations.list_servers(&request).await.map_err(in_json)?;
    let servers: Vec<json::Server> = result.servers.iter().map(json::Server::in_rest).collect();
    Ok(of_revision(result.revision, Json(servers).into_response()))
}

/// `POST /pools/{name}/servers`.
pub(super) async fn add_to(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    path: Name,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> RestResult {
    query::none(&uri)?;
    let pool = name(path)?;
    let mut object = body::object(&headers, body).await?;
    if let Some(Value::String(in_body)) = object.get("pool") {
        expect_as_in_path("pool", in_body, &pool)?;
    }
    // What is not a text is refused below.
    object.entry("pool").or_insert(Value::String(pool));
    add_object(&operations, known, object).await
}

/// `GET /servers/{ip}/{port}`.
pub(super) async fn get(
    State(operations): State<Arc<Operations>>,
    address: Address,
    uri: Uri,
) -> RestResult {
    let address = read_address(address)?;
    let (pool, stale) = query::pool_and_stale(&uri)?;
    let request = v1::GetServerRequest {
        pool,
        address,
        stale,
    };
    let result = operations.get_server(&request).await.map_err(in_json)?;
    Ok(of_revision(result.revision, shown(result.server)))
}

/// `PATCH /servers/{ip}/{port}`: changes the settings that the body contains.
pub(super) async fn update(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    address: Address,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> RestResult {
    query::none(&uri)?;
    let address = read_address(address)?;
    let mut object = Object::new(body::object(&headers, body).await?);
    let request = v1::UpdateServerRequest {
        address,
        weight: object.whole("weight"),
        admin_state: object.admin_state().into(),
        check: object.check(),
        pool: object.pool(),
        expected_revision: object.expected_revision(),
    };
    let request = object.finish().settle(Some(request))?;
    let result = operations
        .update_server(caller(known), request)
        .await
        .map_err(in_json)?;
    Ok(of_revision(result.revision, shown(result.server)))
}

/// `DELETE /servers/{ip}/{port}`: drains the server until the deadline of the pool or of the query, and removes it.
pub(super) async fn remove(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    address: Address,
    uri: Uri,
) -> RestResult {
    let address = read_address(address)?;
    let mut query = query::query(&uri)?;
    let now = query::switch(&mut query, "now");
    let seconds = query.take("deadline_seconds", "a number of seconds", |value| {
        let seconds = value.as_str()?.parse().ok()?;
        let deadline = std::time::Duration::try_from_secs_f64(seconds).ok()?;
        ProtoDuration::try_from(deadline).ok()
    });
    let expected = query.take("expected_revision", "a revision", |value| {
        value.as_str()?.parse().ok()
    });
    let pool = query.pool();
    let mut violations = query.finish();
    let deadline = match (now, seconds) {
        (Some(true), Some(_)) => {
            let accepted = "either now or deadline_seconds";
            violations.add(Invalid::new("now", true, accepted));
            None
        }
        (Some(true), None) => Some(ProtoDuration::default()),
        (_, seconds) => seconds,
    };
    let request = v1::RemoveServerRequest {
        pool,
        address,
        deadline,
        expected_revision: expected.unwrap_or_default(),
    };
    let request = violations.settle(Some(request))?;
    let result = operations
        .remove_server(caller(known), request)
        .await
        .map_err(in_json)?;
    let body = Json(Removal {
        removed: result.removed,
        server: result.server.as_ref().map(json::Server::in_rest),
    });
    Ok(of_revision(result.revision, body.into_response()))
}

fn shown(server: Option<v1::Server>) -> Response {
    Json(json::Server::in_rest(&server.unwrap_or_default())).into_response()
}

fn location(address: &str) -> Option<[(header::HeaderName, String); 1]> {
    let address: SocketAddr = address.parse().ok()?;
    let path = format!("/servers/{}/{}", address.ip(), address.port());
    Some([(header::LOCATION, path)])
}

/// The address in a path. An IPv6 address may be in brackets.
fn read_address(address: Address) -> Result<String, Error> {
    let mut violations = Violations::default();
    let Ok(Path((ip, port))) = address else {
        return Err(Invalid::new("path", "not UTF-8", "/servers/{ip}/{port}").into());
    };
    let ip = violations.take(read_ip(&ip).ok_or_else(|| Invalid::new("ip", &ip, IP)));
    let port = violations.take(read_port(&port).ok_or_else(|| Invalid::new("port", &port, PORT)));
    let (ip, port) = violations.settle(ip.zip(port))?;
    Ok(SocketAddr::new(ip, port).to_string())
}

fn read_ip(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse().ok()
}

/// Accepts digits only: `+80` and ` 80` are typos.
fn read_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ips_and_ports_are_read_strictly() {
        for (text, ip) in [
            ("127.0.0.1", Some("127.0.0.1")),
            ("::1", Some("::1")),
            ("[::1]", Some("::1")),
            ("[::1", None),
            ("localhost", None),
            ("", None),
        ] {
            assert_eq!(read_ip(text), ip.map(|ip| ip.parse().unwrap()), "{text}");
        }
        for (text, port) in [
            ("80", Some(80)),
            ("65535", Some(65535)),
            ("0", None),
            ("65536", None),
            ("+80", None),
            ("-1", None),
            ("80.0", None),
            ("", None),
        ] {
            assert_eq!(read_port(text), port, "{text}");
        }
    }
}
