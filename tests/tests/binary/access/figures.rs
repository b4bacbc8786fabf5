//! What a node costs, and how soon it answers, while it is attacked; no assertion but that it answers.
//!
//! `WELDR_MEASURED` names the program that is measured, if it is not the one beside the tests.

use std::{
    env,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::{Request, transport::Endpoint};
use weldr_proto::v1::{WatchServersRequest, management_client::ManagementClient};
use weldr_tests::cluster::TestCluster;

use super::*;

/// The connections of an attack, from four addresses.
const CONNECTIONS: usize = 2_000;
/// How many calls are measured during an attack.
const CALLS: usize = 20;

const GUESS: &[u8] =
    b"GET /servers HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer weldr_x\r\n\r\n";
const IDLE: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
const HALF: &[u8] = b"POST /servers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
const HELLO: &[u8] = b"\x16\x03\x01";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A node, and how its administrator calls it.
struct Attacked {
    process: Process,
    management: SocketAddr,
    clustered: SocketAddr,
    tls: Option<TlsConnector>,
    token: String,
    files: Files,
}

impl Attacked {
    async fn start(is_tls: bool) -> Self {
        let files = Files::new();
        let authority = Authority::new(&files);
        authority.write(&files, "node", &["127.0.0.1"]);
        let [cert, key, ca] = ["node.pem", "node.key", "ca.pem"].map(|name| files.path(name));
        let program = match env::var_os("WELDR_MEASURED") {
            Some(path) => Program::at("weldr", &PathBuf::from(path)),
            None => Program::new("weldr"),
        };
        let program = program
            .args(["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"])
            .args(["--management-auth", "on", "--workers", "1"])
            .args(["--cluster", "127.0.0.1:0", "--found-cluster"])
            .args(["--data-dir", &files.path("data")]);
        let mut process = if is_tls {
            program.args(["--management-tls-cert", &cert, "--management-tls-key", &key])
        } else {
            program
        }
        .start();
        let management = process.management_address().await;
        let clustered = process.logged_address("cluster listening").await;
        let token = token(&files, "boss", &["--role", "admin"]).await;
        let token = fs::read_to_string(token).unwrap().trim().to_owned();
        Self {
            process,
            management,
            clustered,
            tls: is_tls.then(|| connector(&ca)),
            token,
            files,
        }
    }

    /// Asks on a new connection; gives the time to the response.
    async fn ask(&self, path: &str) -> Duration {
        let begun = Instant::now();
        let stream = TcpStream::connect(self.management).await.unwrap();
        match &self.tls {
            None => self.send(stream, path).await,
            Some(tls) => {
                let name = self.management.ip().into();
                let stream = tls.connect(name, stream).await.unwrap();
                self.send(stream, path).await;
            }
        }
        begun.elapsed()
    }

    async fn send(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
            self.token
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200", "{path}");
    }

    /// The time that the process has computed, in hundredths of a second.
    fn computed(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<_> = fields.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Makes an attack, and prints what it costs.
    async fn measure<T>(&self, name: &str, attack: impl Future<Output = T>) -> T {
        let (memory, computed, begun) = (self.process.resident(), self.computed(), Instant::now());
        let held = attack.await;
        let (took, cpu) = (begun.elapsed(), self.computed() - computed);
        let mut slowest = [Duration::ZERO; 2];
        let mut most = self.process.resident();
        for _ in 0..CALLS {
            for (slowest, path) in slowest.iter_mut().zip(["/readyz", "/tokens"]) {
                *slowest = self.ask(path).await.max(*slowest);
            }
            most = most.max(self.process.resident());
        }
        let [readyz, admin] = slowest.map(|slowest| slowest.as_micros());
        println!(
            "{name}: {} KB more memory, {} ms of CPU in {} ms; slowest of {CALLS}: /readyz {readyz} us, an administrator {admin} us",
            most.saturating_sub(memory) / 1024,
            cpu * 10,
            took.as_millis(),
        );
        held
    }
}

fn connector(ca: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(ca).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn flood(target: SocketAddr, first: &[u8]) -> Vec<Connections> {
    let mut flood = Vec::new();
    for last in 2..6 {
        let from = ([127, 0, 0, last], 0).into();
        flood.push(Connections::open(CONNECTIONS / 4, from, target, first).await);
    }
    flood
}

/// Opens streams until one is refused, and reads none of them while there are changes.
async fn unread(node: &Attacked) -> Vec<impl Sized> {
    let bearer: tonic::metadata::MetadataValue<_> =
        format!("Bearer {}", node.token).parse().unwrap();
    let mut streams = Vec::new();
    loop {
        let endpoint = Endpoint::from_shared(format!("http://{}", node.management));
        let mut client = ManagementClient::new(endpoint.unwrap().connect_lazy());
        let mut watch = Request::new(WatchServersRequest::default());
        watch.metadata_mut().insert("authorization", bearer.clone());
        match client.watch_servers(watch).await {
            Ok(stream) => streams.push((client, stream)),
            Err(_) => break,
        }
    }
    for port in 1..200 {
        let server = format!("127.0.0.1:{port}");
        local(&node.files, &["add", &server])
            .run()
            .await
            .expect_success();
    }
    println!("{} streams", streams.len());
    streams
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: cargo test --workspace --test weldr figures_of_exhaustion -- --ignored --nocapture"]
async fn figures_of_exhaustion() {
    let node = Attacked::start(true).await;
    node.measure("nothing, with TLS", async {}).await;
    for (name, target, first) in [
        ("management: silent", node.management, &b""[..]),
        ("management: handshakes", node.management, HELLO),
        ("nodes: silent", node.clustered, b""),
        ("nodes: handshakes", node.clustered, HELLO),
        ("nodes: HTTP/2 without TLS", node.clustered, PREFACE),
    ] {
        node.measure(name, flood(target, first)).await;
    }
    let node = Attacked::start(false).await;
    node.measure("nothing, without TLS", async {}).await;
    for (name, first) in [
        ("management: kept open", IDLE),
        ("management: half a body", HALF),
        ("management: wrong tokens", GUESS),
    ] {
        node.measure(name, flood(node.management, first)).await;
    }
    node.measure("management: unread streams", unread(&node))
        .await;
}

/// The time from the call of `revoke` to its return, which is when the last node refuses.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: cargo test --workspace --test weldr figures_of_revocation -- --ignored --nocapture"]
async fn figures_of_revocation() {
    let cluster = TestCluster::start(3).await;
    let mut took = Vec::new();
    for round in 0..100 {
        let at = cluster.management(round % 3);
        let body = format!(r#"{{"name":"ci-{round}","role":"viewer"}}"#);
        let created = raw::request(at, "POST", "/tokens", &body).await;
        assert_eq!(created.status, 201, "{created}");
        let begun = Instant::now();
        let revoked = raw::request(at, "DELETE", &format!("/tokens/ci-{round}"), "").await;
        took.push(begun.elapsed());
        assert_eq!(revoked.status, 200, "{revoked}");
    }
    took.sort_unstable();
    let at = |part: usize| took[(took.len() - 1) * part / 100].as_micros();
    println!(
        "median {} us, p95 {} us, most {} us",
        at(50),
        at(95),
        at(100)
    );
}
