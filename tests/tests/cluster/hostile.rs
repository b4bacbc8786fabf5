//! Peers that speak the protocol between nodes, and lie.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
};
use tonic::{Code, Status};
use weldr_proto::raft::v1;
use weldr_tests::{
    cluster::TestCluster,
    hostile::{
        Connections,
        peer::{Claim, Credentials, Peer},
    },
    wait,
};

/// The secret of a [`TestCluster`].
const SECRET: &str = "open sesame, open sesame";

fn member(id: u64, name: &str, keys: Vec<Vec<u8>>) -> v1::Member {
    v1::Member {
        id,
        name: name.to_owned(),
        // Nobody is there.
        address: format!("127.0.0.99:{}", 10_000 + id % 1000),
        keys: keys.into_iter().map(Into::into).collect(),
    }
}

/// A node of the cluster with a key of ours, which joined with the secret and never answers anybody.
struct Impostor {
    peer: Peer,
    claim: Claim,
    id: u64,
}

impl Impostor {
    async fn join(cluster: &TestCluster, id: u64, name: &str) -> Result<Self, Status> {
        let credentials = Credentials::new();
        let peer = Peer::connect(cluster.clustered(0), &credentials).await;
        let mut peer = peer.expect("a channel");
        let keys = vec![credentials.fingerprint()];
        let joined = peer.join(SECRET, member(id, name, keys)).await?;
        let claim = Claim {
            cluster: joined.cluster,
            sender: id,
            target: cluster.id(0).await,
            proof: String::new(),
        };
        Ok(Self { peer, claim, id })
    }

    async fn report(&mut self) -> Result<(), Status> {
        let request = self.claim.on(v1::ReportRequest { servers: false });
        self.peer.client.report(request).await.map(drop)
    }

    /// A message of a leader of `term`, in the name of `node`.
    async fn append(&mut self, term: u64, node: u64) -> Status {
        let request = v1::AppendRequest {
            vote: Some(v1::Vote {
                term,
                node,
                committed: true,
            }),
            ..v1::AppendRequest::default()
        };
        let answer = self.peer.client.append(self.claim.on(request)).await;
        answer.expect_err("a refusal")
    }
}

#[track_caller]
fn is_refused(answer: Result<impl std::fmt::Debug, Status>, sentence: &str) {
    let status = answer.expect_err("a refusal");
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert!(status.message().contains(sentence), "{status:?}");
}

