//! Nodes join, leave, hand over and come back.

use weldr_tests::{cluster::TestCluster, process::Program, raw, wait};

async fn lists(cluster: &TestCluster, index: usize, expected: &[u16]) {
    assert_eq!(
        cluster.ports(index, false).await.unwrap(),
        expected,
        "at node {index}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_keep_one_pool() {
    let mut cluster = TestCluster::start(3).await;
    for index in 0..3 {
        let port = 1001 + u16::try_from(index).unwrap();
        let revision = cluster.add(index, port).await.unwrap();
        assert_eq!(revision, u64::from(port - 1000));
        for other in 0..3 {
            let all: Vec<u16> = (1001..=port).collect();
            lists(&cluster, other, &all).await;
        }
    }
    let told = cluster.weldrctl(1).args(["cluster", "status"]).run().await;
    let table = told.expect_success();
    assert!(table.starts_with("NODE  ADDRESS"), "{table}");
    for row in [
        "a  ",
        "b  ",
        "c  ",
        "leader",
        "follower",
        "quorum, led by a;",
    ] {
        assert!(table.contains(row), "{row}: {table}");
    }
    // A node that was away comes back to what the others have done since.
    cluster.kill(2).await;
    cluster.add(0, 1004).await.unwrap();
    cluster.run(2).await;
    lists(&cluster, 2, &[1001, 1002, 1003, 1004]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_hands_over_first() {
    let mut cluster = TestCluster::start(3).await;
    let first = cluster.leader().await;
    let status = cluster.status(first).await.unwrap();
    let log = cluster.terminate(first).await;
    assert!(!log.contains("not handed over"), "{log}");
    let leader = cluster.leader().await;
    assert_ne!(leader, first);
    cluster.add(leader, 1001).await.unwrap();
    let term = cluster.status(leader).await.unwrap().term;
    assert_eq!(term, status.term + 1, "one election, and no wait for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leadership_goes_where_it_is_sent() {
    let cluster = TestCluster::start(3).await;
    let next = (cluster.leader().await + 1) % 3;
    let name = &cluster.nodes[next].name;
    let transfer = cluster.weldrctl(1).args(["cluster", "transfer", name]);
    let table = transfer.run().await.expect_success();
    assert!(
        table.contains(&format!("quorum, led by {name};")),
        "{table}"
    );
    let nobody = cluster
        .weldrctl(1)
        .args(["cluster", "transfer", "z"])
        .run()
        .await;
    assert_eq!(nobody.code(), Some(1));
    assert!(
        nobody.stderr.contains("there is no node z"),
        "{}",
        nobody.stderr
    );
}

/// A node that lost its data is another node: under its old name it is refused until the old one is removed.
#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_node_says_how_it_is_healed() {
    let mut cluster = TestCluster::start(3).await;
    cluster.add(0, 1001).await.unwrap();
    cluster.kill(1).await;
    std::fs::remove_dir_all(cluster.file("b")).unwrap();
    let refused = cluster.program(1).run().await;
    assert_eq!(refused.code(), Some(1));
    let healing = "`weldrctl cluster remove b` at another node, then start this one again";
    assert!(refused.stderr.contains(healing), "{}", refused.stderr);

    let removed = cluster
        .weldrctl(2)
        .args(["cluster", "remove", "b"])
        .run()
        .await;
    removed.expect_success();
    cluster.run(1).await;
    cluster.has_voters(3).await;
    lists(&cluster, 1, &[1001]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_restarts_in_place_is_back_without_an_election() {
    let mut cluster = TestCluster::start(3).await;
    let leader = cluster.leader().await;
    let before = cluster.status(leader).await.unwrap();
    let follower = (leader + 1) % 3;
    for killed in [false, true, false] {
        if killed {
            cluster.kill(follower).await;
        } else {
            cluster.terminate(follower).await;
        }
        cluster.run(follower).await;
        cluster.has_voters(3).await;
        let after = cluster.status(leader).await.unwrap();
        assert_eq!(
            (after.leader, after.term),
            (before.leader.clone(), before.term)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_removed_over_rest() {
    let cluster = TestCluster::start(3).await;
    let delete = async |path: &str| {
        let response = raw::request(cluster.management(0), "DELETE", path, "").await;
        (
            response.status,
            String::from_utf8_lossy(&response.body).into_owned(),
        )
    };
    let (status, body) = delete("/cluster/nodes/c?forse=true").await;
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("forse"), "{body}");
    let (status, body) = delete("/cluster/nodes/z").await;
    assert_eq!(status, 404, "{body}");
    let (status, body) = delete("/cluster/nodes/c").await;
    assert_eq!((status, body.as_str()), (200, r#"{"removed":true}"#));
    cluster.has_voters(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_starts_as_ever_and_can_have_others_later() {
    let mut alone = Program::weldr_bare().start();
    let management = alone.management_address().await;
    let add = |address: &str| {
        let endpoint = management.to_string();
        Program::new("weldrctl").args(["--endpoint", &endpoint, "add", address])
    };
    add("127.0.0.1:1001").run().await.expect_success();
    let endpoint = management.to_string();
    let status = Program::new("weldrctl")
        .args([
            "--endpoint",
            &endpoint,
            "--output",
            "json",
            "cluster",
            "status",
        ])
        .run()
        .await
        .expect_success();
    assert!(status.contains("\"quorum\": true"), "{status}");
    assert!(status.contains("\"role\": \"leader\""), "{status}");
    alone.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_all_keeps_everything() {
    let mut cluster = TestCluster::start(3).await;
    for port in 1001..1020 {
        cluster.add(usize::from(port % 3), port).await.unwrap();
    }
    for index in 0..3 {
        cluster.kill(index).await;
    }
    for index in 0..3 {
        cluster.run(index).await;
    }
    let all: Vec<u16> = (1001..1020).collect();
    wait::until("the pool at every node", async || {
        for index in 0..3 {
            match cluster.ports(index, false).await {
                Ok(ports) if ports == all => {}
                other => return Err(format!("{other:?}")),
            }
        }
        Ok(())
    })
    .await;
}
