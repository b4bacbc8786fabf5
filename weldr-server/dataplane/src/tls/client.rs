//! The configuration of a pool's handshakes with its servers.

use std::{io, net::IpAddr, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::VerifierBuilderError,
    client::{
        ResolvesClientCert, Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};

use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::provider::provider;
use crate::model::PoolTls;

/// How many sessions of a server are kept for resumption; each has one name.
const SESSIONS: usize = 2;

/// Why a pool cannot perform handshakes with its servers.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// An authority is not a certificate.
    #[error("an authority of the servers' certificates cannot be read")]
    Authority(#[source] rustls::Error),
    /// There is no authority that could vouch for a server.
    #[error(
        "this machine has no certificates of authorities: install them (ca-certificates), or give the pool its own (verify_ca)"
    )]
    NoAuthorities(#[source] VerifierBuilderError),
    /// The name is none.
    #[error("the name of the servers is not valid")]
    Name(#[source] rustls::pki_types::InvalidDnsNameError),
    /// The versions do not fit the ciphers.
    #[error("TLS to the servers cannot be configured")]
    Config(#[source] rustls::Error),
}

/// How a pool performs handshakes with its servers, ready for use by every worker and by the checks.
#[derive(Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    /// The name that a server's certificate must have; `None`: its address.
    name: Option<ServerName<'static>>,
}

impl ClientTls {
    /// What `settings` say. `system`: the authorities of this machine, for a pool without any of its own; `certificate`: what
    /// is shown to servers that ask for a certificate.
    ///
    /// # Errors
    /// When an authority or the name cannot be used.
    pub fn new(
        settings: &PoolTls,
        system: &Arc<RootCertStore>,
        certificate: Option<Arc<CertifiedKey>>,
    ) -> Result<Arc<Self>, ClientTlsError> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(ClientTlsError::Config)?;
        let builder = if settings.insecure {
            let verifier = Arc::new(AnyServer(provider));
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        } else {
            let roots = roots(settings, system)?;
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(ClientTlsError::NoAuthorities)?;
            builder.with_webpki_verifier(verifier)
        };
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some(key) => builder.with_client_cert_resolver(Arc::new(OneCertificate(key))),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        // Records are protected by `record`, which needs the keys.
        config.enable_secret_extraction = true;
        let name = settings.server_name.clone().map(server_name).transpose()?;
        Ok(Arc::new(Self {
            config: Arc::new(config),
            name,
        }))
    }

    /// The handshake of a check with the server at `address`, on `stream`.
    pub(crate) async fn check(
        &self,
        stream: TcpStream,
        address: IpAddr,
    ) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(self.name_of(address), stream).await
    }

    /// What handshakes with the server at `address` need. Its sessions are kept apart from those of other servers, which may not
    /// resume them although they have the same name.
    pub(crate) fn to_server(&self, address: IpAddr) -> ToServer {
        let mut config = (*self.config).clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        ToServer {
            config: Arc::new(config),
            name: self.name_of(address),
        }
    }

    fn name_of(&self, address: IpAddr) -> ServerName<'static> {
        let of_address = || ServerName::IpAddress(address.to_canonical().into());
        self.name.clone().unwrap_or_else(of_address)
    }
}

/// What handshakes with one server need.
#[derive(Debug, Clone)]
pub(crate) struct ToServer {
    pub(crate) config: Arc<ClientConfig>,
    /// The name that its certificate must have.
    pub(crate) name: ServerName<'static>,
}

fn server_name(name: String) -> Result<ServerName<'static>, ClientTlsError> {
    ServerName::try_from(name).map_err(ClientTlsError::Name)
}

fn roots(
    settings: &PoolTls,
    system: &Arc<RootCertStore>,
) -> Result<Arc<RootCertStore>, ClientTlsError> {
    if settings.verify_ca.is_empty() {
        return Ok(Arc::clone(system));
    }
    let mut roots = RootCertStore::empty();
    for authority in settings.verify_ca.certificates() {
        roots
            .add(CertificateDer::from(authority.bytes()))
            .map_err(ClientTlsError::Authority)?;
    }
    Ok(Arc::new(roots))
}

/// Shows one certificate, whatever authorities the server names: it is the operator who knows.
#[derive(Debug)]
struct OneCertificate(Arc<CertifiedKey>);

impl ResolvesClientCert for OneCertificate {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let understood = self.0.key.choose_scheme(schemes).is_some();
        understood.then(|| Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Accepts any certificate: for a pool that is marked as insecure. That the server has the key is still verified.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}
