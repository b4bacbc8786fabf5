//! REST: the calls of the proto, in JSON, for curl and scripts.
//!
//! Each handler makes a request of the proto from a path, a query and a body, calls the same [`Operations`] as
//! gRPC, and shows the response in the form of [`weldr_proto::json`]. Every response has the field `Weldr-Revision`.

mod acme;
mod body;
mod certificates;
mod cluster;
mod configuration;
mod history;
mod json;
mod listeners;
mod metrics;
mod object;
mod pool;
mod pools;
mod query;
mod route;
mod rules;
mod servers;
mod stats;
mod tokens;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{self, MethodRouter},
};
use http::{HeaderName, HeaderValue};
use tokio::time;
use tracing::debug;

use super::{
    access::Caller,
    error::Error,
    operations::{ApiCaller, Operations, WRITE_TIMEOUT},
};

use crate::model::Invalid;

/// The time limit for a request, including its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

const REVISION: HeaderName = HeaderName::from_static("weldr-revision");

/// The result of a handler.
type RestResult = Result<Response, Error>;

/// The paths of REST besides `/`, in the order of [`handlers`].
pub(super) const PATHS: [&str; 29] = [
    "/servers",
    "/servers/{ip}/{port}",
    "/pool",
    "/pools",
    "/pools/{name}",
    "/pools/{name}/stats",
    "/pools/{name}/servers",
    "/listeners",
    "/listeners/{name}",
    "/listeners/{name}/stats",
    "/listeners/{name}/rules",
    "/listeners/{name}/rules/{priority}",
    "/certificates",
    "/certificates/{name}",
    "/certificates/{name}/renewal",
    "/acme",
    "/tls-policies",
    "/configuration",
    "/route",
    "/cluster",
    "/cluster/nodes/{name}",
    "/history",
    "/metrics",
    "/stats",
    "/stats/detail",
    "/stats/objects",
    "/tokens",
    "/tokens/{name}",
    "/whoami",
];

fn handlers() -> [MethodRouter<Arc<Operations>>; PATHS.len()] {
    [
        routing::get(servers::list).post(servers::add),
        routing::get(servers::get)
            .patch(servers::update)
            .delete(servers::remove),
        routing::get(pool::get).patch(pool::update),
        routing::get(pools::list).post(pools::add),
        routing::get(pools::get)
            .patch(pools::update)
            .delete(pools::remove),
        routing::get(stats::of_pool),
        routing::get(servers::list_of).post(servers::add_to),
        routing::get(listeners::list).post(listeners::add),
        routing::get(listeners::get)
            .patch(listeners::update)
            .delete(listeners::remove),
        routing::get(stats::of_listener),
        routing::get(rules::list).post(rules::add),
        routing::patch(rules::update).delete(rules::remove),
        routing::get(certificates::list).post(certificates::add),
        routing::get(certificates::get)
            .put(certificates::update)
            .delete(certificates::remove),
        routing::post(acme::renew),
        routing::get(acme::get).put(acme::set).delete(acme::remove),
        routing::get(certificates::tls_policies),
        routing::get(configuration::get).put(configuration::put),
        routing::post(route::explain),
        routing::get(cluster::get),
        routing::delete(cluster::remove_node),
        routing::get(history::get),
        routing::get(metrics::get),
        routing::get(stats::summary),
        routing::get(stats::detail),
        routing::get(stats::objects),
        routing::get(tokens::list).post(tokens::create),
        routing::delete(tokens::revoke),
        routing::get(tokens::who_am_i),
    ]
}

/// The paths of REST. A slash at the end is ignored.
pub(super) fn router(operations: &Arc<Operations>) -> Router {
    let mut router = Router::new().route("/", routing::get(links));
    for (path, methods) in PATHS.into_iter().zip(handlers()) {
        router = router
            .route(path, methods.clone())
            .route(&format!("{path}/"), methods);
    }
    router
        .layer(middleware::from_fn_with_state(
            Arc::clone(operations),
            framed,
        ))
        .with_state(Arc::clone(operations))
}

/// Gives every call a time limit, and every response the revision.
async fn framed(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let peer = &known.permissions().peer;
    let mut response = time::timeout(REQUEST_TIMEOUT, next.run(request))
        .await
        .unwrap_or_else(|_| Error::TooSlow.into_response());
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        debug!(caller = %known, %peer, %method, path, status = status.as_u16(), "rest request refused");
    }
    response
        .headers_mut()
        .entry(REVISION)
        .or_insert_with(|| operations.snapshot().revision.0.into());
    response
}

/// Adds the revision that a response describes.
fn of_revision(revision: u64, mut response: Response) -> Response {
    let value = HeaderValue::from(revision);
    response.headers_mut().insert(REVISION, value);
    response
}

/// The caller of a REST request waits for the maximum time of a write. If curl is interrupted, the write continues.
fn caller(known: Caller) -> ApiCaller {
    ApiCaller {
        caller: known,
        timeout: WRITE_TIMEOUT,
    }
}

