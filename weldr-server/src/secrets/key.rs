//! One key, and the cipher: AES-256-GCM with a random nonce of 96 bits. A key may seal 2^32 values, which is far more than a
//! desired state ever has.

use std::fmt;

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};
use zeroize::Zeroizing;

use crate::model::{Sealed, SealingKeyId};

use super::error::SecretsError;

/// What is authenticated with a value begins with this, so that the key can be used for nothing else by mistake.
const CONTEXT: &str = "weldr-sealed-1\0";

/// A key that seals. It is overwritten when it is dropped.
pub(crate) struct SealingKey {
    id: SealingKeyId,
    generation: u32,
    bytes: Zeroizing<[u8; Self::LENGTH]>,
}

impl SealingKey {
    /// Its length in bytes.
    pub(crate) const LENGTH: usize = 32;
    /// No operator rotates a key more often.
    const LAST_GENERATION: u32 = 1 << 20;

    /// A new key.
    pub(super) fn random(generation: u32) -> Result<Self, SecretsError> {
        let mut bytes = Zeroizing::new([0; Self::LENGTH]);
        let filled = SystemRandom::new().fill(&mut *bytes);
        filled.map_err(|_| SecretsError::NoRandomness)?;
        Ok(Self::of(generation, bytes))
    }

    /// The key of these bytes; `None` if they are not as many as a key has, or no key has this generation.
    pub(crate) fn new(generation: u32, bytes: &[u8]) -> Option<Self> {
        if !(1..=Self::LAST_GENERATION).contains(&generation) {
            return None;
        }
        let bytes = Zeroizing::new(bytes.try_into().ok()?);
        Some(Self::of(generation, bytes))
    }

    fn of(generation: u32, bytes: Zeroizing<[u8; Self::LENGTH]>) -> Self {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, &*bytes).as_ref());
        Self {
            id: SealingKeyId::of_digest(&sha256),
            generation,
            bytes,
        }
    }

    pub(crate) fn id(&self) -> SealingKeyId {
        self.id
    }

    /// How many keys the nodes that made it had had, and one. The key of the highest generation seals.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// The key itself, for the file and for other members.
    pub(crate) fn expose(&self) -> &[u8; Self::LENGTH] {
        &self.bytes
    }

    pub(super) fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Sealed, SecretsError> {
        let length = plain.len();
        let too_long = || SecretsError::TooLong { length };
        if length > Sealed::LONGEST_SECRET {
            return Err(too_long());
        }
        let mut nonce = [0; Sealed::NONCE];
        let filled = SystemRandom::new().fill(&mut nonce);
        filled.map_err(|_| SecretsError::NoRandomness)?;
        // As large as it gets, so that no copy of the secret is left behind when it grows.
        let room = Sealed::NONCE + length + Sealed::TAG;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let aad = Aad::from(bound_to(purpose));
        let secret = &mut bytes[Sealed::NONCE..];
        let tag = self.cipher().and_then(|cipher| {
            let sealed = cipher.seal_in_place_separate_tag(nonce, aad, secret);
            sealed.ok()
        });
        // The cipher refuses only what is longer than 64 GiB.
        bytes.extend_from_slice(tag.ok_or_else(too_long)?.as_ref());
        Sealed::new(self.id, bytes.as_slice()).map_err(|_| too_long())
    }

    pub(super) fn open(
        &self,
        purpose: &str,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
        let damaged = || SecretsError::Damaged {
            id: sealed.key(),
            purpose: purpose.to_owned(),
        };
        let (nonce, rest) = sealed.bytes().split_at(Sealed::NONCE);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let aad = Aad::from(bound_to(purpose));
        let mut bytes = Zeroizing::new(rest.to_vec());
        let cipher = self.cipher().ok_or_else(damaged)?;
        let opened = cipher.open_in_place(nonce, aad, &mut bytes);
        let length = opened.map_err(|_| damaged())?.len();
        bytes.truncate(length);
        Ok(bytes)
    }

    /// `None` is impossible: the key has the length that the cipher wants.
    fn cipher(&self) -> Option<LessSafeKey> {
        let key = UnboundKey::new(&AES_256_GCM, &*self.bytes);
        key.ok().map(LessSafeKey::new)
    }
}

