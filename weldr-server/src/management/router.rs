//! The paths of the management port, in gRPC and in REST.

use std::sync::Arc;

use axum::{
    Router, middleware,
    response::{IntoResponse as _, Response},
    routing,
};
use http::HeaderMap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};
use weldr_proto::v1::{
    access_server::AccessServer, certificates_server::CertificatesServer,
    cluster_server::ClusterServer, management_server::ManagementServer,
    observation_server::ObservationServer, routing_server::RoutingServer,
};

use super::{
    access::{Gate, admitted},
    error::Error,
    grpc,
    operations::Operations,
    readiness, rest,
};
use crate::readiness::{Readiness, Status};

/// The maximum size of the request of a gRPC call, in bytes. Useful requests are about a thousand times smaller.
const LONGEST_GRPC_REQUEST: usize = 1 << 20;

/// The maximum size of a request that has the name of a service and no more, in bytes: for health, which nobody has to prove
/// anything for, and reflection.
const LONGEST_NAME: usize = 1024;

/// The maximum size of a backup, in bytes: enough for a hundred thousand servers with checks of their own.
const MAX_BACKUP_BYTES: usize = 48 << 20;

/// What both routers serve.
pub(super) struct ServedHealth<H> {
    pub(super) health: HealthServer<H>,
    pub(super) readiness: watch::Receiver<Readiness>,
    pub(super) stop: CancellationToken,
    /// Admits requests, before anything else sees them.
    pub(super) gate: Arc<Gate>,
}

/// The service is shared, whether or not its implementation can be cloned.
impl<H> Clone for ServedHealth<H> {
    fn clone(&self) -> Self {
        Self {
            health: self.health.clone(),
            readiness: self.readiness.clone(),
            stop: self.stop.clone(),
            gate: Arc::clone(&self.gate),
        }
    }
}

/// All paths; without `rest`, only those of gRPC and health.
pub(super) fn router<H: Health>(
    operations: Arc<Operations>,
    served: ServedHealth<H>,
    rest: bool,
) -> Router {
    let mut http = probes(&served);
    if rest {
        http = http.merge(rest::router(&operations));
    }
    let ServedHealth { health, gate, .. } = served;
    guarded(http.merge(grpc_services(operations, health)), gate)
}

/// The paths for health, and nothing else.
pub(super) fn health_router<H: Health>(served: ServedHealth<H>) -> Router {
    let http = probes(&served);
    let ServedHealth { health, gate, .. } = served;
    let health = health.max_decoding_message_size(LONGEST_NAME);
    let grpc = Routes::new(health).prepare().into_axum_router();
    guarded(http.merge(grpc), gate)
}

fn probes<H>(served: &ServedHealth<H>) -> Router {
    let (readiness, stop) = (served.readiness.clone(), served.stop.clone());
    let now = move || {
        if stop.is_cancelled() {
            return Readiness::of(Status::Stopping);
        }
        readiness.borrow().clone()
    };
    let readyz = async move || readiness::readyz(&now());
    Router::new()
        .route("/healthz", routing::get(async || readiness::healthz()))
        .route("/readyz", routing::get(readyz))
        .method_not_allowed_fallback(async |method| Error::WrongMethod {
            method,
            allow: String::new(),
        })
}

fn guarded(router: Router, gate: Arc<Gate>) -> Router {
    router
        .fallback(nothing_there)
        .layer(middleware::from_fn_with_state(gate, admitted))
}

fn grpc_services<H: Health>(operations: Arc<Operations>, health: HealthServer<H>) -> Router {
    let cluster = ClusterServer::new(grpc::GrpcService(Arc::clone(&operations)));
    let access = AccessServer::new(grpc::GrpcService(Arc::clone(&operations)));
    let routing = RoutingServer::new(grpc::GrpcService(Arc::clone(&operations)));
    let certificates = CertificatesServer::new(grpc::GrpcService(Arc::clone(&operations)));
    let observation = ObservationServer::new(grpc::GrpcService(Arc::clone(&operations)));
    let management = ManagementServer::new(grpc::GrpcService(operations));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(weldr_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(management.max_decoding_message_size(LONGEST_GRPC_REQUEST))
        .add_service(access.max_decoding_message_size(LONGEST_GRPC_REQUEST))
        .add_service(observation.max_decoding_message_size(LONGEST_GRPC_REQUEST))
        .add_service(certificates.max_decoding_message_size(LONGEST_GRPC_REQUEST))
        .add_service(routing.max_decoding_message_size(Operations::MAX_CONFIGURATION_BYTES))
        .add_service(cluster.max_decoding_message_size(MAX_BACKUP_BYTES))
        .add_service(health.max_decoding_message_size(LONGEST_NAME));
    let routes = match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes
            .add_service(v1.max_decoding_message_size(LONGEST_NAME))
            .add_service(v1alpha.max_decoding_message_size(LONGEST_NAME)),
        // The descriptors are compiled in, so this cannot fail; without reflection, the API still works.
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "grpc reflection is not served");
            routes
        }
    };
    routes.prepare().into_axum_router()
}

async fn nothing_there(uri: http::Uri, headers: HeaderMap) -> Response {
    let path = uri.path().chars().take(100).collect();
    Error::NoSuchPath { path }
        .into_response_to(&headers)
        .into_response()
}
