//! Removals of servers with and without running requests.

use prost_types::Duration as ProtoDuration;
use weldr_proto::v1;

use super::{node::TestNode, soon};

const ADDRESS: &str = "127.0.0.1:80";

async fn added(node: &TestNode) {
    let request = v1::AddServerRequest {
        address: ADDRESS.into(),
        ..v1::AddServerRequest::default()
    };
    node.client().add_server(request).await.unwrap();
}

async fn remove(node: &TestNode, deadline: Option<i64>) -> v1::RemoveServerResponse {
    let request = v1::RemoveServerRequest {
        address: ADDRESS.into(),
        deadline: deadline.map(|seconds| ProtoDuration { seconds, nanos: 0 }),
        ..v1::RemoveServerRequest::default()
    };
    let mut client = node.client();
    let response = soon(client.remove_server(request)).await;
    response.unwrap().into_inner()
}

#[tokio::test]
async fn an_idle_server_is_gone_when_the_call_returns() {
    let node = TestNode::start().await;
    added(&node).await;
    let response = remove(&node, None).await;
    assert!(response.removed);
    assert_eq!(response.server.unwrap().address, ADDRESS);
    assert!(
        node.snapshots
            .current()
            .pools
            .default_pool()
            .servers
            .is_empty()
    );
    assert_eq!(response.revision, 3, "added, draining, gone");
}

#[tokio::test]
async fn a_busy_server_drains_and_says_what_runs() {
    let node = TestNode::start().await;
    added(&node).await;
    let live = node.live(ADDRESS);
    live.shards.of(0).in_flight.rise();
    live.shards.of(0).in_flight.rise();
    let response = remove(&node, Some(60)).await;
    assert!(!response.removed);
    let server = response.server.unwrap();
    assert_eq!(server.in_flight, 2);
    assert_eq!(server.health.unwrap().state(), v1::HealthState::Draining);
    assert!(server.removal_deadline.is_some());
    let revision = remove(&node, None).await.revision;
    assert_eq!(revision, response.revision, "asking again changes nothing");
    live.shards.of(0).in_flight.fall();
    live.shards.of(0).in_flight.fall();
    let empty =
        |snapshot: &crate::snapshot::Snapshot| snapshot.pools.default_pool().servers.is_empty();
    soon(node.snapshots.wait_until(empty)).await.unwrap();
}

#[tokio::test]
async fn without_a_deadline_a_busy_server_is_gone_at_once() {
    let node = TestNode::start().await;
    added(&node).await;
    node.live(ADDRESS).shards.of(0).in_flight.rise();
    let response = remove(&node, Some(0)).await;
    assert!(response.removed);
    assert_eq!(response.server.unwrap().address, ADDRESS);
}

/// Zero running requests are final only after each worker has dropped its older snapshot.
#[tokio::test]
async fn a_worker_that_has_not_seen_the_removal_may_still_choose_the_server() {
    let node = TestNode::start().await;
    added(&node).await;
    let mut worker = node.worker();
    let response = remove(&node, None).await;
    assert!(
        !response.removed,
        "it drains until the worker says otherwise"
    );
    worker.acknowledge();
    let empty =
        |snapshot: &crate::snapshot::Snapshot| snapshot.pools.default_pool().servers.is_empty();
    soon(node.snapshots.wait_until(empty)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_added_again_is_kept() {
    let node = TestNode::start().await;
    added(&node).await;
    node.live(ADDRESS).shards.of(0).in_flight.rise();
    let draining = remove(&node, None).await.server.unwrap();
    added(&node).await;
    let request = v1::GetServerRequest {
        address: ADDRESS.into(),
        ..Default::default()
    };
    let kept = node.client().get_server(request).await.unwrap();
    let kept = kept.into_inner().server.unwrap();
    assert_eq!(kept.id, draining.id);
    assert_eq!(kept.removal_deadline, None);
    assert_eq!(kept.in_flight, 1);
}
