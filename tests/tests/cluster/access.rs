//! Tokens in a cluster: a change is in force on every node when the call returns, and secrets are stored nowhere.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use serde_json::Value;
use weldr_tests::{
    cluster::TestCluster,
    http1::Response,
    load::Load,
    origin::Origin,
    raw::{self, Client},
    wait,
};

async fn create(at: SocketAddr, name: &str, role: &str) -> String {
    let body = format!(r#"{{"name":"{name}","role":"{role}"}}"#);
    let created = raw::request(at, "POST", "/tokens", &body).await;
    assert_eq!(created.status, 201, "{created}");
    let json: Value = serde_json::from_str(&created.text()).unwrap();
    assert_eq!(json["unconfirmed"], Value::Array(vec![]), "{json}");
    json["token"].as_str().unwrap().to_owned()
}

async fn with_token(at: SocketAddr, target: &str, token: &str) -> Response {
    let mut client = Client::connect(at).await;
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {token}\r\n\r\n");
    client.send(request.as_bytes()).await;
    client.response("GET").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_in_force_everywhere_when_it_returns_and_costs_no_request() {
    let cluster = TestCluster::start(3).await;
    let origin = Origin::saying("hi");
    cluster.add(0, origin.address().port()).await.unwrap();
    for node in 0..3 {
        wait::until("the server to be served", async || {
            match raw::get(cluster.proxy(node), "/").await.status {
                200 => Ok(()),
                status => Err(status),
            }
        })
        .await;
    }
    let loads: Vec<_> = (0..3)
        .map(|node| Load::start(cluster.proxy(node), 4, "/"))
        .collect();
    // So that a call which does not wait for the third node returns before that node knows.
    cluster.slow(2, Duration::from_millis(100));
    for round in 0..5 {
        let name = format!("deploy-{round}");
        let token = create(cluster.management(round % 3), &name, "viewer").await;
        for node in 0..3 {
            let known = with_token(cluster.management(node), "/servers?stale=true", &token).await;
            assert_eq!(known.status, 200, "node {node} at once: {known}");
        }
        let at = cluster.management((round + 1) % 3);
        let revoked = raw::request(at, "DELETE", &format!("/tokens/{name}"), "").await;
        assert_eq!(revoked.status, 200, "{revoked}");
        for node in 0..3 {
            let gone = with_token(cluster.management(node), "/servers?stale=true", &token).await;
            assert_eq!(gone.status, 401, "node {node} at once: {gone}");
        }
    }
    for load in loads {
        load.passes(10).await;
        load.stop().await.assert_none_failed();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_confirm_a_revocation_is_named() {
    let mut cluster = TestCluster::start_direct(3).await;
    let token = create(cluster.management(0), "deploy", "viewer").await;
    cluster.kill(2).await;
    let left = cluster.leader_by(0).await;
    let revoked = cluster
        .weldrctl(left)
        .args(["token", "revoke", "deploy"])
        .run()
        .await;
    assert_eq!(revoked.code(), Some(4), "{revoked:?}");
    assert!(revoked.stderr.contains("c (127.0.0.13:"), "{revoked:?}");
    cluster.run(2).await;
    wait::until("the node to have caught up", async || {
        match with_token(cluster.management(2), "/servers?stale=true", &token)
            .await
            .status
        {
            401 => Ok(()),
            status => Err(status),
        }
    })
    .await;
}

/// Whether a file in `directory` contains `needle`.
fn is_in_files(directory: &Path, needle: &str) -> bool {
    let entries = fs::read_dir(directory).unwrap().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            return is_in_files(&path, needle);
        }
        let content = fs::read(&path).unwrap_or_default();
        let mut windows = content.windows(needle.len());
        windows.any(|window| window == needle.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_stored_nowhere_and_a_restore_brings_no_token_back() {
    let mut cluster = TestCluster::start_with(3, &["--log-format", "json"]).await;
    let token = create(cluster.management(0), "deploy", "admin").await;
    let secret = token.rsplit('_').next().unwrap()[..52].to_owned();
    let used = with_token(cluster.management(1), "/servers", &token).await;
    assert_eq!(used.status, 200, "{used}");
    let wrong = format!("{}x", &token[..token.len() - 1]);
    with_token(cluster.management(1), "/servers", &wrong).await;

    let backup = cluster
        .weldrctl(1)
        .args(["cluster", "backup", "-"])
        .run()
        .await;
    let backup = backup.expect_success();
    let history = cluster
        .weldrctl(2)
        .args(["history", "--output", "json"])
        .run()
        .await;
    let history = history.expect_success();
    assert!(history.contains("create token deploy"), "{history}");
    for (what, text) in [("the backup", &backup), ("the history", &history)] {
        assert!(!text.contains(&secret), "{what}");
        assert!(!text.contains("sha256"), "{what} has a digest");
    }
    let revision: Value = serde_json::from_str(&history).unwrap();
    let revision = revision["revision"].to_string();
    let revoke = cluster
        .weldrctl(0)
        .args(["token", "revoke", "deploy"])
        .run()
        .await;
    revoke.expect_success();
    let file = cluster.file("backup.json");
    fs::write(&file, &backup).unwrap();
    let restore = cluster.weldrctl(0).args(["cluster", "restore"]).arg(&file);
    restore.run().await.expect_success();
    let rollback = cluster
        .weldrctl(0)
        .args(["rollback", "--to-revision", &revision]);
    rollback.run().await.expect_success();
    for node in 0..3 {
        let gone = with_token(cluster.management(node), "/servers?stale=true", &token).await;
        assert_eq!(gone.status, 401, "node {node}: {gone}");
    }
    for node in 0..3 {
        let log = cluster.process(node).stderr();
        assert!(!log.contains(&secret), "the log of node {node}: {log}");
        cluster.terminate(node).await;
    }
    assert!(!is_in_files(&cluster.file(""), &secret), "a file has it");
    assert!(
        is_in_files(&cluster.file(""), "deploy"),
        "the files are searched"
    );
}
