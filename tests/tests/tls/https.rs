//! `weldr --listen-https`, as clients see it.

use std::{fs, net::SocketAddr, sync::Arc};

use http_body_util::BodyExt as _;
use rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion,
    version::{TLS12, TLS13},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;
use weldr_tests::{
    daemon::Daemon,
    http1::{Reader, Response},
    origin::Origin,
    process::{Program, Signal, installed},
    raw, serve,
    tls::{Authority, Issued, connect},
    wait,
};

pub(super) const NAME: &str = "shop.example.com";

/// A `weldr` that serves HTTPS with a certificate in its directory.
pub(super) struct Https {
    pub(super) weldr: Daemon,
    pub(super) authority: Authority,
    pub(super) address: SocketAddr,
}

impl Https {
    pub(super) async fn start(options: &[&str]) -> Self {
        let authority = Authority::new();
        let program = Program::weldr();
        authority.issue(&[NAME]).write_to(program.directory());
        let https = [
            "--listen-https",
            "127.0.0.1:0",
            "--tls-cert",
            "cert.pem",
            "--tls-key",
            "key.pem",
        ];
        let mut weldr = Daemon::run(program.args(https).args(options)).await;
        let address = weldr
            .process_mut()
            .logged_address("listening for HTTPS")
            .await;
        Self {
            weldr,
            authority,
            address,
        }
    }

    pub(super) async fn before(origin: &Origin, options: &[&str]) -> Self {
        let https = Self::start(options).await;
        https.weldr.add(origin.address()).await;
        https
    }

    async fn connect(&self, config: &Arc<ClientConfig>) -> Reader<TlsStream<TcpStream>> {
        let stream = connect(self.address, NAME, config).await;
        Reader::new(stream.unwrap_or_else(|error| panic!("handshake: {error}")))
    }
}

async fn exchange(
    client: &mut Reader<TlsStream<TcpStream>>,
    method: &str,
    request: &[u8],
) -> Response {
    client.get_mut().write_all(request).await.unwrap();
    client.get_mut().flush().await.unwrap();
    let response = wait::bounded("a response", client.response(method)).await;
    response.unwrap()
}

