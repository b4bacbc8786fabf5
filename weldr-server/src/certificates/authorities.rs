//! The certificates of authorities, against which others are verified.

use rustls::RootCertStore;

use super::pem;
use crate::model::{CaBundle, Der, Invalid};

/// Reads certificates of authorities in PEM. An empty text is an empty bundle.
///
/// # Errors
/// Names `field`, the fact and what is accepted.
pub fn authorities(field: &str, text: &str) -> Result<CaBundle, Invalid> {
    if text.trim().is_empty() {
        return Ok(CaBundle::default());
    }
    let certificates = pem::certificates(field, text)?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        if roots.add(certificate.clone()).is_err() {
            let value = format!("number {} is no certificate of an authority", index + 1);
            return Err(Invalid::new(field, value, "certificates of X.509, in PEM"));
        }
    }
    let certificates = certificates.iter().map(|der| Der::new(&**der));
    let bundle = CaBundle::new(certificates.collect::<Vec<_>>());
    bundle.validate(field)?;
    Ok(bundle)
}
