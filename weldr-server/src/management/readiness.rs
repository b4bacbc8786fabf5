//! Whether this node wants traffic, as load balancers and orchestrators in front of it ask.

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
use weldr_proto::v1::management_server::SERVICE_NAME;

/// Whether this node wants traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// Not yet: nothing is published that requests could be chosen by.
    Starting,
    /// Yes.
    Ready,
    /// It serves, but what operators change no longer reaches it: it met a record of a newer weldr.
    Outdated,
    /// No more: it finishes what runs.
    Stopping,
}

#[derive(Serialize)]
struct Body {
    status: Readiness,
}

/// `GET /readyz`: 200 when this node wants traffic, 503 when not, and a body that says which.
pub(super) fn readyz(readiness: Readiness) -> Response {
    let code = match readiness {
        Readiness::Ready => StatusCode::OK,
        Readiness::Starting | Readiness::Outdated | Readiness::Stopping => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    (code, Json(Body { status: readiness })).into_response()
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
        health.tell(Readiness::Starting).await;
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
            let now = *readiness.borrow_and_update();
            self.tell(now).await;
            tokio::select! {
                changed = readiness.changed() => if changed.is_err() {
                    // Nobody can say anything new; what was said last holds until the end.
                    stop.cancelled().await;
                    break;
                },
                () = stop.cancelled() => break,
            }
        }
        self.tell(Readiness::Stopping).await;
        for service in SERVICES {
            self.0.clear_service_status(service).await;
        }
    }

    async fn tell(&self, readiness: Readiness) {
        let status = match readiness {
            Readiness::Ready => ServingStatus::Serving,
            Readiness::Starting | Readiness::Outdated | Readiness::Stopping => {
                ServingStatus::NotServing
            }
        };
        for service in SERVICES {
            self.0.set_service_status(service, status).await;
        }
    }
}
