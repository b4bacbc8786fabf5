//! What a cluster does while nodes are dead, stopped or cut off.

use std::time::{Duration, Instant};

use tonic::Code;
use weldr_tests::{
    cluster::TestCluster,
    origin::Origin,
    process::{Program, Signal},
    raw, wait,
};

/// Writes until it works: an election is under way.
async fn adds_in_the_end(cluster: &TestCluster, index: usize, port: u16) {
    wait::until(format!("a write at node {index}"), async || {
        let added = cluster.add(index, port).await;
        added.map_err(|error| error.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_go_on_when_the_leader_dies() {
    let mut cluster = TestCluster::start(3).await;
    cluster.add(0, 1001).await.unwrap();
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    // No retry: the call waits for the next leader.
    let other = cluster.running_nodes()[0];
    cluster.add(other, 1002).await.unwrap();
    for index in cluster.running_nodes() {
        assert_eq!(cluster.ports(index, false).await.unwrap(), [1001, 1002]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_nothing_changes_and_traffic_goes_on() {
    let origin = Origin::saying("still here");
    let mut cluster = TestCluster::start_direct(3).await;
    let port = origin.address().port();
    cluster.add(0, port).await.unwrap();
    wait::until("a response of the origin", async || {
        let response = raw::request(cluster.proxy(2), "GET", "/", "").await;
        if response.status == 200 {
            Ok(())
        } else {
            Err(response.status)
        }
    })
    .await;
    cluster.kill(0).await;
    cluster.kill(1).await;

    // A write that was on its way to the leader when it died may have got there; a later one did not.
    let refused = wait::until("a refusal that is sure", async || {
        let refused = cluster.add(2, 1002).await.unwrap_err();
        match refused.code() {
            Code::Unavailable => Ok(refused),
            Code::DeadlineExceeded => Err(refused),
            _ => panic!("{refused}"),
        }
    })
    .await;
    for part in [
        "no quorum",
        "a (127.0.0.11:",
        "b (127.0.0.12:",
        "nothing changed",
    ] {
        assert!(refused.message().contains(part), "{part}: {refused}");
    }
    let unsure = cluster.ports(2, false).await.unwrap_err();
    assert_eq!(unsure.code(), Code::Unavailable, "{unsure}");
    assert_eq!(cluster.ports(2, true).await.unwrap(), [port]);
    let response = raw::request(cluster.proxy(2), "GET", "/", "").await;
    assert_eq!(response.status, 200);
    let told = cluster.weldrctl(2).args(["cluster", "status"]).run().await;
    assert_eq!(told.code(), Some(1));
    assert!(told.stdout.contains("no response"), "{}", told.stdout);
    assert!(told.stdout.contains("no quorum"), "{}", told.stdout);

    // It starts without a quorum too, with what it had, however it ended.
    for killed in [true, false] {
        if killed {
            cluster.kill(2).await;
        } else {
            cluster.terminate(2).await;
        }
        cluster.run(2).await;
        assert_eq!(cluster.ports(2, true).await.unwrap(), [port]);
    }
    cluster.run(1).await;
    adds_in_the_end(&cluster, 2, 1003).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_leader_is_followed_by_another_and_falls_in_line() {
    let cluster = TestCluster::start(3).await;
    cluster.add(1, 1001).await.unwrap();
    let leader = cluster.leader().await;
    cluster.signal(leader, Signal::STOP);
    adds_in_the_end(&cluster, (leader + 1) % 3, 1002).await;
    cluster.signal(leader, Signal::CONT);
    // It still takes itself for the leader, and must not say so.
    assert_eq!(cluster.ports(leader, false).await.unwrap(), [1001, 1002]);
    cluster.add(leader, 1003).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_responses_nothing_stale() {
    let cluster = TestCluster::start(5).await;
    cluster.add(0, 1001).await.unwrap();
    let leader = cluster.leader().await;
    cluster.isolate(leader);
    let other = (leader + 1) % 5;
    adds_in_the_end(&cluster, other, 1002).await;
    let read = cluster.ports(leader, false).await;
    assert_eq!(read.unwrap_err().code(), Code::Unavailable);
    let written = cluster.add(leader, 1003).await.unwrap_err();
    let honest = matches!(written.code(), Code::Unavailable | Code::DeadlineExceeded);
    assert!(honest, "{written}");
    cluster.heal();
    wait::until("the old leader to catch up", async || {
        let ports = cluster
            .ports(leader, false)
            .await
            .map_err(|error| error.to_string())?;
        if ports.contains(&1002) {
            Ok(())
        } else {
            Err(format!("{ports:?}"))
        }
    })
    .await;
}

/// A follower that is heard and hears nothing must not disturb the others: it asks before it stands.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_hears_nobody_deposes_nobody() {
    let cluster = TestCluster::start(3).await;
    cluster.add(0, 1001).await.unwrap();
    let leader = cluster.leader().await;
    let deaf = (leader + 1) % 3;
    let before = cluster.status(leader).await.unwrap();
    for other in (0..3).filter(|other| *other != deaf) {
        cluster.cut_one_way(other, deaf);
    }
    // Long enough for it to want some elections.
    let begun = Instant::now();
    let mut port = 1002;
    while begun.elapsed() < Duration::from_secs(3) {
        cluster.add(leader, port).await.unwrap();
        port += 1;
    }
    let heard = cluster.ports(deaf, true).await.unwrap();
    assert!(heard.len() < 3, "{heard:?}");
    cluster.heal();
    let all: Vec<u16> = (1001..port).collect();
    wait::until("it to catch up", async || {
        match cluster.ports(deaf, false).await {
            Ok(ports) if ports == all => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let after = cluster.status(leader).await.unwrap();
    assert_eq!((after.leader, after.term), (before.leader, before.term));
}

/// Whoever is to lead is asked first, and nothing is given up for one that does not respond.
async fn a_transfer_fails_and_the_leader_goes_on(cluster: &TestCluster, leader: usize, to: usize) {
    let name = cluster.nodes[to].name.as_str();
    let own = cluster.nodes[leader].name.as_str();
    let before = cluster.status(leader).await.unwrap();
    let told = cluster.weldrctl(leader).args(["cluster", "transfer", name]);
    let told = told.run().await;
    assert_eq!(told.code(), Some(1), "{told:?}");
    let sentence = format!("{name} does not answer; {own} goes on leading");
    assert!(told.stderr.contains(&sentence), "{told:?}");
    let after = cluster.status(leader).await.unwrap();
    assert_eq!((after.leader, after.term), (before.leader, before.term));
    assert!(after.quorum);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_to_a_node_that_does_not_respond_changes_nothing() {
    let cluster = TestCluster::start(3).await;
    cluster.add(0, 1001).await.unwrap();
    let leader = cluster.leader().await;
    let [stopped, cut_off] = [(leader + 1) % 3, (leader + 2) % 3];
    cluster.signal(stopped, Signal::STOP);
    a_transfer_fails_and_the_leader_goes_on(&cluster, leader, stopped).await;
    cluster.add(leader, 1002).await.unwrap();
    cluster.signal(stopped, Signal::CONT);
    cluster.has_voters(3).await;
    cluster.isolate(cut_off);
    a_transfer_fails_and_the_leader_goes_on(&cluster, leader, cut_off).await;
    cluster.add(leader, 1003).await.unwrap();
    cluster.heal();
}

/// Also the successor that nobody named is one that responds.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_hands_over_to_a_node_that_lives() {
    let mut cluster = TestCluster::start(3).await;
    cluster.add(0, 1001).await.unwrap();
    let leader = cluster.leader().await;
    let [dead, alive] = [(leader + 1) % 3, (leader + 2) % 3];
    cluster.signal(dead, Signal::STOP);
    let said = cluster.terminate(leader).await;
    assert!(!said.contains("not handed over"), "{said}");
    let next = format!("leader=\"{}\"", cluster.nodes[alive].name);
    let told = |line: &str| line.contains("another node leads") && line.contains(&next);
    assert!(said.lines().any(told), "{said}");
    cluster.signal(dead, Signal::CONT);
    adds_in_the_end(&cluster, alive, 1002).await;
}

/// With a dead node in it, a cluster of two has no majority: the order of removals matters.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_leave_no_quorum_is_not_removed() {
    let mut cluster = TestCluster::start_direct(3).await;
    cluster.add(0, 1001).await.unwrap();
    assert_eq!(cluster.leader().await, 0);
    cluster.kill(2).await;
    std::fs::remove_dir_all(cluster.file("c")).unwrap();
    let remove =
        |cluster: &TestCluster, name: &str| cluster.weldrctl(1).args(["cluster", "remove", name]);
    let refused = remove(&cluster, "b").run().await;
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    let order = "Remove c first, which is down (weldrctl cluster remove c)";
    assert!(refused.stderr.contains(order), "{refused:?}");
    cluster.add(1, 1002).await.unwrap();

    // In the order that it told, both can be removed.
    remove(&cluster, "c").run().await;
    let from_a = cluster.weldrctl(0).args(["cluster", "remove", "b"]);
    from_a.run().await.expect_success();
    cluster.has_voters(1).await;
    cluster.add(0, 1003).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_nodes_without_a_quorum_names_those_that_are_missing() {
    let mut cluster = TestCluster::start_direct(3).await;
    cluster.leader().await;
    cluster.kill(0).await;
    cluster.kill(1).await;
    for change in ["remove", "transfer"] {
        let refused = cluster
            .weldrctl(2)
            .args(["cluster", change, "b"])
            .run()
            .await;
        assert_eq!(refused.code(), Some(3), "{refused:?}");
        for part in [
            "the cluster has no quorum",
            "a (127.0.0.11:",
            "b (127.0.0.12:",
            "nothing changed",
        ] {
            assert!(refused.stderr.contains(part), "{part}: {refused:?}");
        }
        for engine in ["tcp", "status:", "ForwardToLeader", "transport"] {
            assert!(!refused.stderr.contains(engine), "{engine}: {refused:?}");
        }
    }
}

/// One survivor goes on with what it has, in a new cluster to which the others do not belong.
#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_recovers_from_a_lost_majority() {
    const FLAG: &str = "--recover-from-lost-majority";
    let mut cluster = TestCluster::start_direct(3).await;
    cluster.add(0, 1001).await.unwrap();
    let before = cluster.status(0).await.unwrap().cluster;
    cluster.has_voters(3).await;
    cluster.terminate(2).await;
    let refused = cluster.program(2).arg(FLAG).run().await;
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    let sentence = "the majority of the cluster is not lost: a, b respond.";
    assert!(refused.stderr.contains(sentence), "{refused:?}");

    cluster.run(2).await;
    cluster.kill(0).await;
    cluster.kill(1).await;
    let backup = cluster.file("backup.json");
    let save = cluster.weldrctl(2).args(["cluster", "backup"]).arg(&backup);
    assert_eq!(save.run().await.code(), Some(3));
    let save = cluster.weldrctl(2).args(["cluster", "backup"]).arg(&backup);
    save.arg("--stale").run().await.expect_success();
    let saved = std::fs::read_to_string(&backup).unwrap();
    assert!(saved.contains("127.0.0.1:1001"), "{saved}");

    cluster.terminate(2).await;
    let mut survivor = cluster.program(2).arg(FLAG).start();
    survivor.logs("the only one of a new cluster now").await;
    let management = survivor.management_address().await;
    let endpoint = management.to_string();
    let weldrctl = || Program::new("weldrctl").args(["--endpoint", &endpoint]);
    weldrctl()
        .args(["add", "127.0.0.1:1002"])
        .run()
        .await
        .expect_success();
    let list = weldrctl().arg("list").run().await.expect_success();
    assert!(list.contains("127.0.0.1:1001"), "{list}");
    survivor.kill().await;

    // It goes on without the flag, and the lost nodes do not belong to it.
    cluster.run(2).await;
    let after = cluster.status(2).await.unwrap();
    assert_ne!(after.cluster, before);
    assert_eq!(after.nodes.len(), 1, "{after:?}");
    cluster.run(1).await;
    let own = cluster.status(1).await.unwrap();
    assert_eq!(own.cluster, before);
    assert!(!own.quorum, "{own:?}");
    assert_eq!(cluster.status(2).await.unwrap().nodes.len(), 1);
    cluster.add(2, 1003).await.unwrap();
}
