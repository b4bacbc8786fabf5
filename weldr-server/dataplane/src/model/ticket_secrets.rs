//! The secrets from which the keys of TLS session tickets are derived: the same on every node, so that a client resumes its session
//! at any of them, also after a restart. Pure: a secret is sealed, and opened elsewhere.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{DesiredState, Sealed};

/// How many secrets there are: the one for new tickets, and those that older tickets need.
const MOST_EPOCHS: usize = 3;

/// A secret for the tickets of one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketSecret {
    /// The number of the epoch. The first one is 1, and each is one more than the one before.
    pub epoch: u64,
    /// The secret, sealed for [`TicketSecret::purpose`].
    pub secret: Sealed,
}

impl TicketSecret {
    /// The length of a secret in bytes, before it is sealed.
    pub const LENGTH: usize = 32;

    /// What the secret of an epoch is sealed for.
    pub fn purpose(epoch: u64) -> String {
        format!("tickets/{epoch}")
    }
}

/// The secrets of the last epochs, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TicketSecrets(VecDeque<TicketSecret>);

impl TicketSecrets {
    /// The secret for new tickets; `None` if there is none.
    pub fn newest(&self) -> Option<&TicketSecret> {
        self.0.back()
    }

    /// The epoch of new tickets; 0 if there is none.
    pub fn epoch(&self) -> u64 {
        self.newest().map_or(0, |newest| newest.epoch)
    }

    /// All secrets, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &TicketSecret> {
        self.0.iter().rev()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Begins the epoch after `after`, unless another one has begun since. Returns whether it has begun.
    pub(super) fn rotate(&mut self, after: u64, secret: Sealed) -> bool {
        if self.epoch() != after {
            return false;
        }
        while self.0.len() >= MOST_EPOCHS {
            self.0.pop_front();
        }
        let epoch = after + 1;
        self.0.push_back(TicketSecret { epoch, secret });
        true
    }
}

/// Whether a state has any use for session tickets: whether one of its listeners serves TLS. None does yet.
pub fn wants_tickets(_: &DesiredState) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(byte: u8) -> Sealed {
        Sealed::new("0123456789abcdef".parse().unwrap(), [byte; 60]).unwrap()
    }

    #[test]
    fn the_last_three_epochs_are_kept() {
        let mut secrets = TicketSecrets::default();
        assert_eq!(secrets.epoch(), 0);
        for epoch in 0..5 {
            assert!(secrets.rotate(epoch, sealed(0)));
        }
        let epochs: Vec<u64> = secrets.iter().map(|secret| secret.epoch).collect();
        assert_eq!(epochs, [5, 4, 3]);
        assert_eq!(secrets.newest().unwrap().epoch, 5);
    }

    /// Two leaders, one after the other, may both have found that a rotation is due.
    #[test]
    fn one_rotation_follows_each_epoch() {
        let mut secrets = TicketSecrets::default();
        assert!(secrets.rotate(0, sealed(1)));
        let before = secrets.clone();
        for late in [0, 2] {
            assert!(!secrets.rotate(late, sealed(2)));
        }
        assert_eq!(secrets, before);
    }
}