/// What a man in the middle has: the proof of a node that joins, made on the channel to him.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_worth_nothing_on_another_channel() {
    let cluster = TestCluster::start(1).await;
    let credentials = Credentials::new();
    let connect = async || {
        let peer = Peer::connect(cluster.clustered(0), &credentials).await;
        peer.expect("a channel")
    };
    let (mut theirs, mut ours) = (connect().await, connect().await);
    let mut claim = Claim {
        sender: 7,
        ..Claim::default()
    };
    claim.proof = theirs.proof(SECRET, &claim);
    let request = || v1::JoinRequest {
        member: Some(member(7, "relayed", vec![credentials.fingerprint()])),
        ..v1::JoinRequest::default()
    };
    is_refused(
        ours.client.join(claim.on(request())).await,
        "does not prove that it has the secret",
    );
    // Nor for another node on the same channel.
    let other = Claim {
        proof: ours.proof(SECRET, &claim),
        sender: 8,
        ..Claim::default()
    };
    is_refused(
        ours.client.join(other.on(request())).await,
        "does not prove that it has the secret",
    );
    assert_eq!(cluster.status(0).await.unwrap().nodes.len(), 1);
    // On its own channel it is a proof.
    theirs.client.join(claim.on(request())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_only_as_itself() {
    let cluster = TestCluster::start(1).await;
    let id = cluster.id(0).await;
    let credentials = Credentials::new();
    let own = credentials.fingerprint();
    let other = Credentials::new().fingerprint();
    for (sender, joins, keys) in [
        (7, 8, vec![own.clone()]),
        (7, 7, vec![other.clone()]),
        (7, 7, vec![]),
    ] {
        let peer = Peer::connect(cluster.clustered(0), &credentials).await;
        let mut peer = peer.unwrap();
        let mut claim = Claim {
            sender,
            ..Claim::default()
        };
        claim.proof = peer.proof(SECRET, &claim);
        let request = v1::JoinRequest {
            member: Some(member(joins, "liar", keys)),
            ..v1::JoinRequest::default()
        };
        let refused = peer.client.join(claim.on(request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    }
    // As a member that is there already, under its name and address, with another key.
    let status = cluster.status(0).await.unwrap();
    let mut there = member(id, "a", vec![own]);
    there.address.clone_from(&status.nodes[0].address);
    let peer = Peer::connect(cluster.clustered(0), &credentials).await;
    let refused = peer.unwrap().join(SECRET, there).await;
    is_refused(refused, "a member has its id and another key");
    assert_eq!(cluster.status(0).await.unwrap().nodes.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_without_its_key_opens_nothing() {
    let cluster = TestCluster::start(2).await;
    let thief = Credentials::new();
    let seen = Peer::connect(cluster.clustered(1), &thief).await.unwrap();
    let thief = thief.showing(seen.certificate);
    let claim = Claim {
        cluster: cluster.status(0).await.unwrap().cluster,
        sender: cluster.id(1).await,
        target: cluster.id(0).await,
        proof: String::new(),
    };
    // The handshake ends for the caller before the other side has checked its signature.
    if let Ok(mut peer) = Peer::connect(cluster.clustered(0), &thief).await {
        let report = claim.on(v1::ReportRequest { servers: false });
        let failed = peer.client.report(report).await.unwrap_err();
        assert_ne!(failed.code(), Code::Ok);
    }
    // With the key, it is that node.
    let stolen = Credentials::of_node(cluster.data_dir(1));
    let mut peer = Peer::connect(cluster.clustered(0), &stolen).await.unwrap();
    let report = claim.on(v1::ReportRequest { servers: false });
    peer.client.report(report).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_speaks_in_its_own_name_and_within_bounds() {
    let cluster = TestCluster::start(2).await;
    let mut impostor = Impostor::join(&cluster, 77, "impostor").await.unwrap();
    impostor.report().await.unwrap();
    let leader = cluster.id(0).await;
    let term = cluster.status(0).await.unwrap().term;
    // As itself it does not vote; as the leader it is not on this channel.
    for (term, node) in [
        (term + 1, 77),
        (term, leader),
        (u64::MAX, 77),
        (u64::MAX, leader),
    ] {
        impostor.claim.sender = node;
        let refused = impostor.append(term, node).await;
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    // Also a voter has no larger term than elections can make.
    let voter = cluster.id(1).await;
    let stolen = Credentials::of_node(cluster.data_dir(1));
    let mut voter = Impostor {
        peer: Peer::connect(cluster.clustered(0), &stolen).await.unwrap(),
        claim: Claim {
            sender: voter,
            ..impostor.claim.clone()
        },
        id: voter,
    };
    for too_late in [u64::MAX, 1 << 48, term + (1 << 20) + 1] {
        let refused = voter.append(too_late, voter.id).await;
        assert!(refused.message().contains("term"), "{refused:?}");
    }
    cluster.add(1, 1001).await.unwrap();
    assert_eq!(
        cluster.status(1).await.unwrap().term,
        term,
        "nobody was unseated"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_join_and_fall_silent_neither_vote_nor_fill_the_cluster() {
    let cluster = TestCluster::start(1).await;
    let mut names = Vec::new();
    for id in 101..107 {
        let name = format!("silent-{id}");
        match Impostor::join(&cluster, id, &name).await {
            Ok(impostor) => names.push((impostor.id, name)),
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                assert!(
                    status.message().contains("3 nodes are joining"),
                    "{status:?}"
                );
            }
        }
    }
    assert_eq!(names.len(), 3);
    cluster.add(0, 1001).await.unwrap();
    for (_, name) in &names {
        let remove = cluster.weldrctl(0).args(["cluster", "remove", name]);
        remove.run().await.expect_success();
    }
    assert_eq!(cluster.status(0).await.unwrap().nodes.len(), 1);
    // One that was removed does not come back under its id.
    let again = Impostor::join(&cluster, names[0].0, "again").await;
    is_refused(again.map(drop), "it was removed from this cluster");
    Impostor::join(&cluster, 200, "new").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_is_refused_on_the_connection_that_it_has() {
    let cluster = TestCluster::start(1).await;
    let mut impostor = Impostor::join(&cluster, 77, "impostor").await.unwrap();
    impostor.report().await.unwrap();
    let remove = cluster.weldrctl(0).args(["cluster", "remove", "impostor"]);
    remove.run().await.expect_success();
    is_refused(impostor.report().await, "it was removed from this cluster");
    // Also with the secret, which it may still have.
    impostor.claim.proof = impostor.peer.proof(SECRET, &impostor.claim);
    is_refused(impostor.report().await, "it was removed from this cluster");
}

/// What a listener in the network has: the bytes of a node that joined.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_bytes_open_nothing() {
    let cluster = TestCluster::start(1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tap = listener.local_addr().unwrap();
    let target = cluster.clustered(0);
    let recorded = tokio::spawn(record(listener, target));
    let credentials = Credentials::new();
    let mut peer = Peer::connect(tap, &credentials).await.unwrap();
    let keys = vec![credentials.fingerprint()];
    peer.join(SECRET, member(77, "recorded", keys))
        .await
        .unwrap();
    drop(peer);
    let recorded = wait::bounded("the end of the recorded connection", recorded).await;
    let recorded = recorded.unwrap();
    assert!(recorded.len() > 500, "{} bytes", recorded.len());
    let remove = cluster.weldrctl(0).args(["cluster", "remove", "recorded"]);
    remove.run().await.expect_success();
    let mut replay = TcpStream::connect(target).await.unwrap();
    replay.write_all(&recorded).await.unwrap();
    let mut answer = Vec::new();
    // The end, or a reset: the node cannot decrypt what follows the first message.
    let _ = wait::bounded("the end of the replay", replay.read_to_end(&mut answer)).await;
    assert_eq!(cluster.status(0).await.unwrap().nodes.len(), 1);
}

/// Passes one connection on, and gives what the client has sent.
async fn record(listener: TcpListener, target: SocketAddr) -> Vec<u8> {
    let (client, _) = listener.accept().await.unwrap();
    let server = TcpStream::connect(target).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
    let (mut recorded, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = from_client.read(&mut part).await {
        recorded.extend_from_slice(&part[..read]);
        if to_server.write_all(&part[..read]).await.is_err() {
            break;
        }
    }
    drop(to_server);
    back.abort();
    recorded
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_nothing_is_answered() {
    let cluster = TestCluster::start(1).await;
    let mut plain = TcpStream::connect(cluster.clustered(0)).await.unwrap();
    plain
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = wait::bounded("the end of the connection", plain.read_to_end(&mut answer)).await;
    assert_eq!(answer, b"");
    cluster.process(0).logs("it does not use TLS").await;
}

/// One byte at a time, so that no single read is late.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_is_dribbled_ends() {
    let cluster = TestCluster::start(1).await;
    let stream = TcpStream::connect(cluster.clustered(0)).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let dribble = tokio::spawn(async move {
        // A record of a handshake that is longer than all that comes.
        write.write_all(&[0x16, 3, 1, 0x40, 0]).await?;
        let mut pause = tokio::time::interval(std::time::Duration::from_millis(100));
        loop {
            pause.tick().await;
            write.write_all(&[1]).await?;
        }
        #[allow(unreachable_code, reason = "it says the type of the error")]
        Ok::<(), std::io::Error>(())
    });
    let mut answer = [0; 64];
    let end = wait::bounded("the end of the handshake", async {
        while let Ok(1..) = read.read(&mut answer).await {}
    });
    end.await;
    dribble.abort();
    cluster.add(0, 1001).await.unwrap();
}

/// A node that has opened its channel and not called yet keeps it, and another one gets in.
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_are_dribbled_keep_no_node_out() {
    let cluster = TestCluster::start(1).await;
    let credentials = Credentials::new();
    let connect = async || {
        let peer = Peer::connect(cluster.clustered(0), &credentials).await;
        peer.unwrap()
    };
    let mut early = connect().await;
    // The call proves nothing, but the node has seen the end of the handshake when it answers.
    let report = Claim::default().on(v1::ReportRequest { servers: false });
    early.client.report(report).await.unwrap_err();
    let from = "127.0.0.1:0".parse().unwrap();
    let flood = Connections::open(500, from, cluster.clustered(0), b"\x16\x03\x01").await;
    wait::until("the handshakes to give way", async || {
        match flood.still_open() {
            ..=16 => Ok(()),
            open => Err(open),
        }
    })
    .await;
    let keys = || vec![credentials.fingerprint()];
    early
        .join(SECRET, member(77, "early", keys()))
        .await
        .unwrap();
    let flood = Connections::open(500, from, cluster.clustered(0), b"\x16\x03\x01").await;
    let mut late = connect().await;
    late.join(SECRET, member(77, "early", keys()))
        .await
        .unwrap();
    drop(flood);
}

/// A member that says anything does no harm to those that vote.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_were_changed_at_random_are_answered() {
    let cluster = TestCluster::start(1).await;
    let mut fuzzer = weldr_tests::fuzz::cluster::Fuzzer::join(&cluster).await;
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(1);
    let (mut seed, mut taken) = (fastrand::u64(..1 << 40), 0);
    while tokio::time::Instant::now() < until {
        taken += fuzzer.run(seed, 50).await.unwrap();
        seed += 1;
    }
    assert!(taken > 0);
    cluster.add(0, 1001).await.unwrap();
    assert_eq!(cluster.ports(0, false).await.unwrap(), [1001]);
}
