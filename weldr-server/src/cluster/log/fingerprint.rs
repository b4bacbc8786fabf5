//! By what the members of a cluster know each other's keys. Pure.

use std::fmt;

use bytes::Bytes;
use ring::digest::{SHA256, digest};

/// SHA-256 of a public key (the `SubjectPublicKeyInfo` of a certificate). It is no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The first bytes of a fingerprint, which are enough to tell apart keys that nobody can make collide.
    pub(in crate::cluster) const SHORT: usize = 16;

    pub(in crate::cluster) fn of(public_key: &[u8]) -> Self {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, public_key).as_ref());
        Self(fingerprint)
    }

    /// `None` if these are not 32 bytes.
    pub(in crate::cluster) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(in crate::cluster) fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    /// The first half.
    pub(in crate::cluster) fn short(&self) -> [u8; Self::SHORT] {
        let mut short = [0; Self::SHORT];
        short.copy_from_slice(&self.0[..Self::SHORT]);
        short
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
