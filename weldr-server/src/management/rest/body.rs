//! The bodies of requests.

use axum::body::Body;
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};

use crate::{management::error::Error, model::Invalid};

/// The maximum size of a body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How much of a longer body is read nevertheless, in bytes: a client whose connection is closed while it sends often
/// does not read the response.
const MAX_READ_BYTES: usize = 2 * 1024 * 1024;

/// The JSON object in a body. The content type is ignored, because `curl -d` says that it is a form.
pub(super) async fn object(headers: &HeaderMap, body: Body) -> Result<Map<String, Value>, Error> {
    let bytes = bounded(headers, body).await?;
    match serde_json::from_slice(&bytes).map_err(Error::Json)? {
        Value::Object(map) => Ok(map),
        other => Err(Invalid::new("body", kind(&other), "a JSON object").into()),
    }
}

async fn bounded(headers: &HeaderMap, mut body: Body) -> Result<Vec<u8>, Error> {
    let too_large = || Error::TooLarge {
        limit: MAX_BODY_BYTES,
    };
    // A client that waits for 100 Continue gets the error before it sends the body.
    let announced = body.size_hint().lower();
    if announced > MAX_BODY_BYTES as u64 && headers.contains_key(header::EXPECT) {
        return Err(too_large());
    }
    let (mut bytes, mut read) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Error::BrokenBody)?.into_data() else {
            continue;
        };
        read += data.len();
        if read > MAX_READ_BYTES {
            break;
        }
        if read <= MAX_BODY_BYTES {
            bytes.extend_from_slice(&data);
        }
    }
    if read > MAX_BODY_BYTES {
        return Err(too_large());
    }
    Ok(bytes)
}

/// The type of a value, for an error.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
