//! The header comes before TLS, from clients and to servers.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream as StdStream},
    sync::Arc,
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, crypto::ring::default_provider,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::{JoinHandle, spawn_blocking},
};
use tokio_rustls::TlsAcceptor;
use weldr::{
    model::{PoolPolicy, PoolSettings, PoolTls, SendProxyProtocol},
    snapshot::PoolSecurity,
    tls::ClientTls,
};
use weldr_tests::{data_plane::DataPlane, raw::Client, wait::bounded};

use super::{ADDRESSES, GET, LINE, binary, requiring, telling};

/// A certificate for `localhost`, and its key.
fn certificate() -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap(), key)
}

fn client_config(certificate: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// The response to a request inside TLS, of which the first bytes come with `header`, `at_a_time` bytes in a packet.
fn ask(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    header: &[u8],
    at_a_time: usize,
) -> std::io::Result<String> {
    let name = "localhost".try_into().unwrap();
    let mut tls = ClientConnection::new(config, name).unwrap();
    let mut begin = header.to_vec();
    tls.write_tls(&mut begin)?;
    let mut socket = StdStream::connect(address)?;
    socket.set_nodelay(true)?;
    for packet in begin.chunks(at_a_time) {
        socket.write_all(packet)?;
    }
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_comes_before_the_handshake() {
    let (certificate, key) = certificate();
    let directory = tempfile::tempdir().unwrap();
    let (cert_file, key_file) = (directory.path().join("cert"), directory.path().join("key"));
    std::fs::write(&cert_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let origin = telling();
    let node = requiring(&origin, |config| {
        config.listen_https = vec![([127, 0, 0, 1], 0).into()];
        config.tls_cert = Some(cert_file);
        config.tls_key = Some(key_file);
    })
    .await;
    let config = client_config(certificate.der());
    let (address, headers) = (
        node.secure_proxy(),
        [LINE.into(), binary(1, 0x11, ADDRESSES)],
    );
    for header in headers {
        for at_a_time in [usize::MAX, 10, 1] {
            let (config, header) = (Arc::clone(&config), header.clone());
            let asking = spawn_blocking(move || ask(address, config, &header, at_a_time));
            let response = bounded("a response", asking).await.unwrap().unwrap();
            assert!(response.starts_with("HTTP/1.1 200"), "{response}");
            assert!(response.ends_with("192.0.2.1"), "{response}");
        }
    }
    // A handshake without a header is refused.
    let asking = spawn_blocking(move || ask(address, config, b"", usize::MAX));
    bounded("an end", asking).await.unwrap().unwrap_err();
    assert_eq!(node.stats().await.proxy_protocol_refused["missing"], 1);
    node.shutdown().await;
}

/// A server that reads a header of version 2 before a handshake, and then a request. Gives the header and the request.
async fn secure_origin() -> (SocketAddr, JoinHandle<(Vec<u8>, String)>) {
    let (certificate, key) = certificate();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut header = vec![0; 28];
        stream.read_exact(&mut header).await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        stream.write_all(response).await.unwrap();
        stream.flush().await.unwrap();
        (header, String::from_utf8(request).unwrap())
    });
    (address, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_is_sent_before_the_handshake() {
    let (address, server) = secure_origin().await;
    let mut node = DataPlane::start();
    let settings = PoolSettings {
        policy: PoolPolicy {
            send_proxy_protocol: Some(SendProxyProtocol::V2),
            ..PoolPolicy::default()
        },
        ..PoolSettings::default()
    };
    node.pool_with("default", settings, &[address]);
    let any_server = PoolTls {
        insecure: true,
        ..PoolTls::default()
    };
    let tls = ClientTls::new(&any_server, &Arc::new(RootCertStore::empty()), None).unwrap();
    node.secure_pool("default", PoolSecurity::Tls(tls));
    node.publish();
    let mut client = Client::connect(node.address()).await;
    assert_eq!(client.exchange("GET", GET).await.text(), "hi");
    let (header, request) = bounded("the request", server).await.unwrap();
    let addresses = [client.local_address(), node.address()];
    let ports = addresses.map(|address| address.port().to_be_bytes());
    let ips = [[127, 0, 0, 1]; 2].concat();
    assert_eq!(header, binary(1, 0x11, &[ips, ports.concat()].concat()));
    assert!(request.starts_with("GET / HTTP/1.1\r\n"), "{request}");
    node.shutdown().await;
}