fn bound_to(purpose: &str) -> Vec<u8> {
    [CONTEXT.as_bytes(), purpose.as_bytes()].concat()
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey")
            .field("id", &self.id)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a private key";
    const PURPOSE: &str = "certificate/shop";

    fn is_damaged(opened: &Result<Zeroizing<Vec<u8>>, SecretsError>) -> bool {
        matches!(opened, Err(SecretsError::Damaged { .. }))
    }

    #[test]
    fn what_was_sealed_opens_with_the_key_for_its_purpose() {
        let key = SealingKey::random(1).unwrap();
        let longest = vec![7; Sealed::LONGEST_SECRET];
        for secret in [SECRET, b"", &longest] {
            let sealed = key.seal(PURPOSE, secret).unwrap();
            assert_eq!(sealed.key(), key.id());
            assert_eq!(*key.open(PURPOSE, &sealed).unwrap(), secret);
        }
        let refused = key.seal(PURPOSE, &vec![7; Sealed::LONGEST_SECRET + 1]);
        assert!(matches!(refused, Err(SecretsError::TooLong { .. })));
    }

    #[test]
    fn the_secret_is_not_in_what_is_sealed() {
        let key = SealingKey::random(1).unwrap();
        let sealed = key.seal(PURPOSE, SECRET).unwrap();
        let has = |part: &[u8]| {
            let mut windows = sealed.bytes().windows(part.len());
            windows.any(|window| window == part)
        };
        assert!(!has(SECRET));
        assert!(!has(key.expose()));
        // A nonce that comes twice would give the secrets away.
        let again = key.seal(PURPOSE, SECRET).unwrap();
        assert_ne!(
            sealed.bytes()[..Sealed::NONCE],
            again.bytes()[..Sealed::NONCE]
        );
    }

    #[test]
    fn each_changed_bit_is_noticed() {
        let key = SealingKey::random(1).unwrap();
        let sealed = key.seal(PURPOSE, SECRET).unwrap();
        for bit in 0..sealed.bytes().len() * 8 {
            let mut bytes = sealed.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let changed = Sealed::new(sealed.key(), bytes).unwrap();
            assert!(is_damaged(&key.open(PURPOSE, &changed)), "bit {bit}");
        }
        let cut = &sealed.bytes()[..sealed.bytes().len() - 1];
        let cut = Sealed::new(sealed.key(), cut).unwrap();
        assert!(is_damaged(&key.open(PURPOSE, &cut)));
    }

    #[test]
    fn a_value_is_worth_nothing_for_another_object_or_with_another_key() {
        let (key, other) = (SealingKey::random(1), SealingKey::random(1));
        let (key, other) = (key.unwrap(), other.unwrap());
        let sealed = key.seal(PURPOSE, SECRET).unwrap();
        for purpose in ["certificate/blog", "certificate/sho", "", "tickets/1"] {
            assert!(is_damaged(&key.open(purpose, &sealed)), "{purpose}");
        }
        assert_ne!(key.id(), other.id());
        assert!(is_damaged(&other.open(PURPOSE, &sealed)));
    }

    #[test]
    fn a_key_shows_its_name_and_nothing_else() {
        let key = SealingKey::new(3, &[0x5a; 32]).unwrap();
        let shown = format!("{key:?}");
        assert_eq!(
            shown,
            format!("SealingKey {{ id: {}, generation: 3, .. }}", key.id())
        );
        // sha256 of 32 bytes 0x5a.
        assert_eq!(key.id().to_string(), "60bf07c488aad18f");
    }

    #[test]
    fn only_what_can_be_a_key_is_one() {
        for (generation, length) in [(0, 32), (1, 31), (1, 33), (1, 0), (u32::MAX, 32)] {
            let key = SealingKey::new(generation, &vec![1; length]);
            assert!(key.is_none(), "{generation}, {length} bytes");
        }
    }
}
