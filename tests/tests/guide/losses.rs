//! What to do when something is lost.

use super::*;

#[tokio::test]
async fn a_node_that_is_lost_comes_back_and_a_machine_is_replaced() {
    let Some(mut guide) = Guide::three_machines().await else {
        return;
    };
    guide.run("c", "kill -9 \"$(cat ~/weldr/weldr.pid)\"").await;
    guide.status_has("a", &["no response"], &[]).await;
    let code = guide
        .run("a", "weldrctl cluster status || echo \"exit code $?\"")
        .await;
    assert!(code.contains("exit code 4"), "{code}");
    guide.run("a", "weldrctl add 10.0.0.22:8000").await;
    guide.follow("A node").await;
    let list = guide.run("c", "weldrctl list --stale").await;
    assert!(list.contains("10.0.0.22:8000"), "{list}");

    guide.site.lose("c");
    guide.status_has("a", &["no response"], &[]).await;
    guide.site.replace("c");
    guide.follow("A machine").await;
    let list = guide.run("c", "weldrctl list --stale").await;
    assert!(list.contains("10.0.0.22:8000"), "{list}");
    guide
        .status_has("a", &["quorum, led by"], &["no response", "not ready"])
        .await;
}

#[tokio::test]
async fn nodes_are_removed_in_the_order_that_keeps_the_quorum() {
    let Some(mut guide) = Guide::three_machines().await else {
        return;
    };
    guide.site.lose("c");
    guide.status_has("a", &["no response"], &[]).await;
    let refused = guide
        .run(
            "a",
            "weldrctl cluster remove b 2>&1 || echo \"exit code $?\"",
        )
        .await;
    assert!(
        refused.contains("exit code 1") && refused.contains("remove c"),
        "{refused}"
    );
    guide.follow("Removing nodes").await;
    let status = guide.run("a", "weldrctl cluster status").await;
    assert!(status.contains("quorum, led by a"), "{status}");
    guide.run("a", "weldrctl add 10.0.0.22:8000").await;
    guide.serves().await;
}

#[tokio::test]
async fn after_a_lost_majority_one_node_goes_on_and_the_others_join() {
    let Some(mut guide) = Guide::three_machines().await else {
        return;
    };
    for name in ["b", "c"] {
        guide.site.lose_data(name, "weldr/data");
    }
    guide.status_has("a", &["no quorum"], &[]).await;
    guide.follow("A lost majority").await;
    let all = ["quorum, led by a", "b  ", "c  "];
    guide
        .status_has("a", &all, &["no response", "not ready"])
        .await;
    for name in ["a", "b", "c"] {
        let list = guide.run(name, "weldrctl list").await;
        assert!(list.contains(SERVER), "{name}: {list}");
    }
    guide.run("c", "weldrctl add 10.0.0.22:8000").await;
    guide.serves().await;
}
