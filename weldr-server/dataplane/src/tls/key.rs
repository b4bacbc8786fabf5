//! A chain with the key that signs for it.

use std::sync::Arc;

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};

use super::provider::provider;

/// Why a chain and a key cannot be used together.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key is of a kind that is not known, or damaged.
    #[error(
        "the private key cannot be used: RSA with 2048 to 4096 bits, P-256, P-384 and Ed25519 are accepted"
    )]
    Key(#[source] rustls::Error),
    /// The certificate is of another key, or cannot be read.
    #[error("the private key does not belong to the certificate")]
    Mismatch(#[source] rustls::Error),
}

/// The certificates of `chain`, the server's own first, with its `key`.
///
/// # Errors
/// When the key cannot be used, or is not that of the first certificate.
pub fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, KeyError> {
    let certified = unverified_key(chain, key)?;
    certified.keys_match().map_err(KeyError::Mismatch)?;
    Ok(certified)
}

/// [`certified_key`] of a certificate that was made here for its key, and that need not be one for other purposes: those of
/// ACME's challenges have a critical extension that clients do not know.
///
/// # Errors
/// When the key cannot be used.
pub fn unverified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, KeyError> {
    let signing = provider()
        .key_provider
        .load_private_key(key)
        .map_err(KeyError::Key)?;
    Ok(Arc::new(CertifiedKey::new(chain, signing)))
}
