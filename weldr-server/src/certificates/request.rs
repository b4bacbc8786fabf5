//! New private keys, and requests for certificates (PKCS #10) with them.

use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384,
};
use ring::digest::{SHA256, digest};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize as _, Zeroizing};

use crate::model::KeyType;

/// Why a key or a request cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Weldr makes no keys of this kind.
    #[error("keys of the kind {0} are not made here")]
    Kind(KeyType),
    /// The key cannot be made, or is not one.
    #[error("the private key of a certificate cannot be made or read")]
    Key(#[source] rcgen::Error),
    /// The request cannot be made.
    #[error("the request for a certificate cannot be made")]
    Request(#[source] rcgen::Error),
}

/// A new private key in DER (PKCS #8).
///
/// # Errors
/// For other kinds than P-256 and P-384, and without randomness.
pub fn new_key(kind: KeyType) -> Result<Zeroizing<Vec<u8>>, RequestError> {
    let algorithm = match kind {
        KeyType::P256 => &PKCS_ECDSA_P256_SHA256,
        KeyType::P384 => &PKCS_ECDSA_P384_SHA384,
        other => return Err(RequestError::Kind(other)),
    };
    let mut pair = KeyPair::generate_for(algorithm).map_err(RequestError::Key)?;
    let der = Zeroizing::new(pair.serialized_der().to_vec());
    pair.zeroize();
    Ok(der)
}

/// The certificate that proves to an ACME authority that `domain` is served here, and its key, both in DER (RFC 8737, section 3).
///
/// # Errors
/// When the domain cannot be in a certificate, and without randomness.
pub fn challenge_certificate(
    domain: &str,
    key_authorization: &str,
) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), RequestError> {
    let params = CertificateParams::new([domain.to_owned()]);
    let mut params = params.map_err(RequestError::Request)?;
    let proof = digest(&SHA256, key_authorization.as_bytes());
    let proof = CustomExtension::new_acme_identifier(proof.as_ref());
    params.custom_extensions = vec![proof];
    let mut pair = KeyPair::generate().map_err(RequestError::Key)?;
    let certificate = params.self_signed(&pair);
    let key = Zeroizing::new(pair.serialized_der().to_vec());
    pair.zeroize();
    let certificate = certificate.map_err(RequestError::Request)?;
    Ok((certificate.der().to_vec(), key))
}

/// A request for a certificate of `domains` with `key`, in DER.
///
/// # Errors
/// When the key is none, or a domain cannot be in a certificate.
pub fn signing_request(domains: &[String], key: &[u8]) -> Result<Vec<u8>, RequestError> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let mut pair = KeyPair::try_from(&key).map_err(RequestError::Key)?;
    let mut params = CertificateParams::new(domains).map_err(RequestError::Request)?;
    // Authorities take the names from the extension, and some refuse others.
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&pair);
    pair.zeroize();
    Ok(request.map_err(RequestError::Request)?.der().to_vec())
}
