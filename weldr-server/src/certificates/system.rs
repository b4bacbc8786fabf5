//! The authorities that the system trusts.

use std::sync::Arc;

use rustls::RootCertStore;

/// The authorities that this system trusts, as its files have them now. What cannot be read is logged.
pub fn system_authorities() -> Arc<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate of an authority of this system cannot be read");
    }
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(added, ignored, "authorities of this system");
    Arc::new(roots)
}
