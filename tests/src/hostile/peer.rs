//! Speaks the protocol between nodes as anybody may, who has read it: with a key of its own or a stolen one, and with whatever
//! claims a test makes.

use std::{
    fmt::Write as _,
    future::{Ready, ready},
    io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    task::{Context, Poll},
};

use hyper_util::rt::TokioIo;
use ring::{digest, hmac};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring as provider,
    server::ParsedCertificate,
    sign::CertifiedKey,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Request,
    transport::{Channel, Endpoint, Uri},
};
use weldr_proto::raft::v1::{self, raft_client::RaftClient};

/// A certificate and a private key, which need not belong together.
#[derive(Debug, Clone)]
pub struct Credentials {
    certificate: CertificateDer<'static>,
    private: Arc<Vec<u8>>,
}

/// What the metadata of a call says.
#[derive(Debug, Clone, Default)]
pub struct Claim {
    /// The UUID of the cluster; empty for none.
    pub cluster: String,
    /// The id that the peer gives itself.
    pub sender: u64,
    /// The id of the node that is called, or 0.
    pub target: u64,
    /// The proof of the secret, in hex; empty for none.
    pub proof: String,
}

/// A channel to a node.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Calls over it.
    pub client: RaftClient<Channel>,
    /// The connection itself.
    pub channel: Channel,
    /// The channel binding of RFC 9266.
    pub binding: [u8; 32],
    /// What the node has shown.
    pub certificate: CertificateDer<'static>,
}

impl Credentials {
    /// A new key, with a certificate that it has signed itself.
    pub fn new() -> Self {
        Self::of(&rcgen::KeyPair::generate().expect("a key"))
    }

    /// Those of the node with this data directory.
    pub fn of_node(data_dir: &Path) -> Self {
        let pem = std::fs::read_to_string(data_dir.join("node.key")).expect("the key of a node");
        Self::of(&rcgen::KeyPair::from_pem(&pem).expect("a key"))
    }

    fn of(key: &rcgen::KeyPair) -> Self {
        let certificate = rcgen::CertificateParams::default().self_signed(key);
        Self {
            certificate: certificate.expect("a certificate").der().clone(),
            private: Arc::new(key.serialize_der()),
        }
    }

    /// These with another certificate, whose private key they have not.
    #[must_use]
    pub fn showing(self, certificate: CertificateDer<'static>) -> Self {
        Self {
            certificate,
            ..self
        }
    }

    /// SHA-256 of the public key, as it is in a membership.
    pub fn fingerprint(&self) -> Vec<u8> {
        let parsed = ParsedCertificate::try_from(&self.certificate).expect("a certificate");
        let key = parsed.subject_public_key_info();
        digest::digest(&digest::SHA256, &key).as_ref().to_vec()
    }

    pub(super) fn certified(&self) -> CertifiedKey {
        let key = PrivateKeyDer::try_from(self.private.to_vec()).expect("a key");
        let key = provider::sign::any_supported_type(&key).expect("a key");
        CertifiedKey::new(vec![self.certificate.clone()], key)
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self::new()
    }
}

impl Peer {
    /// Opens a channel to the node at `address`, whoever that is.
    ///
    /// # Errors
    /// The node refuses the handshake; it may also do so at the first call, because a caller ends the handshake first.
    pub async fn connect(address: SocketAddr, credentials: &Credentials) -> io::Result<Self> {
        let verifier = Arc::new(Anyone);
        let shown = Arc::new(rustls::sign::SingleCertAndKey::from(
            credentials.certified(),
        ));
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
                .with_protocol_versions(&[&TLS13])
                .expect("TLS 1.3")
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_client_cert_resolver(shown);
        config.alpn_protocols = vec![b"weldr-node/2".to_vec()];
        config.resumption = Resumption::disabled();
        let tcp = TcpStream::connect(address).await?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(address.ip().into(), tcp).await?;
        let connection = stream.get_ref().1;
        let binding = connection
            .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None)
            .expect("a channel");
        let certificates = connection.peer_certificates().expect("a certificate");
        let certificate = certificates[0].clone().into_owned();
        let channel =
            Endpoint::from_static("http://node").connect_with_connector_lazy(Once(Some(stream)));
        Ok(Self {
            client: RaftClient::new(channel.clone()),
            channel,
            binding,
            certificate,
        })
    }

    /// A proof of `secret` for what `claim` says, on this channel.
    pub fn proof(&self, secret: &str, claim: &Claim) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let Claim {
            cluster,
            sender,
            target,
            ..
        } = claim;
        let mut proven =
            format!("weldr-node-v2\0caller\0{cluster}\0{sender}\0{target}\0").into_bytes();
        proven.extend_from_slice(&self.binding);
        let tag = hmac::sign(&key, &proven);
        tag.as_ref().iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Asks to join as `member`, with a proof of `secret`.
    ///
    /// # Errors
    /// What the node answers.
    pub async fn join(
        &mut self,
        secret: &str,
        member: v1::Member,
    ) -> Result<v1::JoinResponse, tonic::Status> {
        let mut claim = Claim {
            sender: member.id,
            ..Claim::default()
        };
        claim.proof = self.proof(secret, &claim);
        let request = v1::JoinRequest {
            member: Some(member),
            record_version: 3,
            ..v1::JoinRequest::default()
        };
        let response = self.client.join(claim.on(request)).await?;
        Ok(response.into_inner())
    }
}

impl Claim {
    /// A call with this metadata.
    pub fn on<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        for (key, value) in [
            ("weldr-cluster", self.cluster.clone()),
            ("weldr-sender", self.sender.to_string()),
            ("weldr-target", self.target.to_string()),
            ("weldr-channel-proof", self.proof.clone()),
        ] {
            if !value.is_empty() {
                metadata.insert(key, value.parse().expect("plain text"));
            }
        }
        request
    }
}

/// Gives a connection that is open, once.
struct Once(Option<TlsStream<TcpStream>>);

impl tower::Service<Uri> for Once {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let ended = || io::Error::from(io::ErrorKind::NotConnected);
        ready(self.0.take().map(TokioIo::new).ok_or_else(ended))
    }
}

/// Accepts whatever a node shows.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = provider::default_provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