/// A request whose response may end with the connection.
const OLD_GET: &[u8] = b"GET /a HTTP/1.0\r\nHost: shop.example.com\r\n\r\n";
const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: shop.example.com\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn servers_and_the_log_are_told_what_the_client_used() {
    let origin = Origin::saying("hello");
    let https = Https::before(
        &origin,
        &["--access-log", "json", "--access-log-file", "access.log"],
    )
    .await;
    for (versions, text) in [([&TLS13], "TLSv1.3"), ([&TLS12], "TLSv1.2")] {
        let mut client = https.connect(&https.authority.client_of(&versions)).await;
        for _ in 0..2 {
            let response = exchange(&mut client, "GET", GET).await;
            assert_eq!(
                (response.status, response.body.as_slice()),
                (200, b"hello".as_slice())
            );
        }
        let file = https.weldr.process().directory().join("access.log");
        let line: Value = wait::until("a line of the access log", async || {
            let lines = fs::read_to_string(&file).unwrap_or_default();
            let line = lines.lines().find(|line| line.contains(text));
            line.map(|line| serde_json::from_str(line).unwrap())
                .ok_or(lines)
        })
        .await;
        assert_eq!(line["tls"]["server_name"], NAME, "{line}");
        assert_eq!(line["tls"]["resumed"], false, "{line}");
    }
    let seen = origin.received();
    let text = String::from_utf8(seen.concat()).unwrap();
    assert_eq!(
        text.matches("X-Forwarded-Proto: https\r\n").count(),
        4,
        "{text}"
    );
    assert!(text.contains(";proto=https\r\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_pass_in_both_directions_in_any_size() {
    let origin = Origin::serve(|request| async move {
        let body = request.into_body().collect().await.unwrap();
        serve::response(200, body.to_bytes())
    });
    let https = Https::before(&origin, &[]).await;
    for versions in [[&TLS13], [&TLS12]] {
        let mut client = https.connect(&https.authority.client_of(&versions)).await;
        for length in [0_usize, 1, 16_383, 16_384, 16_385, 100_000, 3_000_000] {
            let body: Vec<u8> = (0..=250).cycle().take(length).collect();
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            let request = [head.as_bytes(), &body].concat();
            let (mut reads, mut writes) = tokio::io::split(client.into_inner());
            let sent = tokio::spawn(async move {
                writes.write_all(&request).await.unwrap();
                writes.flush().await.unwrap();
                writes
            });
            let mut reader = Reader::new(&mut reads);
            let response = wait::bounded("a response", reader.response("POST"))
                .await
                .unwrap();
            assert_eq!(response.status, 200);
            assert!(response.body == body, "{length} bytes came back otherwise");
            drop(reader);
            let writes = sent.await.unwrap();
            client = Reader::new(reads.unsplit(writes));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_resumed_until_the_process_ends() {
    let origin = Origin::saying("hello");
    let https = Https::before(&origin, &[]).await;
    for versions in [[&TLS13], [&TLS12]] {
        let config = https.authority.client_of(&versions);
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let mut client = https.connect(&config).await;
            exchange(&mut client, "GET", GET).await;
            kinds.push(client.get_ref().get_ref().1.handshake_kind().unwrap());
        }
        assert_eq!(kinds[1..], [HandshakeKind::Resumed; 2], "{:?}", versions[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_are_used_by_the_next_handshake_and_cut_no_connection() {
    let origin = Origin::saying("hello");
    let https = Https::before(&origin, &[]).await;
    let config = https.authority.client();
    let mut open = https.connect(&config).await;
    exchange(&mut open, "GET", GET).await;
    let newer: Issued = https.authority.issue(&[NAME]);
    newer.write_to(https.weldr.process().directory());
    wait::until("the newer certificate", async || {
        let client = connect(https.address, NAME, &https.authority.client())
            .await
            .unwrap();
        let shown = client.get_ref().1.peer_certificates().unwrap();
        if shown[0] == newer.der {
            Ok(())
        } else {
            Err("the older one")
        }
    })
    .await;
    assert_eq!(exchange(&mut open, "GET", GET).await.status, 200);
    // What cannot be used changes nothing.
    fs::write(https.weldr.process().directory().join("key.pem"), "no key").unwrap();
    https.weldr.process().signal(Signal::HUP);
    https
        .weldr
        .process()
        .logs("the certificate for HTTPS is not read again")
        .await;
    let mut client = https.connect(&https.authority.client()).await;
    assert_eq!(exchange(&mut client, "GET", GET).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tls_is_told_or_closed_and_counted_in_the_log() {
    let https = Https::start(&["--client-header-timeout", "300ms"]).await;
    let mut plain = raw::Client::connect(https.address).await;
    let response = plain.get("/").await;
    assert_eq!(response.status, 400);
    let text = String::from_utf8_lossy(&response.body).into_owned();
    assert!(text.contains("https://"), "{text}");
    plain.closed().await;
    https.weldr.process().logs("reason=\"plain_http\"").await;
    let mut other = raw::Client::connect(https.address).await;
    other.send(b"\x80\x2e\x01\x00\x02").await;
    other.closed().await;
    https.weldr.process().logs("reason=\"not_tls\"").await;
    // Half a handshake, and nothing at all: both end with the deadline.
    let mut half = raw::Client::connect(https.address).await;
    half.send([22, 3, 1, 0, 200, 1, 0]).await;
    let mut silent = raw::Client::connect(https.address).await;
    half.closed().await;
    silent.closed().await;
    https.weldr.process().logs("reason=\"timeout\"").await;
    // No certificate for this name is trusted by a client that does not know the authority.
    let stranger = Authority::new();
    connect(https.address, NAME, &stranger.client())
        .await
        .unwrap_err();
    https
        .weldr
        .process()
        .logs("reason=\"certificate_refused\"")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_make_no_progress_give_way_and_all_are_counted() {
    let origin = Origin::saying("hello");
    let limits = [
        "--max-connections",
        "2",
        "--client-header-timeout",
        "1h",
        "--workers",
        "1",
    ];
    let https = Https::before(&origin, &limits).await;
    let mut silent = raw::Client::connect(https.address).await;
    let mut half = raw::Client::connect(https.address).await;
    half.send([22, 3, 1, 0, 200, 1, 0]).await;
    let mut client = https.connect(&https.authority.client()).await;
    assert_eq!(exchange(&mut client, "GET", GET).await.status, 200);
    silent.closed().await;
    let stats = https.weldr.stats().await;
    let handshakes = stats.handshakes.unwrap();
    assert_eq!((handshakes.full, handshakes.resumed), (1, 0));
    assert_eq!(
        handshakes.failed.get("timeout"),
        Some(&1),
        "{:?}",
        handshakes.failed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_cut_does_not_end_with_a_close_notify() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
        // Of a length that only its end tells, and cut.
        conversation.write("HTTP/1.1 200 OK\r\n\r\npart").await;
        conversation.reset();
    });
    let https = Https::before(&origin, &[]).await;
    let mut client = https.connect(&https.authority.client()).await.into_inner();
    client.write_all(OLD_GET).await.unwrap();
    let mut all = Vec::new();
    let cut = wait::bounded("the end", client.read_to_end(&mut all)).await;
    assert!(
        cut.is_err(),
        "a cut response looks whole: {}",
        all.escape_ascii()
    );
    let whole = Origin::script(|mut conversation| async move {
        conversation.request().await;
        conversation.write("HTTP/1.1 200 OK\r\n\r\nwhole").await;
    });
    let https = Https::before(&whole, &[]).await;
    let mut client = https.connect(&https.authority.client()).await.into_inner();
    client.write_all(OLD_GET).await.unwrap();
    let mut all = Vec::new();
    wait::bounded("the end", client.read_to_end(&mut all))
        .await
        .unwrap();
    assert!(all.ends_with(b"whole"), "{}", all.escape_ascii());
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_and_unknown_protocols_are_refused() {
    let https = Https::start(&[]).await;
    let mut config = (*https.authority.client()).clone();
    config.alpn_protocols = vec![b"spdy/1".to_vec()];
    connect(https.address, NAME, &Arc::new(config))
        .await
        .unwrap_err();
    https.weldr.process().logs("reason=\"no_protocol\"").await;
    let client = connect(https.address, NAME, &https.authority.client())
        .await
        .unwrap();
    assert_eq!(
        client.get_ref().1.protocol_version(),
        Some(ProtocolVersion::TLSv1_3)
    );
    let Some(openssl) = installed("openssl") else {
        println!("skipped: openssl is not installed");
        return;
    };
    let address = https.address.to_string();
    let asked = Program::at("openssl", &openssl)
        .args([
            "s_client",
            "-connect",
            &address,
            "-tls1_1",
            "-cipher",
            "DEFAULT@SECLEVEL=0",
        ])
        .run()
        .await;
    assert_ne!(asked.code(), Some(0), "{}", asked.stdout);
    https
        .weldr
        .process()
        .logs("reason=\"nothing_in_common\"")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_gets_a_response() {
    let Some(curl) = installed("curl") else {
        println!("skipped: curl is not installed");
        return;
    };
    let origin = Origin::saying("hello");
    let https = Https::before(&origin, &[]).await;
    let directory = https.weldr.process().directory();
    fs::write(directory.join("ca.pem"), https.authority.pem()).unwrap();
    let ca = directory.join("ca.pem");
    let port = https.address.port();
    let said = Program::at("curl", &curl)
        .args(["--silent", "--show-error", "--cacert", ca.to_str().unwrap()])
        .args(["--resolve", &format!("{NAME}:{port}:127.0.0.1")])
        .arg(format!("https://{NAME}:{port}/"))
        .run()
        .await;
    assert_eq!(said.expect_success(), "hello");
}
