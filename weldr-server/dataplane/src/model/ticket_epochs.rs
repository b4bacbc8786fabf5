//! The secrets from which the keys of TLS session tickets are derived: the same on every node, so that a client resumes its session
//! at any of them, also after a restart. Pure: a secret is sealed, and opened elsewhere.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{DesiredState, ListenerProtocol, Sealed};

/// How many secrets there are: the one for new tickets, and those that older tickets need.
const MOST_EPOCHS: usize = 3;

/// An epoch of tickets, and its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketEpoch {
    /// Its number. The first one is 1, and each is one more than the one before.
    pub number: u64,
    /// The secret, sealed for [`TicketEpoch::purpose`].
    pub secret: Sealed,
}

impl TicketEpoch {
    /// The length of a secret in bytes, before it is sealed.
    pub const SECRET: usize = 32;

    /// What the secret of an epoch is sealed for.
    pub fn purpose(number: u64) -> String {
        format!("tickets/{number}")
    }
}

/// The last epochs, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TicketEpochs(VecDeque<TicketEpoch>);

impl TicketEpochs {
    /// The epoch of new tickets; `None` if there is none.
    pub fn newest(&self) -> Option<&TicketEpoch> {
        self.0.back()
    }

    /// The number of the newest epoch; 0 if there is none.
    pub fn last(&self) -> u64 {
        self.newest().map_or(0, |newest| newest.number)
    }

    /// All epochs, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &TicketEpoch> {
        self.0.iter().rev()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Begins the epoch after `after`, unless another one has begun since. Returns whether it has begun.
    pub(super) fn rotate(&mut self, after: u64, secret: Sealed) -> bool {
        if self.last() != after {
            return false;
        }
        while self.0.len() >= MOST_EPOCHS {
            self.0.pop_front();
        }
        let number = after + 1;
        self.0.push_back(TicketEpoch { number, secret });
        true
    }
}

/// Whether a state has any use for session tickets: whether one of its listeners serves TLS.
pub fn wants_tickets(state: &DesiredState) -> bool {
    let mut listeners = state.listeners.values();
    listeners.any(|listener| listener.spec.protocol == ListenerProtocol::Https)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Listener, ListenerName, PoolSettings};

    fn sealed(byte: u8) -> Sealed {
        Sealed::new("0123456789abcdef".parse().unwrap(), [byte; 60]).unwrap()
    }

    #[test]
    fn the_last_three_epochs_are_kept() {
        let mut epochs = TicketEpochs::default();
        assert_eq!(epochs.last(), 0);
        for after in 0..5 {
            assert!(epochs.rotate(after, sealed(0)));
        }
        let numbers: Vec<u64> = epochs.iter().map(|epoch| epoch.number).collect();
        assert_eq!(numbers, [5, 4, 3]);
        assert_eq!(epochs.newest().unwrap().number, 5);
    }

    /// Two leaders, one after the other, may both have found that a rotation is due.
    #[test]
    fn one_rotation_follows_each_epoch() {
        let mut epochs = TicketEpochs::default();
        assert!(epochs.rotate(0, sealed(1)));
        let before = epochs.clone();
        for late in [0, 2] {
            assert!(!epochs.rotate(late, sealed(2)));
        }
        assert_eq!(epochs, before);
    }

    #[test]
    fn a_state_with_a_listener_that_serves_tls_wants_tickets() {
        let mut state = DesiredState::new(PoolSettings::default());
        assert!(!wants_tickets(&state));
        let name = ListenerName::default();
        let mut listener = Listener::clone(state.listener(&name).unwrap());
        listener.spec.protocol = ListenerProtocol::Https;
        state.listeners.insert_mut(name, Arc::new(listener));
        assert!(wants_tickets(&state));
    }
}
