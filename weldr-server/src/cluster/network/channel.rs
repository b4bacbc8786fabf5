//! TLS 1.3 between nodes: who is on the other side of a channel.
//!
//! A caller accepts only the node that it expects. A node that is called accepts every certificate in the handshake, which
//! proves no more than that the caller has its key; `authentication` decides for each call what that key may do.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, ConnectionCommon, DigitallySignedStruct, DistinguishedName,
    RootCertStore, ServerConfig, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls13_signature},
    server::{
        NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::cluster::log::{fingerprint::Fingerprint, types::Member};

use super::credentials::{Credentials, fingerprint};

/// The protocol of nodes of this version (ALPN).
const PROTOCOL: &[u8] = b"weldr-node/2";
/// That of nodes of version 0.1.0, with certificates of the operators.
const PREVIOUS_PROTOCOL: &[u8] = b"h2";
/// The label of the channel binding `tls-exporter` (RFC 9266).
const BINDING: &[u8] = b"EXPORTER-Channel-Binding";

/// What only the two ends of a channel know, and what differs from channel to channel.
pub(in crate::cluster) type Binding = [u8; 32];

/// What is spoken on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cluster) enum Protocol {
    Current,
    /// That of version 0.1.0.
    Previous,
}

impl Protocol {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Current => PROTOCOL,
            Self::Previous => PREVIOUS_PROTOCOL,
        }
    }
}

/// Whom a caller accepts.
#[derive(Debug, Clone)]
pub(in crate::cluster) enum Expected {
    /// Any node, which then proves itself otherwise.
    Anyone,
    /// A node with one of these keys, by the first half of the fingerprint.
    OneOf(Vec<[u8; Fingerprint::SHORT]>),
    /// This member.
    Member(Member),
}

/// Who is on the other side of a channel.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct ChannelPeer {
    pub(in crate::cluster) key: Fingerprint,
    pub(in crate::cluster) binding: Binding,
    certificate: CertificateDer<'static>,
    /// Whether the certificate is one of the operators' authority.
    pub(in crate::cluster) is_certified: bool,
    /// Whether the peer speaks the protocol of version 0.1.0.
    pub(in crate::cluster) is_previous: bool,
}

impl ChannelPeer {
    /// The peer of a channel whose handshake is over; `None` if it has shown no certificate.
    pub(in crate::cluster) fn of<Data>(
        connection: &ConnectionCommon<Data>,
        credentials: &Credentials,
    ) -> Option<Self> {
        let (certificate, others) = connection.peer_certificates()?.split_first()?;
        let binding = connection
            .export_keying_material(Binding::default(), BINDING, None)
            .ok()?;
        let is_certified = credentials.authority.as_ref().is_some_and(|roots| {
            let (roots, provider) = (Arc::clone(roots), Arc::clone(&credentials.provider));
            let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let now = UnixTime::now();
            builder.build().is_ok_and(|verifier| {
                let chain = verifier.verify_client_cert(certificate, others, now);
                chain.is_ok()
            })
        });
        Some(Self {
            key: fingerprint(certificate).ok()?,
            binding,
            certificate: certificate.clone().into_owned(),
            is_certified,
            is_previous: connection.alpn_protocol() != Some(PROTOCOL),
        })
    }

    /// Whether this is `member`: by its key, or, if it has none, by its name in a certificate of the operators' authority.
    pub(in crate::cluster) fn is(&self, member: &Member) -> bool {
        if member.keys.is_empty() {
            return self.is_certified && names(&self.certificate, member);
        }
        member.keys.contains(&self.key)
    }
}

/// Whether a certificate is valid for the name of a member, or for the address at which the others reach it.
fn names(certificate: &CertificateDer<'_>, member: &Member) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
        return false;
    };
    let by_name = ServerName::try_from(member.name.clone()).ok();
    let address = member.address.parse::<std::net::SocketAddr>().ok();
    let by_address = address.map(|address| ServerName::from(address.ip().to_canonical()));
    let mut names = by_name.into_iter().chain(by_address);
    names.any(|name| verify_server_name(&parsed, &name).is_ok())
}

/// How this node calls a node.
pub(in crate::cluster) fn client_config(
    credentials: &Credentials,
    expected: Expected,
    protocol: Protocol,
) -> Result<ClientConfig, rustls::Error> {
    let verifier = ServerVerifier {
        expected,
        provider: Arc::clone(&credentials.provider),
        authority: credentials.authority.clone(),
    };
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&credentials.provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(Shown(Arc::clone(&credentials.certified))));
    config.alpn_protocols = vec![protocol.name().to_vec()];
    // Every channel has a handshake of its own.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// How this node is called.
pub(in crate::cluster) fn server_config(
    credentials: &Credentials,
    protocols: &[Protocol],
) -> Result<ServerConfig, rustls::Error> {
    let verifier = ClientVerifier(Arc::clone(&credentials.provider));
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&credentials.provider))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(Shown(Arc::clone(&credentials.certified))));
    let names = protocols.iter().map(|protocol| protocol.name().to_vec());
    config.alpn_protocols = names.collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Shows the certificate of this node to everybody.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Accepts the node that is expected.
#[derive(Debug)]
struct ServerVerifier {
    expected: Expected,
    provider: Arc<CryptoProvider>,
    authority: Option<Arc<RootCertStore>>,
}

impl ServerVerifier {
    fn is_certified(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<bool, rustls::Error> {
        let Some(roots) = &self.authority else {
            return Ok(false);
        };
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, others, now, algorithms)?;
        Ok(true)
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let key = fingerprint(certificate)?;
        let is_expected = match &self.expected {
            Expected::Anyone if self.authority.is_some() => {
                self.is_certified(certificate, others, now)?
            }
            Expected::Anyone => true,
            Expected::OneOf(keys) => keys.contains(&key.short()),
            Expected::Member(member) if member.keys.is_empty() => {
                self.is_certified(certificate, others, now)? && names(certificate, member)
            }
            Expected::Member(member) => member.keys.contains(&key),
        };
        if is_expected {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// Accepts everybody who has the key of the certificate that it shows.
#[derive(Debug)]
struct ClientVerifier(Arc<CryptoProvider>);

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        fingerprint(certificate)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
