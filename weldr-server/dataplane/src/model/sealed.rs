//! A secret in the desired state: encrypted with a key that is not part of the state. Pure: it is opened elsewhere.

use std::{fmt, str::FromStr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::Invalid;

/// Which key a value is sealed with: the first bytes of the SHA-256 of the key, 16 hexadecimal digits as text. It is no
/// secret: the key is random and has 256 bits, so that the digest does not help to find it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SealingKeyId([u8; Self::LENGTH]);

impl SealingKeyId {
    /// Its length in bytes.
    pub const LENGTH: usize = 8;

    /// The id of the key whose SHA-256 is `digest`.
    pub fn of_digest(digest: &[u8; 32]) -> Self {
        let mut id = [0; Self::LENGTH];
        id.copy_from_slice(&digest[..Self::LENGTH]);
        Self(id)
    }
}

impl fmt::Display for SealingKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SealingKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SealingKeyId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        // Whatever else is there, it may be a secret.
        let invalid = || Invalid::new("sealing_key", "(hidden)", "16 hexadecimal digits");
        if text.len() != Self::LENGTH * 2 || !text.chars().all(is_hex) {
            return Err(invalid());
        }
        let id = u64::from_str_radix(text, 16).map_err(|_| invalid())?;
        Ok(Self(id.to_be_bytes()))
    }
}

impl TryFrom<String> for SealingKeyId {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<SealingKeyId> for String {
    fn from(id: SealingKeyId) -> Self {
        id.to_string()
    }
}

/// A secret that is encrypted and authenticated. Cheap to clone.
///
/// Two values are equal if they are the same bytes. Sealing the same secret twice gives values that are not equal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Sealed {
    key: SealingKeyId,
    bytes: Arc<[u8]>,
}

/// A sealed value as it is in the log, in a snapshot and in a backup.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    key: SealingKeyId,
    /// In Base64.
    bytes: String,
}

impl Sealed {
    /// The length of the nonce, with which the bytes begin.
    pub const NONCE: usize = 12;
    /// The length of the authentication tag, with which the bytes end.
    pub const TAG: usize = 16;
    /// The longest secret, in bytes: a private key of RSA 16384 has 18 KiB.
    pub const LONGEST_SECRET: usize = 64 * 1024;

    /// A value of `bytes` (nonce, ciphertext and tag), sealed with `key`.
    ///
    /// # Errors
    /// The bytes are fewer than a nonce and a tag, or more than the longest secret needs.
    pub fn new(key: SealingKeyId, bytes: impl Into<Arc<[u8]>>) -> Result<Self, Invalid> {
        let bytes = bytes.into();
        let beside = Self::NONCE + Self::TAG;
        if (beside..=beside + Self::LONGEST_SECRET).contains(&bytes.len()) {
            return Ok(Self { key, bytes });
        }
        let length = format!("{} bytes", bytes.len());
        Err(Invalid::new("sealed", length, "28 to 65564 bytes"))
    }

    /// The key that it is sealed with.
    pub fn key(&self) -> SealingKeyId {
        self.key
    }

    /// Nonce, ciphertext and tag.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Without the bytes: a log line would be long, and whoever keeps logs could open them later.
impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl TryFrom<Wire> for Sealed {
    type Error = Invalid;

    fn try_from(wire: Wire) -> Result<Self, Invalid> {
        let bytes = STANDARD.decode(wire.bytes);
        // Not the text: it may be anything.
        let bytes = bytes.map_err(|_| Invalid::new("sealed", "(hidden)", "Base64"))?;
        Self::new(wire.key, bytes)
    }
}

impl From<Sealed> for Wire {
    fn from(sealed: Sealed) -> Self {
        Self {
            key: sealed.key,
            bytes: STANDARD.encode(&sealed.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> Sealed {
        let key = "0123456789abcdef".parse().unwrap();
        Sealed::new(key, [0xa5; 40]).unwrap()
    }

    #[test]
    fn it_comes_back_from_json_as_it_was() {
        let json = serde_json::to_string(&sealed()).unwrap();
        assert!(json.starts_with(r#"{"key":"0123456789abcdef","bytes":"paWl"#));
        assert_eq!(serde_json::from_str::<Sealed>(&json).unwrap(), sealed());
    }

    #[test]
    fn its_bytes_are_not_in_a_log_line() {
        assert_eq!(
            format!("{:?}", sealed()),
            "Sealed { key: 0123456789abcdef, .. }"
        );
    }

    #[test]
    fn a_length_that_no_sealed_value_has_is_refused() {
        let key = sealed().key();
        for (length, is_accepted) in [(27, false), (28, true), (65564, true), (65565, false)] {
            let made = Sealed::new(key, vec![0; length]);
            assert_eq!(made.is_ok(), is_accepted, "{length}");
            let bytes = STANDARD.encode(vec![0; length]);
            let json = format!(r#"{{"key":"{key}","bytes":"{bytes}"}}"#);
            let read = serde_json::from_str::<Sealed>(&json);
            assert_eq!(read.is_ok(), is_accepted, "{length}");
        }
        assert!(
            serde_json::from_str::<Sealed>(r#"{"key":"0123456789abcdef","bytes":"?"}"#).is_err()
        );
    }

    #[test]
    fn an_id_is_the_begin_of_a_digest_as_16_digits() {
        let mut digest = [0xff; 32];
        digest[..8].copy_from_slice(&[0, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        let id = SealingKeyId::of_digest(&digest);
        assert_eq!(id.to_string(), "00123456789abcde");
        assert_eq!("00123456789abcde".parse::<SealingKeyId>().unwrap(), id);
        for wrong in [
            "",
            "00123456789abcd",
            "00123456789ABCDE",
            "+0123456789abcde",
        ] {
            assert!(wrong.parse::<SealingKeyId>().is_err(), "{wrong}");
        }
    }
}
