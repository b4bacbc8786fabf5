//! What is known of the pool over all nodes: its history, its backups, its health, what runs on it.

use serde_json::Value;
use weldr_proto::v1::{PoolSettings, UpdatePoolRequest};
use weldr_tests::{cluster::TestCluster, origin::Origin, raw, serve, wait};

async fn json(cluster: &TestCluster, index: usize, args: &[&str]) -> Value {
    let told = cluster
        .weldrctl(index)
        .args(["--output", "json"])
        .args(args)
        .run()
        .await;
    serde_json::from_str(&told.expect_success()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_revision_is_brought_back_by_a_new_one() {
    let cluster = TestCluster::start(3).await;
    for port in [1001, 1002] {
        cluster.add(0, port).await.unwrap();
    }
    let set = ["set", "127.0.0.1:1001", "--weight", "7"];
    cluster.weldrctl(1).args(set).run().await.expect_success();
    cluster
        .weldrctl(1)
        .args(["remove", "--now", "127.0.0.1:1002"])
        .run()
        .await
        .expect_success();
    cluster.add(2, 1003).await.unwrap();
    let history = json(&cluster, 2, &["history"]).await;
    let told: Vec<String> = history["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| format!("{} {}", event["revision"], event["what"].as_str().unwrap()))
        .collect();
    // The other nodes joined before the first change.
    let (changes, members) = told.split_at(5);
    let joined = |name: &str| format!("0 node {name} (127.0.0.1:");
    assert!(members[1].starts_with(&joined("c")), "{members:?}");
    assert!(members[3].starts_with(&joined("b")), "{members:?}");
    assert_eq!(
        changes,
        [
            "5 add 127.0.0.1:1003",
            "4 remove 127.0.0.1:1002",
            "3 set 127.0.0.1:1001 weight 7",
            "2 add 127.0.0.1:1002",
            "1 add 127.0.0.1:1001",
        ]
    );
    let back = cluster
        .weldrctl(1)
        .args(["rollback", "--to-revision", "2"])
        .run()
        .await;
    let said = back.expect_success();
    assert!(
        said.starts_with("the servers and pool settings of revision 2 were restored, revision"),
        "{said}"
    );
    wait::until("1003 to be gone", async || {
        match cluster.ports(0, false).await {
            Ok(ports) if ports == [1001, 1002] => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let list = json(&cluster, 2, &["get", "127.0.0.1:1001"]).await;
    assert_eq!(list["servers"][0]["weight"], 1);
    let forgotten = cluster
        .weldrctl(1)
        .args(["rollback", "--to-revision", "999"])
        .run()
        .await;
    assert_eq!(forgotten.code(), Some(1));
    assert!(
        forgotten.stderr.contains("remembered are 0 to"),
        "{}",
        forgotten.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_makes_another_cluster_the_same() {
    let (first, second) = tokio::join!(TestCluster::start(1), TestCluster::start(1));
    for port in [1001, 1002] {
        first.add(0, port).await.unwrap();
    }
    second.add(0, 1009).await.unwrap();
    let file = first.file("backup");
    let path = file.to_str().unwrap();
    first
        .weldrctl(0)
        .args(["cluster", "backup", path])
        .run()
        .await
        .expect_success();
    second
        .weldrctl(0)
        .args(["cluster", "restore", path])
        .run()
        .await
        .expect_success();
    wait::until("the pool of the backup", async || {
        match second.ports(0, false).await {
            Ok(ports) if ports == [1001, 1002] => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    std::fs::write(&file, "{}").unwrap();
    let refused = second
        .weldrctl(0)
        .args(["cluster", "restore", path])
        .run()
        .await;
    assert_eq!(refused.code(), Some(1));
    assert!(
        refused.stderr.contains("not a backup of weldr"),
        "{}",
        refused.stderr
    );
}

/// A request that runs through one node keeps a server in the pool that is removed at another.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_waits_for_what_runs_through_any_node() {
    let (finish, finished) = tokio::sync::watch::channel(false);
    let (arrive, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let origin = Origin::serve(move |_| {
        let mut finished = finished.clone();
        arrive.send(()).unwrap();
        async move {
            finished.wait_for(|finished| *finished).await.unwrap();
            serve::response(200, "done")
        }
    });
    let cluster = TestCluster::start(3).await;
    let port = origin.address().port();
    cluster.add(0, port).await.unwrap();
    // The check of the default pool only connects, so the origin is healthy though it does not respond.
    wait::until("a healthy server at c", async || {
        let seen = json(&cluster, 2, &["list", "--stale"]).await;
        match &seen["servers"][0]["health"]["state"] {
            state if state == "healthy" => Ok(()),
            state => Err(state.to_string()),
        }
    })
    .await;
    let request = tokio::spawn(raw::get(cluster.proxy(2), "/"));
    wait::bounded("the request at the origin", arrived.recv()).await;
    let address = format!("127.0.0.1:{port}");
    let removed = cluster
        .weldrctl(0)
        .args(["remove", &address])
        .run()
        .await
        .expect_success();
    assert!(removed.contains("draining"), "{removed}");
    assert_eq!(
        cluster.ports(1, false).await.unwrap(),
        [port],
        "it still runs at c"
    );
    finish.send_replace(true);
    assert_eq!(request.await.unwrap().status, 200);
    wait::until("the server to be gone", async || {
        match cluster.ports(1, false).await {
            Ok(ports) if ports.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_says_what_it_sees() {
    let origin = Origin::saying("well");
    let mut cluster = TestCluster::start(3).await;
    cluster.add(0, origin.address().port()).await.unwrap();
    wait::until("three healthy views", async || {
        let seen = json(&cluster, 1, &["list", "--all-nodes"]).await;
        let nodes = seen["servers"][0]["nodes"].as_array();
        let nodes = nodes.cloned().unwrap_or_default();
        let healthy = |node: &Value| node["health"]["state"] == "healthy";
        if nodes.len() == 3 && nodes.iter().all(healthy) {
            return Ok(());
        }
        Err(format!("{seen}"))
    })
    .await;
    cluster.kill(2).await;
    let table = cluster
        .weldrctl(0)
        .args(["list", "--all-nodes"])
        .run()
        .await
        .expect_success();
    assert!(table.contains("no response"), "{table}");
}

/// A server that only one of three nodes cannot reach stays; one that all see dead goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_is_removed_when_most_see_it_dead() {
    let cluster = TestCluster::start(3).await;
    let settings = PoolSettings {
        deregister_after: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..PoolSettings::default()
    };
    let request = UpdatePoolRequest {
        settings: Some(settings),
        ..UpdatePoolRequest::default()
    };
    cluster.client(1).update_pool(request).await.unwrap();
    let interval = ["pool", "set", "--check-interval", "100ms"];
    cluster
        .weldrctl(1)
        .args(interval)
        .run()
        .await
        .expect_success();
    // Nothing listens on a port that was just let go of.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    cluster.add(2, port).await.unwrap();
    wait::until("the dead server to be gone", async || {
        match cluster.ports(1, false).await {
            Ok(ports) if ports.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let history = json(&cluster, 0, &["history"]).await;
    let who = &history["events"].as_array().unwrap();
    let removed = who
        .iter()
        .find(|event| event["what"].as_str().unwrap().starts_with("remove"));
    assert_eq!(
        removed.unwrap()["from"],
        "a",
        "the leader has done it: {history}"
    );
}
