//! Handshakes with rustls's own connections, in memory: what we seal and open is checked against what it does.

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    SupportedCipherSuite,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};

use crate::model::ListenerTls;

use super::{
    CertificateTable, Established, Handshake, Progress, ServerCertificate, ServerTls,
    TicketSecrets, certified_key, provider::provider,
};

/// The name in the certificates.
pub(crate) const NAME: &str = "shop.example.com";

/// A certificate that signs itself.
pub(crate) struct SelfSigned {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) key: PrivatePkcs8KeyDer<'static>,
}

impl SelfSigned {
    pub(crate) fn new(name: &str) -> Self {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        Self {
            der: params.self_signed(&key).unwrap().der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        }
    }

    pub(crate) fn for_server(&self, names: &[&str]) -> ServerCertificate {
        let key = PrivateKeyDer::Pkcs8(self.key.clone_key());
        ServerCertificate {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            key: certified_key(vec![self.der.clone()], key).unwrap(),
        }
    }
}

/// A listener's TLS with that certificate.
pub(crate) fn server_tls(certificate: &SelfSigned, tickets: &TicketSecrets) -> Arc<ServerTls> {
    let table = CertificateTable::new([&certificate.for_server(&[NAME])]);
    ServerTls::new(&ListenerTls::default(), table, tickets).unwrap()
}

/// The configuration of a client that trusts `certificate`, and offers `suites` only, unless there are none.
pub(crate) fn client_config(
    certificate: &SelfSigned,
    suites: &[SupportedCipherSuite],
) -> Arc<ClientConfig> {
    let mut provider: CryptoProvider = (*provider()).clone();
    if !suites.is_empty() {
        provider.cipher_suites = suites.to_vec();
    }
    let versions: Vec<_> = [&rustls::version::TLS13, &rustls::version::TLS12]
        .into_iter()
        .filter(|version| {
            let suites = &provider.cipher_suites;
            suites
                .iter()
                .any(|suite| suite.version().version == version.version)
        })
        .collect();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    Arc::new(config)
}

/// The configuration of rustls's own server.
pub(crate) fn server_config(certificate: &SelfSigned) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::Pkcs8(certificate.key.clone_key());
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der.clone()], key)
        .unwrap();
    Arc::new(config)
}

/// Our server's side against a client of rustls's.
pub(crate) fn serve(tls: &ServerTls, config: Arc<ClientConfig>) -> (Established, ClientConnection) {
    let mut client = ClientConnection::new(config, name()).unwrap();
    let mut handshake = Handshake::server(Arc::clone(&tls.config)).unwrap();
    let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
    loop {
        while client.wants_write() {
            client.write_tls(&mut incoming).unwrap();
        }
        let progress = handshake.advance(&mut incoming, &mut outgoing).unwrap();
        feed(&mut client, &mut outgoing);
        match progress {
            Progress::NeedsMore(next) => handshake = next,
            Progress::Complete(established) => {
                assert!(incoming.is_empty());
                return (*established, client);
            }
        }
    }
}

/// Our client's side against a server of rustls's. What the server sends behind the handshake is in the last value.
pub(crate) fn connect(
    config: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> (Established, ServerConnection, Vec<u8>) {
    let mut server = ServerConnection::new(server).unwrap();
    let mut handshake = Handshake::client(config, name()).unwrap();
    let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
    loop {
        let progress = handshake.advance(&mut incoming, &mut outgoing).unwrap();
        let mut sent = outgoing.as_slice();
        while !sent.is_empty() {
            server.read_tls(&mut sent).unwrap();
            server.process_new_packets().unwrap();
        }
        outgoing.clear();
        while server.wants_write() {
            server.write_tls(&mut incoming).unwrap();
        }
        match progress {
            Progress::NeedsMore(next) => handshake = next,
            Progress::Complete(established) => return (*established, server, incoming),
        }
    }
}

fn name() -> ServerName<'static> {
    NAME.try_into().unwrap()
}

/// Gives `bytes` to the client, and returns the data that was in them.
pub(crate) fn feed(client: &mut ClientConnection, bytes: &mut Vec<u8>) -> Vec<u8> {
    let mut data = Vec::new();
    let mut sent = bytes.as_slice();
    while !sent.is_empty() {
        client.read_tls(&mut sent).unwrap();
        client.process_new_packets().unwrap();
        let mut space = vec![0; 70_000];
        while let Ok(read @ 1..) = client.reader().read(&mut space) {
            data.extend_from_slice(&space[..read]);
        }
    }
    bytes.clear();
    data
}

/// What the client sends for `data`.
pub(crate) fn sealed_by(client: &mut ClientConnection, data: &[u8]) -> Vec<u8> {
    client.writer().write_all(data).unwrap();
    let mut sealed = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut sealed).unwrap();
    }
    sealed
}
