//! Bodies of requests.

use axum::body::Body;
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};

use crate::{management::error::Error, model::Invalid};

/// The longest body that is accepted, in bytes.
const LONGEST_BODY: usize = 64 * 1024;
/// How much of a longer one is read all the same: a client that is cut off while it sends often does not
/// read why.
const LONGEST_READ: usize = 2 * 1024 * 1024;

/// The JSON object that a body holds, whatever its content type says: `curl -d` calls it a form.
pub(super) async fn object(headers: &HeaderMap, body: Body) -> Result<Map<String, Value>, Error> {
    let bytes = bounded(headers, body).await?;
    match serde_json::from_slice(&bytes).map_err(Error::Json)? {
        Value::Object(map) => Ok(map),
        other => Err(Invalid::new("body", kind(&other), "a JSON object").into()),
    }
}

async fn bounded(headers: &HeaderMap, mut body: Body) -> Result<Vec<u8>, Error> {
    let too_large = || Error::TooLarge {
        limit: LONGEST_BODY,
    };
    // Who asks before sending is told before sending.
    let announced = body.size_hint().lower();
    if announced > LONGEST_BODY as u64 && headers.contains_key(header::EXPECT) {
        return Err(too_large());
    }
    let (mut bytes, mut read) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Error::BrokenBody)?.into_data() else {
            continue;
        };
        read += data.len();
        if read > LONGEST_READ {
            break;
        }
        if read <= LONGEST_BODY {
            bytes.extend_from_slice(&data);
        }
    }
    if read > LONGEST_BODY {
        return Err(too_large());
    }
    Ok(bytes)
}

/// A value as an error names it.
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
