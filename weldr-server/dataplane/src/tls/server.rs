//! The configuration of a listener's handshakes.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ring::digest::{SHA256, digest};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::CertificateDer,
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
};

use super::{
    certificates::{CertificateTable, Resolver},
    challenges::{ACME_TLS_1, TlsChallenges},
    hello, policy,
    provider::provider,
    tickets::TicketSecrets,
};
use crate::model::{ClientAuth, ListenerTls};

/// The protocol that we speak inside TLS, as ALPN names it (RFC 7301).
const HTTP_1_1: &[u8] = b"http/1.1";

/// Why a listener cannot perform handshakes.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// The versions or the ciphers do not fit each other.
    #[error("the TLS policy cannot be used")]
    Policy(#[source] rustls::Error),
    /// An authority is not a certificate.
    #[error("an authority of client certificates cannot be read")]
    Authority(#[source] rustls::Error),
    /// Clients cannot be verified.
    #[error("client certificates cannot be verified")]
    Verifier(#[source] VerifierBuilderError),
}

/// How a listener performs handshakes, ready for use by every worker.
#[derive(Debug)]
pub struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
    challenges: ArcSwapOption<TlsChallenges>,
}

impl ServerTls {
    /// What `settings` say, with the certificates of `table`, and tickets made with `secrets`.
    ///
    /// # Errors
    /// When an authority of client certificates is not a certificate.
    pub fn new(
        settings: &ListenerTls,
        table: CertificateTable,
        secrets: &TicketSecrets,
    ) -> Result<Arc<Self>, ServerTlsError> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: policy::suites(settings.policy),
            ..(*provider()).clone()
        });
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(policy::versions(settings.policy))
            .map_err(ServerTlsError::Policy)?;
        let builder = if settings.client_auth == ClientAuth::Off {
            builder.with_no_client_auth()
        } else {
            builder.with_client_cert_verifier(verifier(settings, provider)?)
        };
        let resolver = Resolver::new(table, settings.strict_sni);
        let mut config = builder.with_cert_resolver(Arc::clone(&resolver) as _);
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        // Sessions are in the tickets: a table of them would be of one node.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if settings.session_resumption {
            config.ticketer = secrets.bound_to(&binding(settings));
        } else {
            config.send_tls13_tickets = 0;
        }
        // Records are protected by `record`, which needs the keys.
        config.enable_secret_extraction = true;
        Ok(Arc::new(Self {
            config: Arc::new(config),
            resolver,
            challenges: ArcSwapOption::empty(),
        }))
    }

    /// Sets the challenges of ACME that are under way; `None`: there is none.
    pub fn set_challenges(&self, challenges: Option<Arc<TlsChallenges>>) {
        self.challenges.store(challenges);
    }

    /// Whether a challenge of ACME is under way, so that the whole `ClientHello` is needed to know what a handshake is for.
    pub(crate) fn has_challenges(&self) -> bool {
        self.challenges.load().is_some()
    }

    /// The configuration for the client whose first record is `record`, if it is an authority that makes sure of a domain.
    pub(crate) fn challenged_by(&self, record: &[u8]) -> Option<Arc<ServerConfig>> {
        let challenges = self.challenges.load();
        let challenges = challenges.as_ref()?;
        // An authority offers nothing else (RFC 8737, section 3).
        hello::protocols(record)
            .is_some_and(|protocols| protocols == [ACME_TLS_1])
            .then(|| Arc::clone(&challenges.config))
    }

    /// Replaces the certificates: the next handshake uses them.
    pub fn set_certificates(&self, table: CertificateTable) {
        self.resolver.set(table);
    }
}

fn verifier(
    settings: &ListenerTls,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, ServerTlsError> {
    let mut roots = RootCertStore::empty();
    for authority in settings.client_ca.certificates() {
        roots
            .add(CertificateDer::from(authority.bytes()))
            .map_err(ServerTlsError::Authority)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if settings.client_auth == ClientAuth::Optional {
        builder.allow_unauthenticated()
    } else {
        builder
    };
    builder.build().map_err(ServerTlsError::Verifier)
}

/// What tickets are bound to: what is demanded of a client.
fn binding(settings: &ListenerTls) -> Vec<u8> {
    let mut binding = format!("{:?}", settings.client_auth).into_bytes();
    for authority in settings.client_ca.certificates() {
        binding.extend_from_slice(digest(&SHA256, authority.bytes()).as_ref());
    }
    binding
}
