//! Private keys.

use std::sync::Arc;

use rustls::{
    crypto::ring::sign::any_supported_type,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    sign::SigningKey,
};
use x509_parser::{prelude::FromDer as _, x509::SubjectPublicKeyInfo};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    PRIVATE_KEY,
    pem::{self, Kind},
};
use crate::model::Invalid;

/// A private key that was read.
pub(super) struct Key {
    pub(super) der: Zeroizing<Vec<u8>>,
    /// The bits of the public key that belongs to it.
    pub(super) public: Vec<u8>,
}

const LABELS: [&str; 3] = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// The private key in a text. Errors never hold a part of the text.
pub(super) fn read(text: &str) -> Result<Key, Invalid> {
    pem::not_too_long(PRIVATE_KEY, text)?;
    let refused = |value: &str, accepted: &str| Err(Invalid::new(PRIVATE_KEY, value, accepted));
    let is_encrypted = pem::labels(text).any(|label| label == ENCRYPTED)
        || text
            .lines()
            .any(|line| line.starts_with("Proc-Type: 4,ENCRYPTED"));
    if is_encrypted {
        let accepted =
            "a key without a passphrase: decrypt it with `openssl pkey -in FILE -out key.pem`";
        return refused("encrypted", accepted);
    }
    let in_pem = "a private key in PEM, which begins with -----BEGIN PRIVATE KEY-----";
    match pem::kind(text, &LABELS) {
        Kind::Wanted => {}
        Kind::Other("a private key of OpenSSH") => {
            let accepted = "PEM: convert it with `ssh-keygen -p -m pkcs8 -f FILE`";
            return refused("a private key of OpenSSH", accepted);
        }
        Kind::Other(words) => return refused(words, in_pem),
        Kind::Empty => return refused("empty", in_pem),
        Kind::Pkcs12 => {
            let accepted =
                "PEM: convert it with `openssl pkcs12 -in FILE -nocerts -nodes -out key.pem`";
            return refused("PKCS #12", accepted);
        }
        Kind::Der => {
            let accepted = "PEM: convert it with `openssl pkey -inform der -in FILE -out key.pem`";
            return refused("DER", accepted);
        }
        Kind::Unknown => return refused("no private key", in_pem),
    }
    let mut keys = PrivateKeyDer::pem_slice_iter(text.as_bytes());
    let (first, second) = (keys.next(), keys.next());
    let Some(Ok(mut key)) = first else {
        return refused("damaged PEM", "a private key in PEM, with its whole text");
    };
    if second.is_some() {
        return refused(
            "several private keys",
            "the one that belongs to the certificate",
        );
    }
    let read = of(&key);
    key.zeroize();
    read
}

/// The private key in DER.
pub(super) fn of_der(der: &[u8]) -> Result<Key, Invalid> {
    let key = PrivateKeyDer::try_from(der);
    of(&key.map_err(|_| unreadable())?)
}

fn of(key: &PrivateKeyDer<'_>) -> Result<Key, Invalid> {
    let signing = any_supported_type(key).map_err(|_| unreadable())?;
    Ok(Key {
        der: Zeroizing::new(key.secret_der().to_vec()),
        public: public_bits(&signing).ok_or_else(unreadable)?,
    })
}

fn unreadable() -> Invalid {
    let accepted = "RSA with 2048 to 4096 bits, ECDSA on P-256 or P-384, or Ed25519";
    Invalid::new(PRIVATE_KEY, "unreadable or of another kind", accepted)
}

fn public_bits(key: &Arc<dyn SigningKey>) -> Option<Vec<u8>> {
    let spki = key.public_key()?;
    let (_, spki) = SubjectPublicKeyInfo::from_der(&spki).ok()?;
    Some(spki.subject_public_key.data.to_vec())
}
