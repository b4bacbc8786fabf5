//! Three machines whose `weldr` form a cluster, and a client that keeps asking through their address while the leader
//! is killed, cut off, stopped, moved or restarted. What it lost and for how long is printed.

mod operators;

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use super::*;
use weldr_tests::{address_clients::*, address_cluster::*};

#[tokio::test]
async fn the_address_leaves_a_leader_that_is_killed() {
    let Some(mut cluster) = AddressCluster::start().await else {
        return;
    };
    let old = cluster.holder().await;
    let observation = cluster.observe().await;
    cluster.nodes[old].take().unwrap().kill().await;
    cluster.moves_from(old).await;
    observation.assert_one_at_a_time("killed", &cluster).await;
    // And it does not come back with the node.
    let observation = cluster.observe_patiently().await;
    cluster.run(old).await;
    cluster.is_whole().await;
    assert!(!cluster.machines[old].has(ip()));
    let asked = observation
        .assert_one_at_a_time("back again", &cluster)
        .await;
    assert!(asked.failed.is_empty(), "{asked:?}");
}

/// The lease of this profile is 1.8 s, which would be waited for if the guard did not tell of the death.
#[tokio::test]
async fn the_address_of_a_leader_that_is_killed_is_back_long_before_its_lease_is_over() {
    let Some(mut cluster) = AddressCluster::start_with(&["--failover", "wan"]).await else {
        return;
    };
    let old = cluster.holder().await;
    let observation = cluster.observe().await;
    cluster.nodes[old].take().unwrap().kill().await;
    cluster.moves_from(old).await;
    let asked = observation.assert_one_at_a_time("killed", &cluster).await;
    let silence = asked.longest_silence();
    let logs: String = cluster
        .nodes
        .iter()
        .flatten()
        .map(Process::stderr)
        .collect();
    assert!(silence < Duration::from_millis(1200), "{silence:?}\n{logs}");
    assert!(
        logs.contains("the process of the leader has died, its guard says"),
        "{logs}"
    );
}

#[tokio::test]
async fn the_address_leaves_a_leader_whose_network_is_lost() {
    let Some(cluster) = AddressCluster::start().await else {
        return;
    };
    let old = cluster.holder().await;
    let observation = cluster.observe().await;
    cluster.lan.isolate(&cluster.machines[old], true);
    cluster.moves_from(old).await;
    assert!(!cluster.machines[old].has(ip()));
    cluster.lan.isolate(&cluster.machines[old], false);
    cluster.is_whole().await;
    observation.assert_one_at_a_time("isolated", &cluster).await;
}

/// The established connections to the virtual address in the namespace of this thread.
fn open_connections() -> usize {
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default();
    // 10.0.0.100:8080, and the state.
    let is_open = |line: &&str| line.contains(" 6400000A:1F90 ") && line.contains(" 01 ");
    table.lines().filter(is_open).count()
}

