//! Keys and secrets are replaced while everything runs.

use weldr_tests::{cluster::TestCluster, load::Load, origin::Origin, process::Signal};

/// A cluster of three with a server, and clients of each node.
async fn under_load() -> (TestCluster, Origin, Vec<Load>) {
    let origin = Origin::saying("hi");
    let cluster = TestCluster::start(3).await;
    cluster.add(0, origin.address().port()).await.unwrap();
    let mut loads = Vec::new();
    for node in 0..3 {
        cluster.ports(node, false).await.unwrap();
        loads.push(Load::start(cluster.proxy(node), 2, "/"));
    }
    (cluster, origin, loads)
}

async fn assert_none_failed(loads: Vec<Load>) {
    for load in loads {
        load.stop().await.assert_none_failed();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_is_replaced_and_no_request_fails() {
    let (mut cluster, _origin, loads) = under_load().await;
    let term = cluster.status(0).await.unwrap().term;
    for (at, name) in [(0, "a"), (0, "b"), (1, "c")] {
        let before = std::fs::read(
            cluster
                .data_dir(usize::from(name.as_bytes()[0] - b'a'))
                .join("node.key"),
        );
        let rotate = cluster.weldrctl(at).args(["cluster", "rotate-key", name]);
        let printed = rotate.run().await.expect_success();
        assert!(printed.contains("has a new key"), "{printed}");
        let after = std::fs::read(
            cluster
                .data_dir(usize::from(name.as_bytes()[0] - b'a'))
                .join("node.key"),
        );
        assert_ne!(before.unwrap(), after.unwrap());
        // Changes go on, at the node with the new key and at another.
        let port = 1000 + u16::from(name.as_bytes()[0]);
        cluster
            .add(usize::from(name.as_bytes()[0] - b'a'), port)
            .await
            .unwrap();
        cluster.add(2, port + 100).await.unwrap();
    }
    assert_eq!(
        cluster.status(0).await.unwrap().term,
        term,
        "no leader was lost"
    );
    assert_none_failed(loads).await;
    // The new key is the one on disk.
    cluster.kill(1).await;
    cluster.run(1).await;
    cluster.add(1, 1001).await.unwrap();
    // With a node that is down, nothing is replaced.
    cluster.kill(2).await;
    let rotate = cluster.weldrctl(0).args(["cluster", "rotate-key", "a"]);
    let refused = rotate.run().await;
    assert!(
        refused.stderr.contains("c does not know the new key"),
        "{refused:?}"
    );
    cluster.add(0, 1002).await.unwrap();
    cluster.run(2).await;
    cluster.add(2, 1003).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_replaced_node_by_node_and_no_request_fails() {
    let (cluster, _origin, loads) = under_load().await;
    let (old, new) = ("open sesame, open sesame", "open poppyseed, open poppyseed");
    let secret = cluster.file("secret");
    let joins = async |name: &str, with: &str| {
        let path = cluster.file(name);
        std::fs::write(&path, with).unwrap();
        let file = ["--cluster-secret-file", path.to_str().unwrap()];
        let mut ran = cluster.guest(name, &file).start();
        // It votes when it is managed.
        ran.management_address().await;
        cluster.has_voters(4).await;
        ran.kill().await;
        let remove = cluster
            .weldrctl(0)
            .args(["cluster", "remove", name, "--force"]);
        remove.run().await.expect_success();
    };
    for lines in [format!("{new}\n{old}\n"), format!("{new}\n")] {
        std::fs::write(&secret, &lines).unwrap();
        for node in 0..3 {
            let reloads = |node: usize| {
                let stderr = cluster.process(node).stderr();
                stderr.matches("reloaded: the secret").count()
            };
            let before = reloads(node);
            cluster.signal(node, Signal::HUP);
            weldr_tests::wait::until("the secret to be read", async || match reloads(node) {
                now if now > before => Ok(()),
                now => Err(now),
            })
            .await;
        }
        joins("with-new", new).await;
        if lines.contains(old) {
            joins("with-old", old).await;
        }
    }
    let path = cluster.file("late");
    std::fs::write(&path, old).unwrap();
    let file = ["--cluster-secret-file", path.to_str().unwrap()];
    let late = cluster.guest("late", &file).run().await;
    let sentence = "does not prove that it has the secret";
    assert!(late.stderr.contains(sentence), "{late:?}");
    assert_none_failed(loads).await;
    cluster.add(0, 1001).await.unwrap();
}
