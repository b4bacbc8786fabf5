//! Who is let in.

use tempfile::TempDir;
use weldr_tests::{cluster::TestCluster, hostile::Connections, process::Program, wait};

fn stranger(join: std::net::SocketAddr, secret: &str) -> (Program, TempDir) {
    let files = TempDir::new().unwrap();
    let path = files.path().join("secret");
    std::fs::write(&path, secret).unwrap();
    let program = Program::weldr()
        .args(["--node-name", "stranger", "--cluster", "127.0.0.1:0"])
        .args(["--join", &join.to_string()])
        .arg("--cluster-secret-file")
        .arg(&path);
    (program, files)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_secret_nobody_joins() {
    let cluster = TestCluster::start(1).await;
    let (program, _files) = stranger(cluster.address(0), "open barley, open barley");
    let refused = program.run().await;
    assert_eq!(refused.code(), Some(1));
    assert!(
        refused
            .stderr
            .contains("does not prove that it has the secret"),
        "{}",
        refused.stderr
    );
    cluster.process(0).logs("node refused").await;
    let status = cluster.status(0).await.unwrap();
    assert_eq!(status.nodes.len(), 1);
}

/// Two clusters with the same secret: a node whose address another has taken is told apart by its key.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_cluster_is_told_apart() {
    let mut cluster = TestCluster::start(2).await;
    cluster.kill(1).await;
    let secret = cluster.file("secret");
    let mut other = Program::weldr()
        .args([
            "--node-name",
            "b",
            "--cluster",
            "127.0.0.12:0",
            "--found-cluster",
            "--cluster-secret-file",
        ])
        .arg(&secret)
        .start();
    let address = other.logged_address("cluster listening").await;
    cluster.lead_to(1, address);
    other
        .logs("there are two clusters with the same secret")
        .await;
    other.kill().await;
    cluster.run(1).await;
    cluster.has_voters(2).await;
}

fn certificates(files: &TempDir, names: &[&str]) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
    let write = |name: &str, text: String| std::fs::write(files.path().join(name), text).unwrap();
    write("ca.pem", ca.pem());
    let addresses: Vec<String> = names.iter().map(ToString::to_string).collect();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(addresses)
        .unwrap()
        .signed_by(&key, &ca);
    write("cert.pem", certificate.unwrap().pem());
    write("key.pem", key.serialize_pem());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_certificates_of_an_authority_nodes_need_one() {
    let files = TempDir::with_prefix("weldr-cluster-").unwrap();
    std::fs::write(files.path().join("secret"), "open sesame, open sesame").unwrap();
    certificates(&files, &["127.0.0.1"]);
    let tls = [
        "--cluster-cert",
        "FILES/cert.pem",
        "--cluster-key",
        "FILES/key.pem",
        "--cluster-ca",
        "FILES/ca.pem",
    ];
    let cluster = TestCluster::begin(3, files, &tls, false).await;
    cluster.add(2, 1001).await.unwrap();
    assert_eq!(cluster.ports(1, false).await.unwrap(), [1001]);
    // One with the secret and without a certificate.
    let plain = cluster.plain_joiner(0).run().await;
    assert_eq!(plain.code(), Some(1), "{plain:?}");
    assert!(plain.stderr.contains("--cluster-cert"), "{plain:?}");
    assert_eq!(cluster.status(0).await.unwrap().nodes.len(), 3);
}

#[tokio::test]
async fn to_join_a_node_needs_a_proof_and_an_address() {
    let empty = Program::weldr()
        .args(["--cluster", "127.0.0.1:0", "--join", "127.0.0.1:1"])
        .run()
        .await;
    assert_eq!(empty.code(), Some(1), "{empty:?}");
    for part in ["--cluster-secret-file", "weldrctl cluster invite"] {
        assert!(empty.stderr.contains(part), "{empty:?}");
    }
    let nowhere = Program::weldr()
        .args(["--cluster", "0.0.0.0:0"])
        .run()
        .await;
    assert!(
        nowhere
            .stderr
            .contains("an address to which other nodes can connect"),
        "{}",
        nowhere.stderr
    );
}

/// The first bytes of connections that never become a call: none, of HTTP/2, of TLS, of a notice of a death.
const DRIBBLES: [&[u8]; 4] = [
    b"",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01",
    b"weldr-death-1",
];

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_silent_connections_neither_stay_nor_keep_nodes_out() {
    let mut cluster = TestCluster::start(3).await;
    cluster.kill(2).await;
    let process = cluster.process(0);
    let (files, memory) = (process.open_files(), process.resident());
    let target = cluster.clustered(0);
    let mut flood = Vec::new();
    for first in DRIBBLES {
        let from = "127.0.0.99:0".parse().unwrap();
        flood.push(Connections::open(1_000, from, target, first).await);
        cluster.add(0, 1001).await.unwrap();
    }
    let process = cluster.process(0);
    assert!(
        process.open_files() < files + 300,
        "{} files",
        process.open_files()
    );
    let grown = process.resident().saturating_sub(memory);
    assert!(grown < 16 << 20, "{grown} bytes");
    // A node that comes in the meantime gets in.
    cluster.run(2).await;
    cluster.has_voters(3).await;
    assert_eq!(cluster.ports(2, false).await.unwrap(), [1001]);
    wait::until("the connections to be closed", async || {
        match flood.iter().map(Connections::still_open).sum() {
            0 => Ok(()),
            open => Err::<(), usize>(open),
        }
    })
    .await;
}

/// With few descriptors, the accept loop rests when there are none, and goes on when there are some.
#[tokio::test(flavor = "multi_thread")]
async fn at_the_descriptor_limit_the_listener_rests_and_recovers() {
    let cluster = TestCluster::start(2).await;
    let process = cluster.process(0);
    let before = process.limit_descriptors(process.open_files() as u64 + 1);
    let from = "127.0.0.99:0".parse().unwrap();
    let flood = Connections::open(100, from, cluster.clustered(0), b"").await;
    process
        .logs("cannot accept connections of other nodes")
        .await;
    process.limit_descriptors(before);
    drop(flood);
    cluster.add(1, 1001).await.unwrap();
    assert_eq!(cluster.ports(0, false).await.unwrap(), [1001]);
}