/// Asks for a response that takes `millis`, and tells how the connection ended.
fn ask_slowly(millis: u32) -> (std::io::Result<String>, Duration) {
    let begun = Instant::now();
    let ask = || {
        let address = SocketAddr::new(ip(), 8080);
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let head = format!("GET /delay/{millis}ms HTTP/1.1\r\nHost: example.com\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    (ask(), begun.elapsed())
}

#[tokio::test]
async fn the_last_holder_keeps_the_address_without_a_quorum_where_that_is_wanted() {
    let options = ["--vip-on-lost-quorum", "keep"];
    let Some(mut cluster) = AddressCluster::start_with(&options).await else {
        return;
    };
    let holder = cluster.holder().await;
    for node in (0..NAMES.len()).filter(|node| *node != holder) {
        cluster.nodes[node].take().unwrap().kill().await;
    }
    cluster
        .process(holder)
        .logs("the virtual address is kept")
        .await;
    responds(&cluster.client).await;
    assert!(cluster.machines[holder].has(ip()));
    // When the others are back, one holds it, with a quorum.
    for node in (0..NAMES.len()).filter(|node| *node != holder) {
        cluster.run(node).await;
    }
    cluster.is_whole().await;
    responds(&cluster.client).await;
}

#[tokio::test]
async fn requests_that_last_longer_than_a_move_end_with_it() {
    let Some(cluster) = AddressCluster::start().await else {
        return;
    };
    let old = cluster.holder().await;
    let new = NAMES[(old + 1) % NAMES.len()];
    let waiting: Vec<_> = (0..6)
        .map(|_| cluster.client.namespace().run(|| ask_slowly(8000)))
        .collect();
    wait::until("six connections", async || {
        let open = cluster.machines[old].namespace().run(open_connections);
        let open = open.join().unwrap();
        if open == 6 { Ok(()) } else { Err(open) }
    })
    .await;
    let moved = cluster.ctl(old, &["transfer", new]).await;
    assert_eq!(moved.code(), Some(0), "{moved:?}");
    for client in waiting {
        let (answer, took) = client.join().unwrap();
        let error = answer.expect_err("the response is not there in time");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "after {took:?}");
        assert!(took < Duration::from_secs(7), "{took:?}");
    }
    responds(&cluster.client).await;
}

#[tokio::test]
async fn the_address_leaves_a_leader_that_is_cut_off() {
    let Some(cluster) = AddressCluster::start().await else {
        return;
    };
    let old = cluster.holder().await;
    let observation = cluster.observe().await;
    cluster.lan.connect(&cluster.machines[old], false);
    cluster.moves_from(old).await;
    assert!(!cluster.machines[old].has(ip()));
    cluster.lan.connect(&cluster.machines[old], true);
    cluster.is_whole().await;
    observation.assert_one_at_a_time("cut off", &cluster).await;
}

#[tokio::test]
async fn the_address_leaves_a_leader_that_is_stopped() {
    let Some(cluster) = AddressCluster::start().await else {
        return;
    };
    let old = cluster.holder().await;
    let observation = cluster.observe().await;
    cluster.process(old).signal(Signal::STOP);
    cluster.moves_from(old).await;
    cluster.process(old).signal(Signal::CONT);
    cluster.is_whole().await;
    observation.assert_one_at_a_time("stopped", &cluster).await;
}

#[tokio::test]
async fn the_address_moves_with_the_leadership() {
    let Some(cluster) = AddressCluster::start().await else {
        return;
    };
    let old = cluster.holder().await;
    assert_eq!(cluster.shown_holders(old).await, [NAMES[old]]);
    let users = cluster.users().await;
    let idle = cluster.client.namespace().run(connect_and_wait);
    let observation = cluster.observe().await;
    let new = (old + 1) % NAMES.len();
    let moved = cluster.ctl(old, &["transfer", NAMES[new]]).await;
    assert_eq!(moved.code(), Some(0), "{moved:?}");
    assert_eq!(cluster.moves_from(old).await, new);
    assert_none_lost(users, &cluster).await;
    let ended = idle.join().unwrap();
    assert_eq!(ended.unwrap(), 0, "an idle connection ends, and is not cut");
    observation
        .assert_one_at_a_time("transferred", &cluster)
        .await;
    for asked in 0..NAMES.len() {
        assert_eq!(cluster.shown_holders(asked).await, [NAMES[new]]);
    }
}

#[tokio::test]
async fn the_address_moves_before_a_leader_is_upgraded() {
    let Some(mut cluster) = AddressCluster::start().await else {
        return;
    };
    let old = cluster.holder().await;
    let users = cluster.users().await;
    let observation = cluster.observe().await;
    let finished = cluster.nodes[old].take().unwrap().terminate().await;
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    cluster.moves_from(old).await;
    cluster.run(old).await;
    cluster.is_whole().await;
    assert_none_lost(users, &cluster).await;
    observation.assert_one_at_a_time("upgraded", &cluster).await;
}

#[tokio::test]
async fn a_node_that_is_not_ready_gives_the_address_to_one_that_is() {
    let Some(cluster) = AddressCluster::start().await else {
        return;
    };
    let holder = cluster.holder().await;
    let asked = cluster.client.record(ask_again_and_again);
    let limit = cluster.process(holder).limit_descriptors(5);
    let next = wait::until(
        format!("the address to leave {}", NAMES[holder]),
        async || {
            let mut others = (0..cluster.machines.len()).filter(|node| *node != holder);
            let next = others.find(|node| cluster.machines[*node].has(ip()));
            next.ok_or_else(|| cluster.process(holder).stderr())
        },
    )
    .await;
    loses(&cluster.machines[holder], ip()).await;
    responds(&cluster.client).await;
    let status = cluster.ctl(next, &["status"]).await.stdout;
    let name = NAMES[holder];
    assert!(
        status.contains(&format!("{name} is not ready: no file descriptor is left")),
        "{status}"
    );
    cluster
        .process(holder)
        .logs("because this node is not ready")
        .await;
    cluster.process(holder).limit_descriptors(limit);
    wait::until(format!("{name} to be ready"), async || {
        let status = cluster.ctl(next, &["status"]).await.stdout;
        if status.contains("is not ready") {
            Err(status)
        } else {
            Ok(())
        }
    })
    .await;
    assert!(cluster.machines[next].has(ip()), "it stays where it is");
    drop(asked.finish());
}
