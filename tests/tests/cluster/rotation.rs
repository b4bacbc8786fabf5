//! Keys and secrets are replaced while everything runs.

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use tempfile::TempDir;
use weldr_tests::{
    cluster::TestCluster,
    hostile::peer::{Credentials, Peer},
    load::Load,
    origin::Origin,
    process::{Program, Signal},
    wait,
};

/// A cluster of three with a server, and clients of each node.
async fn under_load() -> (TestCluster, Origin, Vec<Load>) {
    let cluster = TestCluster::start(3).await;
    let (origin, loads) = load(&cluster).await;
    (cluster, origin, loads)
}

/// A server, and clients of each node.
async fn load(cluster: &TestCluster) -> (Origin, Vec<Load>) {
    let origin = Origin::saying("hi");
    cluster.add(0, origin.address().port()).await.unwrap();
    let mut loads = Vec::new();
    for node in 0..3 {
        cluster.ports(node, false).await.unwrap();
        loads.push(Load::start(cluster.proxy(node), 2, "/"));
    }
    (origin, loads)
}

/// Has a node read its files again, and waits until its log says that it has.
async fn reload(cluster: &TestCluster, node: usize, what: &str) {
    let words = format!("reloaded: {what}");
    let reloads = || cluster.process(node).stderr().matches(&words).count();
    let before = reloads();
    cluster.signal(node, Signal::HUP);
    wait::until(&words, async || match reloads() {
        now if now > before => Ok(()),
        now => Err(now),
    })
    .await;
}

