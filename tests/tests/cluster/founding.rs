//! Founding is explicit, and two clusters that see each other say so.

use weldr_proto::v1::UnreadyCode;
use weldr_tests::{
    cluster::TestCluster,
    process::{Program, Signal},
    raw, wait,
};

/// Waits until a node gives this reason not to be ready, by its own status.
async fn is_unready(cluster: &TestCluster, index: usize, code: UnreadyCode) {
    let name = &cluster.nodes[index].name;
    wait::until(format!("{code:?} of {name}"), async || {
        let status = cluster.status(index).await;
        let status = status.map_err(|error| error.to_string())?;
        let node = status.nodes.iter().find(|node| node.name == *name);
        let readiness = node.and_then(|node| node.readiness.as_ref());
        let mut reasons = readiness.iter().flat_map(|told| &told.reasons);
        if reasons.any(|reason| reason.code() == code) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    let ready = raw::request(cluster.management(index), "GET", "/readyz", "").await;
    assert_eq!(ready.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_founded_by_omission() {
    let refused = Program::weldr()
        .args(["--node-name", "a", "--cluster", "127.0.0.1:0"])
        .run()
        .await;
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    for part in ["--join ADDR joins", "--found-cluster founds"] {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    let both = Program::weldr()
        .args(["--cluster", "127.0.0.1:0", "--found-cluster"])
        .args(["--join", "127.0.0.1:1"])
        .run()
        .await;
    assert_eq!(both.code(), Some(2), "{both:?}");
    assert!(both.stderr.contains("contradict"), "{both:?}");
}

/// The same command as at its first start, with the data gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_founder_founds_no_second_cluster() {
    let mut cluster = TestCluster::start_direct(3).await;
    cluster.kill(0).await;
    std::fs::remove_dir_all(cluster.file("a")).unwrap();
    for removed in [false, true] {
        if removed {
            cluster.leader_by(1).await;
            let remove = cluster.weldrctl(1).args(["cluster", "remove", "a"]);
            let removed = remove.run().await;
            assert!(removed.stderr.is_empty(), "{removed:?}");
        }
        let refused = cluster.program(0).run().await;
        assert_eq!(refused.code(), Some(1), "{refused:?}");
        let sentence = "no cluster is founded: a node at 127.0.0.1";
        assert!(refused.stderr.contains(sentence), "{refused:?}");
        std::fs::remove_dir_all(cluster.file("a")).unwrap();
    }
}

/// While the others cannot call, the wiped founder founds a cluster after all.
#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_say_so_and_the_lesser_one_is_not_ready() {
    let mut cluster = TestCluster::start_direct(3).await;
    cluster.kill(0).await;
    std::fs::remove_dir_all(cluster.file("a")).unwrap();
    cluster.leader_by(1).await;
    let remove = cluster.weldrctl(1).args(["cluster", "remove", "a"]);
    remove.run().await.expect_success();
    for survivor in [1, 2] {
        cluster.signal(survivor, Signal::STOP);
    }
    cluster.run(0).await;
    for survivor in [1, 2] {
        cluster.signal(survivor, Signal::CONT);
    }
    for node in [0, 1] {
        let text = "there are two clusters with the same secret";
        cluster.process(node).logs(text).await;
    }
    is_unready(&cluster, 0, UnreadyCode::OtherCluster).await;
    // It was stopped a moment ago.
    wait::until("the survivors to be ready", async || {
        let ready = raw::request(cluster.management(1), "GET", "/readyz", "").await;
        (ready.status == 200).then_some(()).ok_or(ready.status)
    })
    .await;
    wait::until("the status of the survivors", async || {
        let status = cluster.weldrctl(1).args(["cluster", "status"]).run().await;
        if status.stdout.contains("sees another cluster") && status.code() == Some(4) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_says_so_also_after_a_restart() {
    let mut cluster = TestCluster::start(3).await;
    cluster.add(0, 1001).await.unwrap();
    let remove = cluster.weldrctl(0).args(["cluster", "remove", "c"]);
    remove.run().await.expect_success();
    cluster
        .process(2)
        .logs("this node was removed from the cluster")
        .await;
    is_unready(&cluster, 2, UnreadyCode::Removed).await;
    cluster.terminate(2).await;
    cluster.run(2).await;
    is_unready(&cluster, 2, UnreadyCode::Removed).await;
    let status = cluster.weldrctl(0).args(["cluster", "status"]).run().await;
    assert_eq!(status.code(), Some(0), "{status:?}");
    let history = cluster.weldrctl(0).arg("history").run().await;
    let history = history.expect_success();
    for part in ["node c (", ") joins", "node c votes", ") removed"] {
        assert!(history.contains(part), "{part}: {history}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_respond_is_logged_and_when_it_is_back() {
    let mut cluster = TestCluster::start(3).await;
    cluster.kill(2).await;
    let lines = |cluster: &TestCluster, text: &str| {
        let stderr = cluster.process(0).stderr();
        stderr.matches(text).count()
    };
    cluster.process(0).logs("a node does not respond").await;
    cluster.run(2).await;
    cluster.process(0).logs("a node responds again").await;
    assert_eq!(lines(&cluster, "a node does not respond"), 1);
    assert_eq!(lines(&cluster, "a node responds again"), 1);
}
