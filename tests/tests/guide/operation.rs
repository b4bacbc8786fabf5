//! Building a cluster, and what is done to one that is well.

use super::*;

#[tokio::test]
async fn three_machines_serve_through_the_virtual_address_and_change_a_key() {
    let Some(mut guide) = Guide::open() else {
        return;
    };
    guide.follow("Configuration").await;
    guide.follow("Start").await;
    assert_eq!(guide.holders(), ["a"]);
    let printed = guide.follow("Use").await;
    assert!(printed.contains("Hello"), "{printed}");
    guide.serves().await;
    let found = guide.follow("Checking a cluster").await;
    assert!(!found.contains("problem"), "{found}");
    let rotated = guide.follow("Keys, secrets and certificates").await;
    assert!(rotated.contains("b has a new key"), "{rotated}");
    let plain = "curl -s -m 5 --http2-prior-knowledge http://10.0.0.2:8688/ || echo refused";
    assert!(
        guide.run("a", plain).await.contains("refused"),
        "without TLS"
    );
}

#[tokio::test]
async fn a_cluster_on_loopback_is_tried_out_by_the_commands_at_the_top() {
    let Some(mut site) = Site::new(&[("one", 1)]) else {
        return;
    };
    let host = site.machine("one").host();
    let server = Program::on(host, "test-server").arg("127.0.0.1:12345");
    let _server = server.start();
    let page = Page::open("weldr-server/docs/cluster.md");
    let [nodes, commands] = page
        .commands("Trying it on one machine")
        .try_into()
        .unwrap();
    let one = site.at("one");
    // Each `weldr` is in a terminal of its own: the next is started when it is ready.
    let joined = nodes.commands.replace("\\\n", " ");
    let mut started = 0;
    for command in joined.lines() {
        if command.starts_with("weldr ") {
            one.run(&format!("{command} &")).await;
            started += 1;
            is_well(one, started).await;
        } else {
            one.run(command).await;
        }
    }
    let printed = one.run(&commands.commands).await;
    assert!(printed.contains("Hello"), "{printed}");
    // At b: the removed node may not know it yet.
    let at_b = "weldrctl --endpoint 127.0.0.1:8682 cluster status";
    let status = one.run(at_b).await;
    assert!(status.contains("quorum, led by b"), "{status}");
    assert!(!status.contains("\na "), "{status}");
}

/// Waits until so many nodes vote and are ready.
async fn is_well(machine: &mut Machine, nodes: usize) {
    wait::until("a cluster that is well", async || {
        let looked = machine
            .run("weldrctl cluster status && echo 'all is well' || true")
            .await;
        let all_vote = format!("{nodes} of {nodes} voter");
        if looked.contains("all is well") && looked.contains(&all_vote) {
            Ok(())
        } else {
            Err(looked)
        }
    })
    .await;
}

#[tokio::test]
async fn a_rolling_restart_keeps_the_pool_and_the_address() {
    let Some(mut guide) = Guide::three_machines().await else {
        return;
    };
    let mut before = Vec::new();
    for name in ["a", "b", "c"] {
        before.push(guide.run(name, "cat ~/weldr/weldr.pid").await);
    }
    guide.follow("Upgrades and restarts").await;
    for (name, before) in ["a", "b", "c"].into_iter().zip(before) {
        let after = guide.run(name, "cat ~/weldr/weldr.pid").await;
        assert_ne!(after, before, "{name} was restarted");
        let list = guide.run(name, "weldrctl list --stale").await;
        assert!(list.contains(SERVER), "{name}: {list}");
    }
    guide.serves().await;
    assert_eq!(guide.holders().len(), 1);
}

#[tokio::test]
async fn a_backup_is_restored() {
    let Some(mut guide) = Guide::three_machines().await else {
        return;
    };
    let [backup, restore] = guide.page.commands("Backups").try_into().unwrap();
    guide.run("a", &backup.commands).await;
    guide
        .run(
            "b",
            "weldrctl remove 10.0.0.21:8000 --wait; weldrctl add 10.0.0.22:8000",
        )
        .await;
    guide.run("a", &restore.commands).await;
    let b = guide.site.at("b");
    // The server that is not in the backup is drained first.
    wait::until("the servers of the backup", async || {
        let list = b.run("weldrctl list").await;
        if list.contains(SERVER) && !list.contains("10.0.0.22") {
            Ok(())
        } else {
            Err(list)
        }
    })
    .await;
    guide.serves().await;
}

#[tokio::test]
async fn two_machines_and_a_witness_go_on_when_one_of_the_two_is_lost() {
    let Some(mut guide) = Guide::open() else {
        return;
    };
    guide.follow("Configuration").await;
    guide.follow("Two machines and a witness").await;
    guide.follow("Start").await;
    guide.follow("Use").await;
    let all = ["quorum, led by a", " follower ", " witness "];
    guide.status_has("b", &all, &["not ready"]).await;
    guide.run("b", "weldrctl cluster status").await;
    assert!(guide.accepts("b", 8080));
    assert!(!guide.accepts("c", 8080), "a witness accepts no requests");

    guide.site.lose("a");
    guide.serves().await;
    assert_eq!(guide.holders(), ["b"]);
    guide
        .status_has("b", &["quorum, led by b", " witness "], &[])
        .await;
    guide.run("b", "weldrctl add 10.0.0.22:8000").await;
    let list = guide.run("c", "weldrctl list").await;
    assert!(list.contains("10.0.0.22:8000"), "{list}");
}