async fn assert_none_failed(loads: Vec<Load>) {
    for load in loads {
        load.stop().await.assert_none_failed();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_is_replaced_and_no_request_fails() {
    let (mut cluster, _origin, loads) = under_load().await;
    let term = cluster.status(0).await.unwrap().term;
    for (at, name) in [(0, "a"), (0, "b"), (1, "c")] {
        let before = std::fs::read(
            cluster
                .data_dir(usize::from(name.as_bytes()[0] - b'a'))
                .join("node.key"),
        );
        let rotate = cluster.weldrctl(at).args(["cluster", "rotate-key", name]);
        let printed = rotate.run().await.expect_success();
        assert!(printed.contains("has a new key"), "{printed}");
        let after = std::fs::read(
            cluster
                .data_dir(usize::from(name.as_bytes()[0] - b'a'))
                .join("node.key"),
        );
        assert_ne!(before.unwrap(), after.unwrap());
        // Changes go on, at the node with the new key and at another.
        let port = 1000 + u16::from(name.as_bytes()[0]);
        cluster
            .add(usize::from(name.as_bytes()[0] - b'a'), port)
            .await
            .unwrap();
        cluster.add(2, port + 100).await.unwrap();
    }
    assert_eq!(
        cluster.status(0).await.unwrap().term,
        term,
        "no leader was lost"
    );
    assert_none_failed(loads).await;
    // The new key is the one on disk.
    cluster.kill(1).await;
    cluster.run(1).await;
    cluster.add(1, 1001).await.unwrap();
    // With a node that is down, nothing is replaced.
    cluster.kill(2).await;
    let rotate = cluster.weldrctl(0).args(["cluster", "rotate-key", "a"]);
    let refused = rotate.run().await;
    assert!(
        refused.stderr.contains("c does not know the new key"),
        "{refused:?}"
    );
    cluster.add(0, 1002).await.unwrap();
    cluster.run(2).await;
    cluster.add(2, 1003).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_replaced_node_by_node_and_no_request_fails() {
    let (cluster, _origin, loads) = under_load().await;
    let (old, new) = ("open sesame, open sesame", "open poppyseed, open poppyseed");
    let secret = cluster.file("secret");
    let joins = async |name: &str, with: &str| {
        let path = cluster.file(name);
        std::fs::write(&path, with).unwrap();
        let file = ["--cluster-secret-file", path.to_str().unwrap()];
        let mut ran = cluster.guest(name, &file).start();
        // It votes when it is managed.
        ran.management_address().await;
        cluster.has_voters(4).await;
        ran.kill().await;
        let remove = cluster
            .weldrctl(0)
            .args(["cluster", "remove", name, "--force"]);
        remove.run().await.expect_success();
    };
    for lines in [format!("{new}\n{old}\n"), format!("{new}\n")] {
        std::fs::write(&secret, &lines).unwrap();
        for node in 0..3 {
            reload(&cluster, node, "the secret").await;
        }
        joins("with-new", new).await;
        if lines.contains(old) {
            joins("with-old", old).await;
        }
    }
    let path = cluster.file("late");
    std::fs::write(&path, old).unwrap();
    let file = ["--cluster-secret-file", path.to_str().unwrap()];
    let late = cluster.guest("late", &file).run().await;
    let sentence = "does not prove that it has the secret";
    assert!(late.stderr.contains(sentence), "{late:?}");
    assert_none_failed(loads).await;
    cluster.add(0, 1001).await.unwrap();
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    // Two authorities of one name would be one to whoever looks for the issuer.
    let name = uuid::Uuid::new_v4().to_string();
    let common = rcgen::DnType::CommonName;
    params.distinguished_name.push(common, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The certificate of all nodes and its key, in PEM.
fn signed(by: &Authority) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// What a node shows to those who call it.
async fn shown(cluster: &TestCluster, node: usize) -> Vec<u8> {
    let credentials = Credentials::new();
    let peer = Peer::connect(cluster.clustered(node), &credentials).await;
    peer.unwrap().certificate.to_vec()
}

/// The operators' certificates are replaced node by node, and then their authority, by a file with both.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_operators_and_their_authority_are_replaced_and_no_request_fails() {
    let files = TempDir::with_prefix("weldr-cluster-").unwrap();
    let path = files.path().to_owned();
    let write = |name: &str, text: &str| std::fs::write(path.join(name), text).unwrap();
    let write_signed = |by: &Authority| {
        let (certificate, key) = signed(by);
        write("cert.pem", &certificate);
        write("key.pem", &key);
    };
    let (old, new) = (authority(), authority());
    write("secret", "open sesame, open sesame");
    write("ca.pem", &old.pem());
    write_signed(&old);
    let tls = ["cert", "key", "ca"]
        .map(|name| [format!("--cluster-{name}"), format!("FILES/{name}.pem")])
        .concat();
    let tls: Vec<_> = tls.iter().map(String::as_str).collect();
    let cluster = TestCluster::begin(3, files, &tls, false).await;
    let (_origin, loads) = load(&cluster).await;
    let both = old.pem() + &new.pem();
    let steps: [(&str, &dyn Fn()); 4] = [
        ("another certificate", &|| write_signed(&old)),
        ("both authorities", &|| write("ca.pem", &both)),
        ("a certificate of the new one", &|| write_signed(&new)),
        ("the new one only", &|| write("ca.pem", &new.pem())),
    ];
    let mut port = 1000;
    for (step, change) in steps {
        change();
        for node in 0..3 {
            let before = shown(&cluster, node).await;
            reload(&cluster, node, "the certificate for other nodes").await;
            let is_other = before != shown(&cluster, node).await;
            assert_eq!(is_other, step.contains("certificate"), "{step} at {node}");
            // Changes go on, at the node that has reloaded and at another.
            for at in [node, (node + 1) % 3] {
                port += 1;
                cluster.add(at, port).await.unwrap();
            }
        }
    }
    assert_none_failed(loads).await;
    // Who has a certificate of the authority that was replaced is not let in any more.
    let (certificate, key) = signed(&old);
    write("late-cert.pem", &certificate);
    write("late-key.pem", &key);
    let of = |name: &str| path.join(name).into_os_string();
    let late = Program::weldr()
        .args(["--node-name", "late", "--cluster", "127.0.0.1:0"])
        .args(["--join", &cluster.address(0).to_string()])
        .args(["--cluster-secret-file".into(), of("secret")])
        .args(["--cluster-cert".into(), of("late-cert.pem")])
        .args(["--cluster-key".into(), of("late-key.pem")])
        .args(["--cluster-ca".into(), of("ca.pem")]);
    let late = late.run().await;
    assert_eq!(late.code(), Some(1), "{late:?}");
    let sentence = "a node joins only as itself";
    assert!(late.stderr.contains(sentence), "{late:?}");
}
