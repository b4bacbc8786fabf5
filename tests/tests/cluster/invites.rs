//! Nodes that join with an invite, without the secret.

use weldr_tests::{cluster::TestCluster, process::Finished};

/// Makes an invite; gives its token.
async fn token(cluster: &TestCluster, at: usize, expires: &str) -> String {
    let invite = cluster
        .weldrctl(at)
        .args(["cluster", "invite", "--token-only"]);
    let printed = invite.args(["--expires", expires]).run().await;
    printed.expect_success().trim().to_owned()
}

async fn refused(cluster: &TestCluster, name: &str, token: &str) -> Finished {
    let guest = cluster.guest(name, &[]).env("WELDR_JOIN_TOKEN", token);
    let refused = guest.run().await;
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    refused
}

/// The state of the newest invite.
async fn state(cluster: &TestCluster) -> String {
    let list = cluster.weldrctl(0).args(["cluster", "invites"]).run().await;
    let list = list.expect_success();
    let newest = list.lines().nth(1).expect("an invite");
    newest
        .split_whitespace()
        .nth(1)
        .expect("a state")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_lets_one_node_join_through_any_member() {
    let cluster = TestCluster::start(2).await;
    let whole = cluster.weldrctl(1).args(["cluster", "invite"]).run().await;
    let whole = whole.expect_success();
    let command = whole.lines().skip(1).collect::<String>();
    let begin = "WELDR_JOIN_TOKEN=weldr-join-1.";
    assert!(command.starts_with(begin), "{whole}");
    // In the order of their ids, which are random.
    let (_, join) = command.split_once("--join ").unwrap();
    let mut join: Vec<_> = join.trim().split(',').map(str::to_owned).collect();
    join.sort_unstable();
    let mut members = [0, 1].map(|node| cluster.address(node).to_string());
    members.sort_unstable();
    assert_eq!(join, members, "{whole}");
    assert_eq!(state(&cluster).await, "open");
    let token = command.strip_prefix("WELDR_JOIN_TOKEN=").unwrap();
    let token = token.split_whitespace().next().unwrap();

    let guest = cluster.guest("guest", &[]).env("WELDR_JOIN_TOKEN", token);
    let mut guest = guest.start();
    guest.management_address().await;
    cluster.has_voters(3).await;
    assert_eq!(state(&cluster).await, "used");
    cluster.add(0, 1001).await.unwrap();

    let second = refused(&cluster, "second", token).await;
    let sentence = "the invite of its token is used: node guest has joined with it";
    assert!(second.stderr.contains(sentence), "{second:?}");
    for process in [cluster.process(0), cluster.process(1), &guest] {
        assert!(!process.stderr().contains(token), "a token in a log");
    }
    guest.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_that_has_ended_lets_nobody_in_and_says_why() {
    let cluster = TestCluster::start(1).await;
    let revoked = token(&cluster, 0, "1h").await;
    let list = cluster
        .weldrctl(0)
        .args(["cluster", "invites", "-o", "json"])
        .run()
        .await;
    let list: serde_json::Value = serde_json::from_str(&list.expect_success()).unwrap();
    let id = list["invites"][0]["id"].as_str().unwrap();
    let revoke = |id: &str| {
        cluster
            .weldrctl(0)
            .args(["cluster", "revoke-invite", id])
            .run()
    };
    revoke(id).await.expect_success();
    assert_eq!(state(&cluster).await, "revoked");
    let twice = revoke(id).await;
    assert!(
        twice.stderr.contains("there is no open invite"),
        "{twice:?}"
    );
    let expired = token(&cluster, 0, "1s").await;
    weldr_tests::wait::until("the end of an invite", async || {
        match state(&cluster).await {
            state if state == "expired" => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let whole = token(&cluster, 0, "1h").await;
    for (token, sentence) in [
        (revoked.as_str(), "the invite of its token was revoked"),
        (&expired, "the invite of its token has expired"),
        (&whole[1..], "the token of the invite"),
    ] {
        let refused = refused(&cluster, "guest", token).await;
        assert!(refused.stderr.contains(sentence), "{refused:?}");
    }
    // A token of another cluster names keys that nobody here has, so its secret is told to nobody.
    let other = TestCluster::start(1).await;
    let foreign = token(&other, 0, "1h").await;
    let astray = cluster
        .guest("guest", &[])
        .env("WELDR_JOIN_TOKEN", &foreign)
        .start();
    astray.logs("its key is not the one that is expected").await;
    astray.kill().await;
    assert_eq!(cluster.status(0).await.unwrap().nodes.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_be_in_a_file() {
    let cluster = TestCluster::start(1).await;
    let path = cluster.file("token");
    std::fs::write(&path, token(&cluster, 0, "10m").await + "\n").unwrap();
    let file = ["--join-token-file", path.to_str().unwrap()];
    let mut guest = cluster.guest("guest", &file).start();
    guest.management_address().await;
    cluster.has_voters(2).await;
    guest.kill().await;
}

/// A secret of the right form that no member has made.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_never_given_out_is_refused() {
    let cluster = TestCluster::start(1).await;
    let credentials = weldr_tests::hostile::peer::Credentials::new();
    let peer = weldr_tests::hostile::peer::Peer::connect(cluster.clustered(0), &credentials);
    let mut peer = peer.await.unwrap();
    let claim = weldr_tests::hostile::peer::Claim {
        sender: 77,
        ..Default::default()
    };
    let request = weldr_proto::raft::v1::JoinRequest {
        member: Some(weldr_proto::raft::v1::Member {
            id: 77,
            name: "guest".to_owned(),
            address: "127.0.0.99:1".to_owned(),
            keys: vec![credentials.fingerprint().into()],
        }),
        invite: vec![7; 16].into(),
        ..Default::default()
    };
    let refused = peer.client.join(claim.on(request)).await.unwrap_err();
    let sentence = "does not know the invite";
    assert!(refused.message().contains(sentence), "{refused:?}");
}
