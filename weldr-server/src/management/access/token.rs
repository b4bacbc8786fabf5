//! The text of a token: `weldr_ID_SECRET`, where the secret ends with a checksum. Pure, but for the random numbers.
//!
//! The prefix, the fixed length and the checksum let programs that search files for secrets find tokens without false
//! alarms, and let a token that was copied incompletely be told from one that was revoked.

use std::{fmt, hint};

use ring::{
    digest,
    rand::{SecureRandom as _, SystemRandom},
};

/// What each token begins with.
const PREFIX: &str = "weldr_";
/// 32 digits, without those that look alike: a digit stands for five bits.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// The length of the id: 40 bits.
const ID: usize = 8;
/// The length of the secret without the checksum: 260 bits, of which all are random.
const SECRET: usize = 52;
/// The length of the checksum: 20 bits.
const CHECKSUM: usize = 4;

/// A token. Its secret is never shown in a log: `Debug` shows the id.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::management) struct Token {
    id: String,
    secret: String,
}

/// A text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a whole token: a token is weldr_, 8 characters, _ and 56 characters")]
pub(in crate::management) struct NoToken;

/// The system has no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub(in crate::management) struct NoRandomness;

impl Token {
    /// A new token.
    pub(in crate::management) fn generate() -> Result<Self, NoRandomness> {
        let mut random = [0; ID + SECRET];
        let filled = SystemRandom::new().fill(&mut random);
        filled.map_err(|_| NoRandomness)?;
        let (id, secret) = random.split_at(ID);
        Ok(Self {
            id: digits(id),
            secret: digits(secret),
        })
    }

    /// Reads the text of a token.
    pub(in crate::management) fn parse(text: &str) -> Result<Self, NoToken> {
        let parts = text.strip_prefix(PREFIX).ok_or(NoToken)?;
        let (id, rest) = parts.split_once('_').ok_or(NoToken)?;
        let (secret, checksum) = rest.split_at_checked(SECRET).ok_or(NoToken)?;
        let is_digits = |text: &str| text.bytes().all(|byte| ALPHABET.contains(&byte));
        if id.len() != ID || !is_digits(id) || !is_digits(secret) {
            return Err(NoToken);
        }
        let token = Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
        };
        if token.checksum() == checksum {
            Ok(token)
        } else {
            Err(NoToken)
        }
    }

    /// The part that names it, which is no secret.
    pub(in crate::management) fn id(&self) -> &str {
        &self.id
    }

    /// The text for its holder.
    pub(in crate::management) fn text(&self) -> String {
        format!("{PREFIX}{}_{}{}", self.id, self.secret, self.checksum())
    }

    /// The SHA-256 of the secret, in hexadecimal digits.
    pub(in crate::management) fn sha256(&self) -> String {
        let digest = digest::digest(&digest::SHA256, self.secret.as_bytes());
        let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
        hex.collect()
    }

    /// Whether `sha256` is the digest of its secret. Takes the same time whatever they have in common.
    pub(in crate::management) fn has_digest(&self, sha256: &str) -> bool {
        let own = self.sha256();
        let differences = own.bytes().zip(sha256.bytes());
        let differences =
            differences.fold(0, |all, (one, other)| hint::black_box(all | (one ^ other)));
        own.len() == sha256.len() && differences == 0
    }

    fn checksum(&self) -> String {
        let named = format!("{}_{}", self.id, self.secret);
        let digest = digest::digest(&digest::SHA256, named.as_bytes());
        digits(&digest.as_ref()[..CHECKSUM])
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Token").field(&self.id).finish()
    }
}

/// A digit for the five lower bits of each byte.
fn digits(bytes: &[u8]) -> String {
    let digits = bytes.iter();
    digits
        .map(|byte| char::from(ALPHABET[usize::from(byte & 31)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let token = Token::generate().unwrap();
        let text = token.text();
        assert_eq!(text.len(), "weldr_".len() + 8 + 1 + 56);
        let read = Token::parse(&text).unwrap();
        assert_eq!(read, token);
        assert!(read.has_digest(&token.sha256()));
        let other = Token::generate().unwrap();
        assert_ne!(other, token);
        assert!(!other.has_digest(&token.sha256()));
        assert!(!token.has_digest(""));
        assert!(!token.has_digest(&token.sha256()[1..]));
    }

    #[test]
    fn what_was_copied_incompletely_is_told_apart() {
        let text = Token::generate().unwrap().text();
        let mut swapped = text.clone().into_bytes();
        let place = "weldr_".len() + 20;
        swapped[place] = if swapped[place] == b'0' { b'1' } else { b'0' };
        let swapped = String::from_utf8(swapped).unwrap();
        for broken in [
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}0"),
            &text.to_uppercase(),
            &swapped,
            "weldr_",
            "weldr__",
            "",
            "é",
            &format!("weldr_00000000_{}", "é".repeat(28)),
        ] {
            assert_eq!(Token::parse(broken), Err(NoToken), "{broken}");
        }
    }

    #[test]
    fn nothing_that_is_logged_contains_the_secret() {
        let token = Token::generate().unwrap();
        assert!(!format!("{token:?}").contains(&token.secret));
    }
}
