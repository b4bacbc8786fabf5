//! The token of an invite: a secret, and the keys of the members that may be asked with it. Pure.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::cluster::log::fingerprint::Fingerprint;

/// The length of the secret, in bytes.
const SECRET: usize = 16;
/// What a token begins with, so that people know what it is.
const PREFIX: &str = "weldr-join-1.";

/// What a node needs to join once.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::cluster) struct Token {
    pub(in crate::cluster) secret: [u8; SECRET],
    /// The first halves of the fingerprints of the members: the secret is told to nobody else. Empty if the members have
    /// certificates of the operators' authority.
    pub(in crate::cluster) keys: Vec<[u8; Fingerprint::SHORT]>,
}

impl Token {
    /// A token with a new secret; `None` if there is no randomness.
    pub(in crate::cluster) fn new(keys: impl Iterator<Item = Fingerprint>) -> Option<Self> {
        let mut secret = [0; SECRET];
        SystemRandom::new().fill(&mut secret).ok()?;
        let keys = keys.map(|key| key.short()).collect();
        Some(Self { secret, keys })
    }

    /// The token in a text, without surrounding white space.
    pub(in crate::cluster) fn parse(text: &str) -> Option<Self> {
        let encoded = text.trim().strip_prefix(PREFIX)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?;
        let (secret, keys) = bytes.split_first_chunk()?;
        let (keys, rest) = keys.as_chunks();
        rest.is_empty().then(|| Self {
            secret: *secret,
            keys: keys.to_vec(),
        })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.secret[..], self.keys.as_flattened()].concat();
        write!(f, "{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text_and_nothing_else_is_one() {
        for keys in 0..15_u8 {
            let keys = (0..keys).map(|key| Fingerprint::of(&[key]));
            let token = Token::new(keys).unwrap();
            let text = token.to_string();
            assert_eq!(Token::parse(&format!(" {text}\n")), Some(token.clone()));
            assert!(!format!("{token:?}").contains(&text[PREFIX.len()..]));
            for broken in [
                "",
                PREFIX,
                &text[1..],
                &text[..text.len() - 1],
                &(text.clone() + "A"),
            ] {
                assert_ne!(Token::parse(broken), Some(token.clone()), "{broken}");
            }
        }
        let two = [(); 2].map(|()| Token::new(std::iter::empty()).unwrap());
        assert_ne!(two[0], two[1]);
    }
}