/// `GET /`: the paths.
async fn links() -> Response {
    let link = |href: &str, methods: &[&str], about: &str| serde_json::json!({"href": href, "methods": methods, "about": about});
    Json(serde_json::json!({
        "name": "weldr",
        "version": env!("CARGO_PKG_VERSION"),
        "links": [
            link("/servers", &["GET", "POST"], "the servers of the pool; POST adds one"),
            link("/servers/{ip}/{port}", &["GET", "PATCH", "DELETE"], "one server"),
            link("/pool", &["GET", "PATCH"], "the settings of the pool"),
            link("/pools", &["GET", "POST"], "the pools; POST adds one"),
            link("/pools/{name}", &["GET", "PATCH", "DELETE"], "one pool"),
            link("/pools/{name}/stats", &["GET"], "the statistics of a pool"),
            link("/pools/{name}/servers", &["GET", "POST"], "the servers of a pool; POST adds one"),
            link("/listeners", &["GET", "POST"], "the addresses that clients connect to; POST adds one"),
            link("/listeners/{name}", &["GET", "PATCH", "DELETE"], "one listener"),
            link("/listeners/{name}/stats", &["GET"], "the statistics of a listener and its rules"),
            link("/listeners/{name}/rules", &["GET", "POST"], "which requests go where; POST adds a rule"),
            link("/listeners/{name}/rules/{priority}", &["PATCH", "DELETE"], "one rule; to_priority moves it"),
            link("/certificates", &["GET", "POST"], "the certificates; POST adds one"),
            link("/certificates/{name}", &["GET", "PUT", "DELETE"], "one certificate; PUT replaces its chain and its key"),
            link("/certificates/{name}/renewal", &["POST"], "renews a certificate that is obtained by ACME"),
            link("/acme", &["GET", "PUT", "DELETE"], "the account with which certificates are obtained by ACME"),
            link("/tls-policies", &["GET"], "what the TLS policies of listeners contain"),
            link("/configuration", &["GET", "PUT"], "pools, listeners and rules as one document; PUT applies one"),
            link("/route", &["POST"], "which rule and pool a request would get, and why"),
            link("/cluster", &["GET"], "the nodes of the cluster"),
            link("/cluster/nodes/{name}", &["DELETE"], "removes a node from the cluster"),
            link("/history", &["GET"], "the last changes: what, when and by whom"),
            link("/metrics", &["GET"], "the metrics of this node for Prometheus; ?rules and ?servers add those of each rule and server"),
            link("/stats", &["GET"], "the numbers of successful and failed requests"),
            link("/stats/detail", &["GET"], "the statistics of each server"),
            link("/stats/objects", &["GET"], "the statistics of all listeners, rules and pools"),
            link("/tokens", &["GET", "POST"], "who may call; POST creates a token"),
            link("/tokens/{name}", &["DELETE"], "revokes a token"),
            link("/whoami", &["GET"], "who the caller is and what it may do"),
            link("/healthz", &["GET"], "200 while the process runs"),
            link("/readyz", &["GET"], "200 while the node is ready for traffic, else 503 and the reasons"),
        ],
    }))
    .into_response()
}

/// Refuses a body that names another object than the path, in which nothing is an empty text.
fn expect_as_in_path(field: &str, in_body: &str, in_path: &str) -> Result<(), Error> {
    if in_body.is_empty() || in_body == in_path {
        return Ok(());
    }
    let accepted = format!("{in_path}, as in the path, or no such key");
    Err(Invalid::new(field, in_body, accepted).into())
}

/// The error of a call, with the names that the fields have in JSON.
fn in_json(error: Error) -> Error {
    let Error::Invalid(violations) = error else {
        return error;
    };
    let renamed = violations.into_iter().map(|invalid| {
        let key = json_key(&invalid.field);
        invalid.named(key)
    });
    Error::Invalid(renamed.collect())
}

/// The error of a call whose messages are JSON as they stand: only durations have other names.
fn of_message(error: Error) -> Error {
    let Error::Invalid(violations) = error else {
        return error;
    };
    let renamed = violations.into_iter().map(|invalid| {
        let is_duration = invalid.field.ends_with("_timeout") || invalid.field == "drain_deadline";
        let unit = if is_duration { "_seconds" } else { "" };
        let key = format!("{}{unit}", invalid.field);
        invalid.named(key)
    });
    Error::Invalid(renamed.collect())
}

/// The JSON key of the proto field at `path`: JSON has no `settings` and no `http` level, and the unit
/// of a duration is part of its key.
fn json_key(path: &str) -> String {
    const DURATIONS: [&str; 5] = [
        "interval",
        "timeout",
        "deadline",
        "drain_deadline",
        "deregister_after",
    ];
    // The timeouts of policies.
    if path.contains("policy.") && path.ends_with("_timeout") {
        return path.replace("settings.", "") + "_seconds";
    }
    if path == "address" {
        return "ip".to_owned();
    }
    let key = path.strip_prefix("settings.").unwrap_or(path);
    let key = key.replace("check.http.", "check.");
    match key.rsplit('.').next() {
        Some(last) if DURATIONS.contains(&last) => key + "_seconds",
        _ => key,
    }
}

#[cfg(test)]
mod compatible;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_the_proto_has_its_json_key() {
        for (path, key) in [
            ("address", "ip"),
            ("weight", "weight"),
            ("check.port", "check.port"),
            ("check.interval", "check.interval_seconds"),
            ("check.http.path", "check.path"),
            ("settings.check.timeout", "check.timeout_seconds"),
            ("settings.check.http.host", "check.host"),
            ("settings.drain_deadline", "drain_deadline_seconds"),
            ("deadline", "deadline_seconds"),
            ("check.interval_seconds", "check.interval_seconds"),
        ] {
            assert_eq!(json_key(path), key);
        }
    }
}
