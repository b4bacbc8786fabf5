//! Handshakes by which an ACME authority makes sure that a domain is served here (TLS-ALPN-01: RFC 8737).

use std::{collections::BTreeMap, fmt, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{policy, provider::provider, server::ServerTlsError};
use crate::model::TlsPolicy;

/// The protocol of such a handshake, as ALPN names it. Nothing is said behind it.
pub(super) const ACME_TLS_1: &[u8] = b"acme-tls/1";

/// The challenges that are under way: the certificate of each domain that proves it.
pub struct TlsChallenges {
    pub(super) config: Arc<ServerConfig>,
}

impl TlsChallenges {
    /// Those with these certificates, by their domains in lower case.
    ///
    /// # Errors
    /// When the versions and the ciphers do not fit each other.
    pub fn new(
        by_domain: BTreeMap<String, Arc<CertifiedKey>>,
    ) -> Result<Arc<Self>, ServerTlsError> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: policy::suites(TlsPolicy::Intermediate),
            ..(*provider()).clone()
        });
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(policy::versions(TlsPolicy::Intermediate))
            .map_err(ServerTlsError::Policy)?;
        let mut config = builder
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Proofs(by_domain)));
        config.alpn_protocols = vec![ACME_TLS_1.to_vec()];
        config.send_tls13_tickets = 0;
        config.enable_secret_extraction = true;
        Ok(Arc::new(Self {
            config: Arc::new(config),
        }))
    }
}

impl fmt::Debug for TlsChallenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsChallenges").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Proofs(BTreeMap<String, Arc<CertifiedKey>>);

impl ResolvesServerCert for Proofs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        self.0.get(&name).cloned()
    }
}
