//! Values that are out of their range, by every way that a change can come.

use serde_json::{Value, json};
use tonic::Code;
use weldr_proto::v1::{self, cluster_client::ClusterClient};

use super::node::TestNode;

/// A backup of a pool with one server, which the API accepts.
async fn backup(node: &TestNode) -> Value {
    let add = v1::AddServerRequest {
        address: "10.0.0.1:80".to_owned(),
        check: Some(v1::HealthCheck {
            r#type: Some(v1::health_check::Type::Http(v1::HttpCheck::default())),
            ..v1::HealthCheck::default()
        }),
        ..v1::AddServerRequest::default()
    };
    node.client().add_server(add).await.unwrap();
    let mut cluster = ClusterClient::new(node.channel());
    let backup = cluster.backup(v1::BackupRequest::default()).await;
    serde_json::from_slice(&backup.unwrap().into_inner().file).unwrap()
}

async fn restore(node: &TestNode, file: &Value) -> Result<(), tonic::Status> {
    let file = serde_json::to_vec(file).unwrap();
    let mut cluster = ClusterClient::new(node.channel());
    cluster.restore(v1::RestoreRequest { file }).await.map(drop)
}

#[tokio::test]
async fn a_backup_is_validated_like_a_call() {
    let node = TestNode::start().await;
    let backup = backup(&node).await;
    restore(&node, &backup).await.unwrap();
    let revision = node.snapshots.current().revision;
    let zero = || json!({ "secs": 0, "nanos": 0 });
    let server = "/pools/0/servers/0";
    for (pointer, value, field) in [
        ("address", json!("0.0.0.0:80"), "file.servers.address"),
        ("address", json!("239.1.1.1:80"), "file.servers.address"),
        (
            "address",
            json!("255.255.255.255:80"),
            "file.servers.address",
        ),
        ("address", json!("10.0.0.1:0"), "file.servers.address"),
        (
            "address",
            json!("169.254.169.254:80"),
            "file.servers.address",
        ),
        ("weight", json!(60_000), "file.servers.weight"),
        ("check/interval", zero(), "file.servers.check.interval"),
        (
            "check/kind/http/path",
            json!("/\u{1b}\r\nX: y"),
            "file.servers.check.http.path",
        ),
        (
            "check/kind/http/host",
            json!("a".repeat(5_000)),
            "file.servers.check.http.host",
        ),
    ] {
        let mut changed = backup.clone();
        *changed.pointer_mut(&format!("{server}/{pointer}")).unwrap() = value;
        let refused = restore(&node, &changed).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        let text = refused.message();
        assert!(text.starts_with(&format!("{field}: ")), "{text}");
        assert!(!text.contains(['\u{1b}', '\r', '\n']), "{text:?}");
        assert!(text.len() < 500, "{text}");
    }
    let mut changed = backup.clone();
    *changed
        .pointer_mut("/pools/0/settings/check/interval")
        .unwrap() = zero();
    let refused = restore(&node, &changed).await.unwrap_err();
    assert!(
        refused
            .message()
            .starts_with("file.settings.check.interval: "),
        "{refused}"
    );
    assert_eq!(node.snapshots.current().revision, revision);
}
