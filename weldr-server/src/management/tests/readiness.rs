//! How readiness is shown.

use serde_json::json;
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};

use super::{http::ask, node::TestNode, soon};
use crate::management::Readiness;

#[tokio::test]
async fn readyz_says_which() {
    let node = TestNode::start().await;
    for (readiness, status, word) in [
        (Readiness::Starting, 503, "starting"),
        (Readiness::Ready, 200, "ready"),
        (Readiness::Stopping, 503, "stopping"),
    ] {
        node.readiness.send_replace(readiness);
        let answer = ask(node.address, "GET", "/readyz").await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()),
            (status, json!({"status": word}))
        );
        assert_eq!(ask(node.address, "GET", "/healthz").await.status, 200);
    }
}

#[tokio::test]
async fn grpc_health_follows_and_its_watchers_hear_the_end() {
    let node = TestNode::start().await;
    let mut client = HealthClient::new(node.channel());
    for service in ["", "weldr.v1.Management"] {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let mut stream = client.watch(request).await.unwrap().into_inner();
        for (readiness, status) in [
            (Readiness::Ready, ServingStatus::Serving),
            (Readiness::Stopping, ServingStatus::NotServing),
            (Readiness::Ready, ServingStatus::Serving),
        ] {
            node.readiness.send_replace(readiness);
            let is = |answer: HealthCheckResponse| answer.status() == status;
            while !is(soon(stream.message()).await.unwrap().unwrap()) {}
        }
    }
    let request = HealthCheckRequest::default();
    let mut stream = client.watch(request.clone()).await.unwrap().into_inner();
    soon(stream.message()).await.unwrap();
    node.shutdown.cancel();
    let last = soon(stream.message()).await.unwrap().unwrap();
    assert_eq!(last.status(), ServingStatus::NotServing);
    assert_eq!(soon(stream.message()).await.unwrap(), None);
    soon(node.served).await.unwrap();
}
