//! Reads certificates and private keys as operators have them, and refuses those that would not work, in one sentence each.
//! Pure: what is accepted becomes a part of the desired state elsewhere.
//!
//! * `pem`: the text of a file, and what else a file may be.
//! * `chain`: the certificates: their order, dates and names.
//! * `key`: private keys.
//! * `authorities`: the certificates of authorities.
//! * `request`: new keys, and requests for certificates with them.
//! * `system`: the authorities that the system trusts.
//!
//! A key is read into memory that is overwritten when it is dropped, and no error or log line has a part of one.

mod authorities;
mod chain;
mod key;
mod pem;
mod request;
mod system;

use key::Key;
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

pub use authorities::authorities;
pub use pem::{pem, pem_of};
pub use request::{RequestError, challenge_certificate, new_key, signing_request};
pub use system::system_authorities;

use crate::model::{CertificateSource, CertificateSpec, Der, Invalid, KeyType, Sealed, Timestamp};

/// The names of the fields, as calls have them.
const CERTIFICATE: &str = "certificate";
const PRIVATE_KEY: &str = "private_key";

/// A certificate that was read and accepted.
#[derive(Debug)]
pub struct Accepted {
    chain: Vec<Der>,
    names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    key_type: KeyType,
    key: PrivateKey,
    /// What works, but probably not as it is meant: sentences.
    pub warnings: Vec<String>,
}

/// A private key in DER: PKCS #8, PKCS #1 or SEC 1, which `PrivateKeyDer::try_from` tells apart.
struct PrivateKey(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}

/// Reads a chain and its private key, both in PEM. What is out of date at `now` is refused, or with `force` only a warning.
///
/// # Errors
/// Everything that is wrong with the chain, or with the key, or that they do not belong together: the field, the fact and what
/// is accepted.
pub fn accept(
    certificate: &str,
    private_key: &str,
    now: Timestamp,
    force: bool,
) -> Result<Accepted, Vec<Invalid>> {
    let chain = chain::read(certificate);
    let key = key::read(private_key);
    match (chain, key) {
        (Ok(chain), Ok(key)) => accept_read(chain, key, now, force),
        (chain, key) => Err(chain.err().into_iter().chain(key.err()).collect()),
    }
}

/// [`accept`] for a chain in PEM that was issued for a key of ours, in DER.
///
/// # Errors
/// As [`accept`].
pub fn accept_issued(
    certificate: &str,
    private_key: &[u8],
    now: Timestamp,
) -> Result<Accepted, Vec<Invalid>> {
    let one = |invalid| vec![invalid];
    let chain = chain::read(certificate).map_err(one)?;
    let key = key::of_der(private_key).map_err(one)?;
    accept_read(chain, key, now, false)
}

fn accept_read(
    chain: Vec<Vec<u8>>,
    key: Key,
    now: Timestamp,
    force: bool,
) -> Result<Accepted, Vec<Invalid>> {
    let one = |invalid| vec![invalid];
    let parsed = chain::parse(&chain).map_err(one)?;
    chain::place_of_key(&parsed, &key).map_err(one)?;
    let mut warnings = chain::order(&parsed).map_err(one)?;
    let mut doubts = chain::dates(&parsed, now);
    let names = chain::dns_names(&parsed[0]);
    if names.is_empty() {
        doubts.push(chain::no_name());
    }
    if !doubts.is_empty() && !force {
        return Err(doubts);
    }
    warnings.extend(doubts.into_iter().map(|doubt| doubt.value));
    let validity = parsed[0].validity();
    Ok(Accepted {
        names,
        not_before: chain::timestamp(&validity.not_before),
        not_after: chain::timestamp(&validity.not_after),
        key_type: chain::key_type(&parsed[0]).map_err(one)?,
        key: PrivateKey(key.der),
        warnings,
        chain: chain.into_iter().map(Der::new).collect(),
    })
}

impl Accepted {
    /// The certificates, the server's own first.
    pub fn chain(&self) -> &[Der] {
        &self.chain
    }

    /// The DNS names that it is for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The private key, to be sealed.
    pub fn private_key(&self) -> &[u8] {
        &self.key.0
    }

    /// The certificate for the desired state, with its key sealed.
    pub fn with_key(self, key: Sealed) -> CertificateSpec {
        let fingerprint = fingerprint(self.chain[0].bytes());
        CertificateSpec {
            chain: self.chain,
            key,
            names: self.names,
            not_before: self.not_before,
            not_after: self.not_after,
            key_type: self.key_type,
            fingerprint,
            source: CertificateSource::Uploaded,
        }
    }
}

/// The SHA-256 of a certificate, in hexadecimal digits.
pub fn fingerprint(der: &[u8]) -> String {
    let digest = digest(&SHA256, der);
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

#[cfg(test)]
mod tests;
