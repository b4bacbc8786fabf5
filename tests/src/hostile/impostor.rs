//! Listens where a node is expected, with a key of its own, and answers whatever a test makes of it.

use std::{
    convert::Infallible,
    future::pending,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::StreamBody;
use hyper::{
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::ring as provider,
    server::danger::{ClientCertVerified, ClientCertVerifier},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tonic::Status;
use weldr_proto::raft::v1::JoinResponse;

use super::peer::Credentials;

/// What an impostor answers to whatever it is asked.
#[derive(Debug, Clone)]
pub enum Answer {
    /// That the caller is admitted, with this proof of the secret in hex (empty for none).
    Admitted(JoinResponse, String),
    /// That it is not.
    Refused(Status),
    /// Nothing.
    Silence,
}

/// An impostor; it stops listening when it is dropped.
#[derive(Debug)]
pub struct Impostor {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Impostor {
    /// Listens on a port of 127.0.0.1, shows `credentials`, and gives `answer`.
    ///
    /// # Errors
    /// Nothing can be bound.
    pub async fn start(credentials: &Credentials, answer: Answer) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let asked = Arc::new(AtomicUsize::new(0));
        let acceptor = TlsAcceptor::from(Arc::new(config(credentials)));
        let mut serving = JoinSet::new();
        let count = Arc::clone(&asked);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                connections.spawn(serve(stream, acceptor, answer, Arc::clone(&count)));
            }
        });
        Ok(Self {
            address,
            asked,
            _serving: serving,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many calls it was sent.
    pub fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, answer: Answer, asked: Arc<AtomicUsize>) {
    // The caller may end the handshake, when it sees whom it has met.
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(move |_: Request<Incoming>| {
        asked.fetch_add(1, Relaxed);
        let answer = answer.clone();
        async move {
            Ok::<_, Infallible>(match answer {
                Answer::Admitted(response, proof) => admitted(&response, &proof),
                Answer::Refused(status) => refused(status),
                Answer::Silence => pending().await,
            })
        }
    });
    let connection =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    // However it ends, the caller has ended it.
    let _ = connection.await;
}

type Body =
    StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

fn body(frames: Vec<Frame<Bytes>>) -> Body {
    let frames: Vec<_> = frames.into_iter().map(Ok).collect();
    StreamBody::new(futures_util::stream::iter(frames))
}

fn admitted(message: &JoinResponse, proof: &str) -> Response<Body> {
    let encoded = message.encode_to_vec();
    let mut message_bytes = BytesMut::with_capacity(5 + encoded.len());
    message_bytes.put_u8(0);
    message_bytes.put_u32(u32::try_from(encoded.len()).expect("a small message"));
    message_bytes.put_slice(&encoded);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = vec![
        Frame::data(message_bytes.freeze()),
        Frame::trailers(trailers),
    ];
    let mut response = Response::new(body(frames));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    if !proof.is_empty() {
        let proof = proof.parse().expect("plain text");
        headers.insert("weldr-channel-proof", proof);
    }
    response
}

fn refused(status: Status) -> Response<Body> {
    let (parts, ()) = status.into_http::<()>().into_parts();
    Response::from_parts(parts, body(Vec::new()))
}

fn config(credentials: &Credentials) -> ServerConfig {
    let shown = Arc::new(rustls::sign::SingleCertAndKey::from(
        credentials.certified(),
    ));
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(Arc::new(Anyone))
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![b"weldr-node/2".to_vec()];
    config
}

/// Accepts whatever a caller shows.
#[derive(Debug)]
struct Anyone;

impl ClientCertVerifier for Anyone {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
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
