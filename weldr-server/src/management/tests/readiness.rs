//! How readiness is shown.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};

use super::{http::ask, node::TestNode, soon};
use crate::{
    clock::dates,
    readiness::{Code, Readiness, Reason, Status},
};

#[tokio::test]
async fn readyz_says_which() {
    let node = TestNode::start().await;
    for (told, status, word) in [
        (Status::Starting, 503, "starting"),
        (Status::Ready, 200, "ready"),
        (Status::Unready, 503, "unready"),
        (Status::Outdated, 503, "outdated"),
        (Status::Stopping, 503, "stopping"),
    ] {
        node.readiness.send_replace(Readiness::of(told));
        let response = ask(node.address, "GET", "/readyz").await;
        assert_eq!(
            (response.status.as_u16(), response.json()),
            (status, json!({"status": word, "reasons": []}))
        );
        assert_eq!(ask(node.address, "GET", "/healthz").await.status, 200);
    }
}

#[tokio::test]
async fn readyz_says_why() {
    let node = TestNode::start().await;
    let at = |second| UNIX_EPOCH + Duration::from_secs(second);
    let shown = |second| weldr_proto::json::time(Some(dates::shown(at(second)).into()));
    let reason = |code, description: &str, second| Reason {
        code,
        description: description.to_owned(),
        since: at(second),
    };
    node.readiness.send_replace(Readiness {
        reasons: vec![
            reason(Code::TaskStalled, "worker 3 makes no progress", 60),
            reason(Code::DiskFailed, "no space left", 3600),
        ],
        ..Readiness::of(Status::Unready)
    });
    let response = ask(node.address, "GET", "/readyz").await;
    assert_eq!(response.status, 503);
    let reasons = json!([
        {
            "code": "task_stalled",
            "description": "worker 3 makes no progress",
            "since": shown(60),
        },
        {
            "code": "disk_failed",
            "description": "no space left",
            "since": shown(3600),
        },
    ]);
    assert_eq!(
        response.json(),
        json!({"status": "unready", "reasons": reasons})
    );
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
        for (told, status) in [
            (Status::Ready, ServingStatus::Serving),
            (Status::Unready, ServingStatus::NotServing),
            (Status::Ready, ServingStatus::Serving),
            (Status::Stopping, ServingStatus::NotServing),
            (Status::Ready, ServingStatus::Serving),
        ] {
            node.readiness.send_replace(Readiness::of(told));
            let is = |response: HealthCheckResponse| response.status() == status;
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
