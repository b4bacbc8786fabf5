//! A simple HTTP/1.1 client.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::soon;

/// A response with its whole body.
#[derive(Debug)]
pub(super) struct HttpResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl HttpResponse {
    pub(super) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The code of an error, and the fields that it names.
    pub(super) fn refused(&self) -> (u16, String, Vec<String>) {
        let error = &self.json()["error"];
        let violations = error["violations"].as_array().cloned().unwrap_or_default();
        let field = |violation: &Value| violation["field"].as_str().unwrap().to_owned();
        (
            self.status.as_u16(),
            error["code"].as_str().unwrap().to_owned(),
            violations.iter().map(field).collect(),
        )
    }
}

/// Sends a request on a connection of its own. Adds a Host field, as curl does, and nothing else.
pub(super) async fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> HttpResponse {
    let mut request = Request::builder().method(method).uri(target);
    if !fields.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", address.to_string());
    }
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    soon(async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        HttpResponse {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    })
    .await
}

/// The same without fields or a body.
pub(super) async fn ask(address: SocketAddr, method: &str, target: &str) -> HttpResponse {
    send(address, method, target, &[], "").await
}
