//! `/pool`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, Uri};
use serde_json::{Map, Value};
use weldr_proto::{json, v1};

use crate::management::{access::Caller, error::Error, operations::Operations};

use super::{RestResult, body, caller, in_json, object::Object, of_revision, query};

/// `GET /pool`.
pub(super) async fn get(State(operations): State<Arc<Operations>>, uri: Uri) -> RestResult {
    let (pool, stale) = query::pool_and_stale(&uri)?;
    let request = v1::GetPoolRequest { pool, stale };
    let result = operations.get_pool(&request).await.map_err(in_json)?;
    Ok(of_revision(result.revision, shown(result.pool)))
}

/// `PATCH /pool`: changes the settings that the body contains.
pub(super) async fn update(
    State(operations): State<Arc<Operations>>,
    Extension(known): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> RestResult {
    query::none(&uri)?;
    let request = changes(body::object_of(&headers, body, body::MAX_WITH_AUTHORITIES).await?)?;
    let result = operations
        .update_pool(caller(known), request)
        .await
        .map_err(in_json)?;
    Ok(of_revision(result.revision, shown(result.pool)))
}

/// The changes of the settings of a pool that an object contains.
pub(super) fn changes(object: Map<String, Value>) -> Result<v1::UpdatePoolRequest, Error> {
    let mut object = Object::new(object);
    let settings = v1::PoolSettings {
        check: object.check(),
        balancing: object.balancing().into(),
        fail_open: object.flag("fail_open"),
        drain_deadline: object.seconds("drain_deadline_seconds"),
        deregister_after: object.seconds("deregister_after_seconds"),
        strict_responses: object.flag("strict_responses"),
        slow_start: object.seconds("slow_start_seconds"),
        outlier: object.nested("outlier", |outlier| v1::OutlierEjection {
            failures: outlier.whole("failures"),
            time: outlier.seconds("time_seconds"),
            longest: outlier.seconds("longest_seconds"),
            share_percent: outlier.whole("share_percent"),
        }),
        limit: object.nested("limit", |limit| v1::RequestLimit {
            requests: limit.whole("requests"),
            queue: limit.whole("queue"),
            queue_timeout: limit.seconds("queue_timeout_seconds"),
        }),
        hash_key: object.text("hash_key"),
        policy: object.message("policy"),
        protocol: object.pool_protocol().into(),
        tls: object.nested("tls", |tls| v1::PoolTls {
            server_name: tls.text("server_name"),
            verify_ca: tls.text("verify_ca"),
            client_certificate: tls.text("client_certificate"),
            insecure: tls.flag("insecure"),
        }),
        stickiness: object.nested("stickiness", |stickiness| v1::Stickiness {
            cookie: stickiness.text("cookie"),
            application_cookie: stickiness.text("application_cookie"),
            duration: stickiness.seconds("duration_seconds"),
        }),
    };
    let request = v1::UpdatePoolRequest {
        pool: object.pool(),
        settings: Some(settings),
        expected_revision: object.expected_revision(),
        unset: object.message("unset").unwrap_or_default(),
    };
    object.finish().settle(Some(request))
}

pub(super) fn shown(pool: Option<v1::Pool>) -> Response {
    Json(json::Pool::from(&pool.unwrap_or_default())).into_response()
}
