//! Nodes that join, and meet somebody else where they expect a node of the cluster.

use std::net::SocketAddr;

use tonic::Status;
use uuid::Uuid;
use weldr_proto::raft::v1::JoinResponse;
use weldr_tests::{
    cluster::TestCluster,
    hostile::{
        impostor::{Answer, Impostor},
        peer::{Claim, Credentials, Peer},
    },
    process::Program,
};

/// The secret of a [`TestCluster`].
const SECRET: &str = "open sesame, open sesame";

async fn impostor(answer: Answer) -> Impostor {
    let impostor = Impostor::start(&Credentials::new(), answer).await;
    impostor.unwrap()
}

/// It admits everybody, to a cluster that it has made up.
fn admits(proof: &str) -> Answer {
    let response = JoinResponse {
        cluster: Uuid::new_v4().to_string(),
        ..JoinResponse::default()
    };
    Answer::Admitted(response, proof.to_owned())
}

/// A node with the secret of `cluster` that joins at these addresses.
fn joiner(cluster: &TestCluster, name: &str, at: &[SocketAddr]) -> Program {
    let join: Vec<_> = at.iter().map(ToString::to_string).collect();
    Program::weldr()
        .args(["--node-name", name, "--cluster", "127.0.0.1:0"])
        .args(["--join", &join.join(",")])
        .arg("--cluster-secret-file")
        .arg(cluster.file("secret"))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_prove_the_secret_admits_nobody() {
    let cluster = TestCluster::start(1).await;
    // A proof of the right secret that was made on another channel.
    let credentials = Credentials::new();
    let peer = Peer::connect(cluster.clustered(0), &credentials).await;
    let elsewhere = peer.unwrap().proof(SECRET, &Claim::default());
    for proof in ["", "00", &elsewhere] {
        let impostor = impostor(admits(proof)).await;
        let joiner = joiner(&cluster, "joiner", &[impostor.address()]);
        let refused = joiner.run().await;
        assert_eq!(refused.code(), Some(1), "{refused:?}");
        let sentence = "does not prove that it has the secret";
        assert!(refused.stderr.contains(sentence), "{refused:?}");
        assert_eq!(impostor.asked(), 1, "it was believed to be a node");
    }
}

/// Neither by refusing nor by saying nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_impostor_keeps_nobody_from_the_cluster() {
    let cluster = TestCluster::start(1).await;
    for (name, answer) in [
        ("believes-in-vain", admits("")),
        ("refused", Answer::Refused(Status::permission_denied("go"))),
        ("waits", Answer::Silence),
    ] {
        let impostor = impostor(answer).await;
        let at = [impostor.address(), cluster.address(0)];
        let mut joined = joiner(&cluster, name, &at).start();
        joined.management_address().await;
        cluster.has_voters(2).await;
        assert_eq!(impostor.asked(), 1, "{name} has met it first");
        let remove = cluster.weldrctl(0).args(["cluster", "remove", name]);
        remove.run().await.expect_success();
        joined.kill().await;
    }
}

/// The secret of an invite is for members only: who does not have the key of one is sent nothing at all.
#[tokio::test(flavor = "multi_thread")]
async fn an_invite_is_shown_to_nobody_else() {
    let cluster = TestCluster::start(1).await;
    let invite = cluster.weldrctl(0).args(["cluster", "invite"]);
    let token = invite.arg("--token-only").run().await.expect_success();
    let stranger = Credentials::new();
    let member = Peer::connect(cluster.clustered(0), &stranger).await;
    let thief = Credentials::new().showing(member.unwrap().certificate);
    for (credentials, sentence) in [
        (stranger, "its key is not the one that is expected"),
        (thief, "no TLS connection with the node"),
    ] {
        let impostor = Impostor::start(&credentials, admits("")).await.unwrap();
        let guest = Program::weldr()
            .args(["--node-name", "guest", "--cluster", "127.0.0.1:0"])
            .args(["--join", &impostor.address().to_string()])
            .env("WELDR_JOIN_TOKEN", token.trim())
            .start();
        guest.logs(sentence).await;
        guest.kill().await;
        assert_eq!(impostor.asked(), 0, "{sentence}");
    }
}

/// What an impostor says is for the log and the terminal of an operator.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_escaped_and_bounded() {
    let cluster = TestCluster::start(1).await;
    let words = format!("\u{1b}[2J\nERROR forged=yes\u{202e} {}", "x".repeat(4_000));
    let answer = Answer::Refused(Status::permission_denied(words));
    let impostor = impostor(answer).await;
    let refused = joiner(&cluster, "joiner", &[impostor.address()])
        .run()
        .await;
    assert_eq!(refused.code(), Some(1));
    assert_eq!(impostor.asked(), 1);
    let said = &refused.stderr;
    assert!(said.contains("forged=yes"), "{said}");
    assert!(
        !said.contains('\u{1b}') && !said.contains("\nERROR forged"),
        "{said:?}"
    );
    assert!(!said.contains(&"x".repeat(1_000)), "{} bytes", said.len());
}
