//! A certificate: a chain and a private key, which listeners show to clients and pools to servers.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{AcmeRequest, CertificateName, Der, Invalid, Revision, Sealed, Timestamp};

/// The length of a SHA-256 digest in hexadecimal digits.
const DIGEST_LENGTH: usize = 64;
/// The longest DNS name, in bytes.
const LONGEST_NAME: usize = 253;

/// A certificate as the state has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// What it consists of.
    pub spec: Arc<CertificateSpec>,
    /// The revision of its last change.
    pub revision: Revision,
}

/// A chain with its private key, and what was read of them when they were accepted. A state never parses them, so that all
/// nodes make the same state, whichever version of a parser they have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateSpec {
    /// The certificate itself, then those of the authorities between it and the root.
    pub chain: Vec<Der>,
    /// The private key in DER (PKCS #8, PKCS #1 or SEC 1), sealed for [`CertificateSpec::purpose`].
    pub key: Sealed,
    /// The DNS names that it is for, in lower case; a wildcard begins with `*.`. One without any is not chosen by a name.
    pub names: Vec<String>,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// The kind of its key.
    pub key_type: KeyType,
    /// The SHA-256 of the certificate itself, in hexadecimal digits.
    pub fingerprint: String,
    /// Where it comes from.
    #[serde(default)]
    pub source: CertificateSource,
}

/// The kind of a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyType {
    /// RSA with a modulus of so many bits.
    Rsa(u16),
    /// ECDSA on the curve P-256.
    P256,
    /// ECDSA on the curve P-384.
    P384,
    /// Ed25519.
    Ed25519,
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::P256 => f.write_str("ECDSA P-256"),
            Self::P384 => f.write_str("ECDSA P-384"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// Where a certificate comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateSource {
    /// An operator has uploaded it, and replaces it before it expires.
    #[default]
    Uploaded,
    /// It is obtained and renewed by ACME. Until the first one is issued, its chain is empty.
    Acme(AcmeRequest),
}

/// What operators see of a certificate when it differs from another one.
#[derive(PartialEq, Serialize)]
pub(super) struct Shown<'a> {
    source: &'static str,
    key_type: String,
    fingerprint: &'a str,
    names: String,
    expires: String,
}

impl CertificateSpec {
    /// How many certificates a chain may have.
    pub const LONGEST_CHAIN: usize = 10;
    /// The most bytes that they may have together.
    pub const MOST_BYTES: usize = 64 * 1024;

    /// What the private key of a certificate is sealed for.
    pub fn purpose(name: &CertificateName) -> String {
        format!("certificate/{name}")
    }

    /// Whether it consists of the same certificate as `other`, from the same source. The private keys are those of the
    /// certificates, so they are the same as well; sealed, they differ each time.
    pub fn is_same(&self, other: &Self) -> bool {
        self.chain == other.chain && self.source == other.source
    }

    /// A certificate that will be obtained by ACME, as `request` says, for `key`.
    pub fn requested(request: AcmeRequest, key: Sealed) -> Self {
        Self {
            chain: Vec::new(),
            key,
            names: request.domains.clone(),
            not_before: Timestamp(0),
            not_after: Timestamp(0),
            key_type: request.key_type,
            fingerprint: String::new(),
            source: CertificateSource::Acme(request),
        }
    }

    /// Whether there is a certificate, and not only the request for one.
    pub fn is_issued(&self) -> bool {
        !self.chain.is_empty()
    }

    /// What operators want of a certificate that is obtained by ACME; `None`: it is uploaded.
    pub fn request(&self) -> Option<&AcmeRequest> {
        match &self.source {
            CertificateSource::Acme(request) => Some(request),
            CertificateSource::Uploaded => None,
        }
    }

    pub(super) fn shown(&self) -> Shown<'_> {
        Shown {
            source: match self.source {
                CertificateSource::Uploaded => "uploaded",
                CertificateSource::Acme(_) => "acme",
            },
            key_type: self
                .request()
                .map_or(self.key_type, |request| request.key_type)
                .to_string(),
            fingerprint: &self.fingerprint,
            names: self
                .request()
                .map_or(&self.names, |request| &request.domains)
                .join(" "),
            expires: humantime::format_rfc3339_seconds(self.not_after.into()).to_string(),
        }
    }

    /// Accepts a certificate when each value is in its range. What is in the chain was read when it was uploaded.
    ///
    /// # Errors
    /// Names the field, its value and what is accepted.
    pub fn validate(&self) -> Result<(), Invalid> {
        if let Some(request) = self.request() {
            request.validate()?;
            if !self.is_issued() {
                return Ok(());
            }
        }
        self.validate_issued()
    }

    /// Accepts a certificate that is there, wherever it comes from.
    pub(super) fn validate_issued(&self) -> Result<(), Invalid> {
        let bytes: usize = self.chain.iter().map(|der| der.bytes().len()).sum();
        if !(1..=Self::LONGEST_CHAIN).contains(&self.chain.len()) || bytes > Self::MOST_BYTES {
            let given = format!("{} certificates of {bytes} bytes", self.chain.len());
            let (most, kibibytes) = (Self::LONGEST_CHAIN, Self::MOST_BYTES / 1024);
            let accepted = format!("1 to {most} certificates, of {kibibytes} KiB together");
            return Err(Invalid::new("chain", given, accepted));
        }
        let is_name = |name: &String| (1..=LONGEST_NAME).contains(&name.len());
        if !self.names.iter().all(is_name) {
            let accepted = "DNS names of at most 253 bytes";
            return Err(Invalid::new("names", self.names.join(" "), accepted));
        }
        let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        if self.fingerprint.len() != DIGEST_LENGTH || !self.fingerprint.chars().all(is_hex) {
            let accepted = "64 hexadecimal digits";
            return Err(Invalid::new("fingerprint", &self.fingerprint, accepted));
        }
        Ok(())
    }
}
