//! The bodies of requests.

use axum::body::Body;
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{management::error::Error, model::Invalid};

use super::json;

/// The maximum size of a body, in bytes, unless the call says another one.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The maximum size of a body that may have certificates of authorities, in bytes.
pub(super) const MAX_WITH_AUTHORITIES: usize = 1024 * 1024;
/// How much of a longer body is read nevertheless, in bytes: a client whose connection is closed while it sends often
/// does not read the response.
const MAX_READ_BYTES: usize = 2 * 1024 * 1024;

/// The message in a body, as JSON.
pub(super) async fn message<T: DeserializeOwned + Serialize>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Error> {
    message_of(headers, body, MAX_BODY_BYTES).await
}

/// The message in a body of at most `limit` bytes.
pub(super) async fn message_of<T: DeserializeOwned + Serialize>(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<T, Error> {
    let bytes = bounded(headers, body, limit).await?;
    Ok(json::message(&json::value(&bytes)?)?)
}

/// The message that is an object.
pub(super) fn read<T: DeserializeOwned + Serialize>(
    object: Map<String, Value>,
) -> Result<T, Error> {
    Ok(json::message(&Value::Object(object))?)
}

/// The JSON object in a body. The content type is ignored, because `curl -d` says that it is a form.
pub(super) async fn object(headers: &HeaderMap, body: Body) -> Result<Map<String, Value>, Error> {
    object_of(headers, body, MAX_BODY_BYTES).await
}

/// The JSON object in a body of at most `limit` bytes.
pub(super) async fn object_of(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Map<String, Value>, Error> {
    let bytes = bounded(headers, body, limit).await?;
    match json::value(&bytes)? {
        Value::Object(map) => Ok(map),
        other => Err(Invalid::new("body", json::kind(&other), "a JSON object").into()),
    }
}

async fn bounded(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Vec<u8>, Error> {
    let too_large = || Error::TooLarge { limit };
    // A client that waits for 100 Continue gets the error before it sends the body.
    let announced = body.size_hint().lower();
    if announced > limit as u64 && headers.contains_key(header::EXPECT) {
        return Err(too_large());
    }
    let (mut bytes, mut read) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Error::BrokenBody)?.into_data() else {
            continue;
        };
        read += data.len();
        if read > limit.max(MAX_READ_BYTES) {
            break;
        }
        if read <= limit {
            bytes.extend_from_slice(&data);
        }
    }
    if read > limit {
        return Err(too_large());
    }
    Ok(bytes)
}
