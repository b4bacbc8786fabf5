//! What TLS needs of this node: the authorities of its system.

use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;

use crate::{
    model::{PoolProtocol, PoolSettings},
    snapshot::PoolSecurity,
    tls::ClientTls,
};

/// What TLS needs of this node.
#[derive(Debug, Default)]
pub(super) struct TlsMaterial {
    /// Read when the first pool needs them.
    system: OnceLock<Arc<RootCertStore>>,
}

impl TlsMaterial {
    /// How a pool with `settings` speaks to its servers.
    pub(super) fn security_of(&self, settings: &PoolSettings) -> PoolSecurity {
        if settings.protocol != PoolProtocol::Https {
            return PoolSecurity::Plain;
        }
        match ClientTls::new(&settings.tls, self.system(), None) {
            Ok(tls) => PoolSecurity::Tls(tls),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "TLS cannot be spoken to the servers of a pool");
                PoolSecurity::Unusable(error.to_string().into())
            }
        }
    }

    fn system(&self) -> &Arc<RootCertStore> {
        self.system.get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(%error, "a certificate of an authority of this system cannot be read");
            }
            let mut roots = RootCertStore::empty();
            let (added, ignored) = roots.add_parsable_certificates(found.certs);
            tracing::debug!(added, ignored, "authorities of this system");
            Arc::new(roots)
        })
    }
}
