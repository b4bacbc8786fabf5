//! The queries of requests: `?pool=default&now=true`. Unknown keys are refused, as in a body.

use axum::extract::Query as Pairs;
use http::Uri;
use serde_json::{Map, Value};

use crate::{
    management::{convert::Violations, error::Error},
    model::Invalid,
};

use super::object::Object;

/// The pairs of the query, as strings.
pub(super) fn query(uri: &Uri) -> Result<Object, Error> {
    let unreadable = || {
        Invalid::new(
            "query",
            uri.query().unwrap_or_default(),
            "key=value&key=value",
        )
    };
    let Pairs(pairs) =
        Pairs::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| unreadable())?;
    let mut map = Map::new();
    for (key, value) in pairs {
        if map.contains_key(&key) {
            return Err(Invalid::new(key, value, "each key once").into());
        }
        map.insert(key, Value::String(value));
    }
    Ok(Object::new(map))
}

/// A query that may contain the pool, and nothing else.
pub(super) fn pool(uri: &Uri) -> Result<String, Error> {
    let mut query = query(uri)?;
    let pool = query.pool();
    query.finish().settle(Some(pool))
}

/// A query that may contain the pool, and whether the read need not be linearizable.
pub(super) fn pool_and_stale(uri: &Uri) -> Result<(String, bool), Error> {
    let mut query = query(uri)?;
    let pool = query.pool();
    let stale = stale(&mut query);
    query.finish().settle(Some((pool, stale)))
}

/// A query that may say that the read need not be linearizable, and nothing else.
pub(super) fn only_stale(uri: &Uri) -> Result<bool, Error> {
    let mut query = query(uri)?;
    let stale = stale(&mut query);
    query.finish().settle(Some(stale))
}

/// `stale`, `stale=true` or `stale=false`.
pub(super) fn stale(query: &mut Object) -> bool {
    flag(query, "stale")
}

/// A key alone, or with `true` or `false`.
pub(super) fn flag(query: &mut Object, key: &'static str) -> bool {
    switch(query, key).unwrap_or(false)
}

/// The query `key`, `key=true` or `key=false`; `None` if it is not given.
pub(super) fn switch(query: &mut Object, key: &'static str) -> Option<bool> {
    query.take(key, "true or false", |value| match value.as_str()? {
        "" | "true" => Some(true),
        "false" => Some(false),
        _ => None,
    })
}

/// The revision that is expected; 0 for any.
pub(super) fn expected_revision(query: &mut Object) -> u64 {
    let expected = query.take("expected_revision", "a revision", |value| {
        value.as_str()?.parse().ok()
    });
    expected.unwrap_or_default()
}

/// A number of seconds.
pub(super) fn seconds(query: &mut Object, key: &'static str) -> Option<prost_types::Duration> {
    query.take(key, "a number of seconds", |value| {
        let seconds = value.as_str()?.parse().ok()?;
        let duration = std::time::Duration::try_from_secs_f64(seconds).ok()?;
        duration.try_into().ok()
    })
}

/// Refuses a query: the settings of a write are in the body.
pub(super) fn none(uri: &Uri) -> Result<(), Error> {
    match uri.query() {
        None | Some("") => Ok(()),
        Some(query) => {
            let accepted = "no query; keys belong in the body";
            let mut violations = Violations::default();
            violations.add(Invalid::new("query", query, accepted));
            violations.settle(Some(()))
        }
    }
}
