//! Whether this node is ready for traffic, as load balancers and orchestrators in front of it ask.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::HealthReporter,
};
use weldr_proto::{json::time, v1::management_server::SERVICE_NAME};

use crate::{
    clock::dates,
    readiness::{Readiness, Reason},
};

/// What `/readyz` tells.
#[derive(Serialize)]
struct Body {
    status: &'static str,
    /// The gravest first; empty when the node is ready.
    reasons: Vec<ReasonBody>,
}

#[derive(Serialize)]
struct ReasonBody {
    code: &'static str,
    description: String,
    since: Option<String>,
}

/// `GET /readyz`: 200 when this node is ready for traffic, 503 when not, and a body that says why.
pub(super) fn readyz(readiness: &Readiness) -> Response {
    let code = if readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let reason = |reason: &Reason| ReasonBody {
        code: reason.code.as_str(),
        description: reason.description.clone(),
        since: time(Some(dates::shown(reason.since).into())),
    };
    let body = Body {
        status: readiness.status.as_str(),
        reasons: readiness.reasons.iter().map(reason).collect(),
    };
    (code, Json(body)).into_response()
}

/// `GET /healthz`: 200 while the process lives.
pub(super) fn healthz() -> Response {
    (StatusCode::OK, Json(serde_json::json!({"status": "alive"}))).into_response()
}

/// The services whose health is told: the node as a whole, and the API.
const SERVICES: [&str; 2] = ["", SERVICE_NAME];

/// Readiness as `grpc.health.v1` tells it.
#[derive(Debug)]
pub(super) struct GrpcHealth(HealthReporter);

impl GrpcHealth {
    /// Serves nothing until [`follow`](Self::follow) says so.
    pub(super) async fn new() -> (Self, HealthServer<impl Health>) {
        let health = Self(HealthReporter::new());
        health.tell(ServingStatus::NotServing).await;
        let service = tonic_health::server::HealthService::from_health_reporter(health.0.clone());
        (health, HealthServer::new(service))
    }

    /// Tells each change until `stop`; then that nothing is served, and ends the streams of all watchers.
    pub(super) async fn follow(
        mut self,
        mut readiness: watch::Receiver<Readiness>,
        stop: CancellationToken,
    ) {
        loop {
            let is_ready = readiness.borrow_and_update().is_ready();
            self.tell(if is_ready {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            })
            .await;
            tokio::select! {
                changed = readiness.changed() => if changed.is_err() {
                    // No more changes can arrive; the last one holds until the end.
                    stop.cancelled().await;
                    break;
                },
                () = stop.cancelled() => break,
            }
        }
        self.tell(ServingStatus::NotServing).await;
        for service in SERVICES {
            self.0.clear_service_status(service).await;
        }
    }

    async fn tell(&self, status: ServingStatus) {
        for service in SERVICES {
            self.0.set_service_status(service, status).await;
        }
    }
}
