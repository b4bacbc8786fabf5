//! Restarts of all nodes in turn, under load.

use serde_json::Value;

use super::*;

/// What restarts cost.
struct Cost {
    /// Requests without a response, or with another status than 200.
    lost: Vec<String>,
    responses: u64,
    /// Restarts of nodes that did not lead after which there was another term.
    elections: usize,
    silence: Duration,
}

/// Restarts each node in turn, `times` in all, while clients use the address: some on kept connections, and one that opens a
/// connection for each request.
async fn restarts(times: usize) -> Option<Cost> {
    let mut cluster = AddressCluster::start().await?;
    let users = cluster.users().await;
    let asked = cluster.client.record(|asked, is_over| {
        ask(Duration::from_secs(10), asked, is_over);
    });
    let mut elections = 0;
    for restart in 0..times {
        let node = restart % NAMES.len();
        let before = leader_and_term(&cluster).await;
        let finished = cluster.nodes[node].take().unwrap().terminate().await;
        assert_eq!(finished.code(), Some(0), "{finished:?}");
        cluster.run(node).await;
        cluster.is_whole().await;
        more_use(&users).await;
        let needless = before.0 != NAMES[node] && leader_and_term(&cluster).await != before;
        elections += usize::from(needless);
    }
    let asked = asked.finish();
    let mut cost = Cost {
        lost: asked.failed.clone(),
        responses: asked.completed.len() as u64,
        elections,
        silence: asked.longest_silence(),
    };
    for user in users {
        let used = user.finish();
        cost.lost.extend(used.lost);
        cost.responses += used.responses;
    }
    Some(cost)
}

async fn leader_and_term(cluster: &AddressCluster) -> (String, u64) {
    let status = cluster.ctl(0, &["status", "--output", "json"]).await;
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    let leader = status["leader"].as_str().expect("a leader").to_owned();
    (leader, status["term"].as_u64().expect("a term"))
}

/// Requests that take longer than a move are not among them: see `requests_that_last_longer_than_a_move_end_with_it`.
#[tokio::test]
async fn rolling_restarts_lose_no_request_and_a_follower_is_back_without_an_election() {
    let Some(cost) = restarts(6).await else {
        return;
    };
    assert!(
        cost.lost.is_empty(),
        "of {}: {:?}",
        cost.responses,
        cost.lost
    );
    assert_eq!(cost.elections, 0);
}

/// Prints what 50 restarts cost.
#[tokio::test]
#[ignore = "figures, which take some minutes"]
async fn fifty_rolling_restarts() {
    let Some(cost) = restarts(50).await else {
        return;
    };
    println!(
        "50 restarts: {} responses, {} requests lost {:?}, {} needless elections, longest time without a response {:?}",
        cost.responses,
        cost.lost.len(),
        cost.lost,
        cost.elections,
        cost.silence
    );
}
