//! The value of a cookie: a server and a time, encrypted and authenticated.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
    rand::{SecureRandom, SystemRandom},
};

use crate::model::{EpochSecret, PoolName};

/// Bytes of the number of a secret.
const NUMBER: usize = 4;
/// Bytes of the time.
const TIME: usize = 8;
/// Bytes that authenticate.
const TAG: usize = 16;
/// Bytes of an IPv6 address, a port and the rest, as text. A longer value is not read.
const LONGEST: usize = (NUMBER + NONCE_LEN + TIME + 16 + 2 + TAG).div_ceil(3) * 4;

/// The keys of the cookies of all pools, the newest first. Without any, no cookie is made, and none is accepted.
///
/// Nonces are random. The keys are replaced every week, long before two of them are likely to be the same.
#[derive(Default)]
pub struct SessionKeys(Vec<(u32, LessSafeKey)>);

/// What a cookie says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    /// The server of the session.
    pub(super) server: SocketAddr,
    /// When the cookie was made, in seconds since 1970.
    pub(super) at: u64,
}

impl SessionKeys {
    /// The keys that `secrets` make.
    pub fn new(mut secrets: Vec<EpochSecret>) -> Self {
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.number));
        let key = |secret: EpochSecret| {
            let derived = hmac::Key::new(hmac::HMAC_SHA256, &secret.bytes);
            let derived = hmac::sign(&derived, b"weldr sticky cookie");
            let key = UnboundKey::new(&AES_256_GCM, derived.as_ref()).ok()?;
            Some((secret.number, LessSafeKey::new(key)))
        };
        Self(secrets.into_iter().filter_map(key).collect())
    }

    /// A cookie of `pool` that says `named`; `None` without a key.
    pub(super) fn seal(&self, pool: &PoolName, named: Named) -> Option<String> {
        let (number, key) = self.0.first()?;
        let number = number.to_be_bytes();
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut cookie = Vec::with_capacity(LONGEST);
        cookie.extend_from_slice(&number);
        cookie.extend_from_slice(&nonce);
        cookie.extend_from_slice(&named.at.to_be_bytes());
        cookie.extend_from_slice(&named.server.port().to_be_bytes());
        match named.server.ip() {
            IpAddr::V4(ip) => cookie.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => cookie.extend_from_slice(&ip.octets()),
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let plain = &mut cookie[NUMBER + NONCE_LEN..];
        let tag = key.seal_in_place_separate_tag(nonce, bound_to(number, pool), plain);
        cookie.extend_from_slice(tag.ok()?.as_ref());
        Some(URL_SAFE_NO_PAD.encode(cookie))
    }

    /// What a cookie of `pool` says; `None` if it is none of ours, or its key is gone.
    pub(super) fn open(&self, pool: &PoolName, cookie: &[u8]) -> Option<Named> {
        if cookie.len() > LONGEST {
            return None;
        }
        let mut cookie = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let (number, rest) = cookie.split_first_chunk_mut::<NUMBER>()?;
        let (nonce, sealed) = rest.split_first_chunk_mut::<NONCE_LEN>()?;
        let wanted = u32::from_be_bytes(*number);
        let (_, key) = self.0.iter().find(|(number, _)| *number == wanted)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key
            .open_in_place(nonce, bound_to(*number, pool), sealed)
            .ok()?;
        let (at, rest) = plain.split_first_chunk::<TIME>()?;
        let (port, ip) = rest.split_first_chunk::<2>()?;
        let ip = <[u8; 4]>::try_from(ip)
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(ip).map(IpAddr::from));
        Some(Named {
            server: SocketAddr::new(ip.ok()?, u16::from_be_bytes(*port)),
            at: u64::from_be_bytes(*at),
        })
    }
}

/// What a cookie is authenticated with: the number of the key, and its pool.
fn bound_to(number: [u8; NUMBER], pool: &PoolName) -> Aad<Vec<u8>> {
    Aad::from([&number, pool.as_str().as_bytes()].concat())
}

impl fmt::Debug for SessionKeys {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<u32> = self.0.iter().map(|(number, _)| *number).collect();
        f.debug_tuple("SessionKeys").field(&numbers).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secrets: &[(u32, u8)]) -> SessionKeys {
        let secret = |&(number, byte)| EpochSecret {
            number,
            bytes: [byte; 32],
        };
        SessionKeys::new(secrets.iter().map(secret).collect())
    }

    fn named(server: &str) -> Named {
        Named {
            server: server.parse().unwrap(),
            at: 1_700_000_000,
        }
    }

    fn web() -> PoolName {
        "web".parse().unwrap()
    }

    #[test]
    fn a_cookie_is_read_by_every_node_that_has_its_key() {
        let (first, other) = (keys(&[(1, 7)]), keys(&[(1, 7), (2, 8)]));
        for server in ["10.0.0.7:8080", "[fd00::1]:443"] {
            let cookie = first.seal(&web(), named(server)).unwrap();
            assert!(cookie.len() <= LONGEST);
            for node in [&first, &other] {
                assert_eq!(node.open(&web(), cookie.as_bytes()), Some(named(server)));
            }
            let newest = other.seal(&web(), named(server)).unwrap();
            assert_eq!(first.open(&web(), newest.as_bytes()), None);
        }
    }

    #[test]
    fn a_cookie_discloses_no_address_and_is_no_other_twice() {
        let keys = keys(&[(1, 7)]);
        let one = keys.seal(&web(), named("10.0.0.7:8080")).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(&one).unwrap();
        assert!(!bytes.windows(4).any(|part| part == [10, 0, 0, 7]));
        assert_ne!(one, keys.seal(&web(), named("10.0.0.7:8080")).unwrap());
    }

    #[test]
    fn what_is_no_cookie_of_ours_is_ignored() {
        let keys = keys(&[(1, 7)]);
        let cookie = keys.seal(&web(), named("10.0.0.7:8080")).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(&cookie).unwrap();
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            let forged = URL_SAFE_NO_PAD.encode(forged);
            assert_eq!(keys.open(&web(), forged.as_bytes()), None, "byte {at}");
        }
        for end in 0..cookie.len() {
            assert_eq!(keys.open(&web(), &cookie.as_bytes()[..end]), None);
        }
        let other: PoolName = "api".parse().unwrap();
        assert_eq!(keys.open(&other, cookie.as_bytes()), None, "another pool");
        let longer = format!("{cookie}{}", "A".repeat(100));
        for foreign in ["", "10.0.0.7:8080", "====", "\u{fe}", &longer] {
            assert_eq!(keys.open(&web(), foreign.as_bytes()), None);
        }
        let none = SessionKeys::default();
        assert_eq!(none.seal(&web(), named("10.0.0.7:8080")), None);
        assert_eq!(none.open(&web(), cookie.as_bytes()), None);
    }
}
