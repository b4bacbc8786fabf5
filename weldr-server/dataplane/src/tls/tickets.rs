//! Session tickets that every node of a cluster understands (RFC 8446, section 4.6.1; RFC 5077).
//!
//! A ticket is the session itself, encrypted. The key is derived from a secret that all nodes have and that is replaced every
//! few hours, so a client resumes on any node, and a secret that leaks opens only the sessions of its time.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use rustls::server::ProducesTickets;

use crate::model::EpochSecret;

/// How long a client may use a ticket, in seconds. Secrets live longer.
const LIFETIME: u32 = 12 * 60 * 60;
/// Bytes of the number of a secret.
const NUMBER: usize = 4;

/// The secrets of a node, the newest first. Without any, no tickets are made, and none is accepted.
#[derive(Clone, Default)]
pub struct TicketSecrets(Arc<ArcSwap<Vec<EpochSecret>>>);

impl TicketSecrets {
    /// Replaces them.
    pub fn set(&self, mut secrets: Vec<EpochSecret>) {
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.number));
        self.0.store(Arc::new(secrets));
    }

    /// A secret that only this process knows.
    pub fn set_local(&self) {
        let mut bytes = [0; 32];
        if SystemRandom::new().fill(&mut bytes).is_ok() {
            self.set(vec![EpochSecret { number: 0, bytes }]);
        }
    }

    /// Tickets that only connections with the same `binding` accept: what a listener demands of its clients is part of it, so that a
    /// session that one let in does not open another.
    pub(super) fn bound_to(&self, binding: &[u8]) -> Arc<Ticketer> {
        Arc::new(Ticketer {
            secrets: self.clone(),
            binding: binding.into(),
            random: SystemRandom::new(),
        })
    }
}

impl fmt::Debug for TicketSecrets {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<u32> = self.0.load().iter().map(|secret| secret.number).collect();
        f.debug_tuple("TicketSecrets").field(&numbers).finish()
    }
}

/// Makes and accepts the tickets of listeners that demand the same of their clients.
pub(super) struct Ticketer {
    secrets: TicketSecrets,
    binding: Box<[u8]>,
    random: SystemRandom,
}

impl Ticketer {
    fn key(&self, secret: &EpochSecret) -> Option<LessSafeKey> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.bytes);
        let mut context = hmac::Context::with_key(&key);
        context.update(b"weldr session ticket ");
        context.update(&self.binding);
        let unbound = UnboundKey::new(&AES_256_GCM, context.sign().as_ref()).ok()?;
        Some(LessSafeKey::new(unbound))
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let secrets = self.secrets.0.load();
        let newest = secrets.first()?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let number = newest.number.to_be_bytes();
        let mut ticket = Vec::with_capacity(NUMBER + NONCE_LEN + plain.len() + 16);
        ticket.extend_from_slice(&number);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let tag = self
            .key(newest)?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(number),
                &mut ticket[NUMBER + NONCE_LEN..],
            )
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (number, rest) = ticket.split_first_chunk::<NUMBER>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let secrets = self.secrets.0.load();
        let wanted = u32::from_be_bytes(*number);
        let secret = secrets.iter().find(|secret| secret.number == wanted)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let key = self.key(secret)?;
        let length = key
            .open_in_place(nonce, Aad::from(*number), &mut plain)
            .ok()?
            .len();
        plain.truncate(length);
        Some(plain)
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticketer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(number: u32, byte: u8) -> EpochSecret {
        EpochSecret {
            number,
            bytes: [byte; 32],
        }
    }

    fn node(secrets: &[EpochSecret]) -> TicketSecrets {
        let node = TicketSecrets::default();
        node.set(secrets.to_vec());
        node
    }

    #[test]
    fn a_ticket_is_accepted_by_every_node_that_has_its_secret() {
        let first = node(&[secret(1, 7)]).bound_to(b"off");
        let other = node(&[secret(2, 8), secret(1, 7)]).bound_to(b"off");
        let ticket = first.encrypt(b"session").unwrap();
        assert_eq!(first.decrypt(&ticket).unwrap(), b"session");
        assert_eq!(other.decrypt(&ticket).unwrap(), b"session");
        let ticket = other.encrypt(b"session").unwrap();
        assert!(ticket.starts_with(&[0, 0, 0, 2]), "the newest is used");
        assert_eq!(first.decrypt(&ticket), None, "it does not have that yet");
    }

    #[test]
    fn a_ticket_opens_nothing_that_demands_something_else_of_its_clients() {
        let secrets = node(&[secret(1, 7)]);
        let ticket = secrets.bound_to(b"off").encrypt(b"session").unwrap();
        assert_eq!(secrets.bound_to(b"required").decrypt(&ticket), None);
    }

    #[test]
    fn what_is_no_ticket_of_ours_is_ignored() {
        let ticketer = node(&[secret(1, 7)]).bound_to(b"off");
        let ticket = ticketer.encrypt(b"session").unwrap();
        for end in 0..ticket.len() {
            assert_eq!(ticketer.decrypt(&ticket[..end]), None);
        }
        for at in 0..ticket.len() {
            let mut damaged = ticket.clone();
            damaged[at] ^= 1;
            assert_eq!(ticketer.decrypt(&damaged), None);
        }
        assert_eq!(TicketSecrets::default().bound_to(b"").encrypt(b"x"), None);
    }
}
