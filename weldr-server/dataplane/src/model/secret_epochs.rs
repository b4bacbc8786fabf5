//! Secrets from which every node derives the same keys, and which are replaced from time to time: a client resumes its TLS session,
//! and keeps its server, at any node, also after a restart. Pure: a secret is sealed, and opened elsewhere.

use std::{collections::VecDeque, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{DesiredState, ListenerProtocol, Sealed};

/// What keys are derived for. Each has epochs and secrets of its own, because they last differently: a secret is kept no longer than
/// what was made with it may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretSeries {
    /// TLS session tickets.
    Tickets,
    /// The cookies of sessions that stick to a server.
    Stickiness,
}

impl SecretSeries {
    /// What the secret of an epoch is sealed for.
    pub fn purpose(self, number: u64) -> String {
        match self {
            Self::Tickets => format!("tickets/{number}"),
            Self::Stickiness => format!("stickiness/{number}"),
        }
    }

    /// How many secrets are kept: the one for what is made now, and those that what was made earlier needs.
    fn most_epochs(self) -> usize {
        match self {
            Self::Tickets => 3,
            Self::Stickiness => 2,
        }
    }

    /// Its epochs in a state.
    pub fn of(self, state: &DesiredState) -> &Arc<SecretEpochs> {
        match self {
            Self::Tickets => &state.ticket_epochs,
            Self::Stickiness => &state.stickiness_epochs,
        }
    }

    /// Whether a state has any use for it: whether a listener serves TLS, or a pool is sticky.
    pub fn is_wanted(self, state: &DesiredState) -> bool {
        match self {
            Self::Tickets => {
                let mut listeners = state.listeners.values();
                listeners.any(|listener| listener.spec.protocol == ListenerProtocol::Https)
            }
            Self::Stickiness => {
                let mut pools = state.pools.values();
                pools.any(|pool| pool.settings.stickiness.cookie.is_some())
            }
        }
    }
}

/// An epoch of a series, and its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretEpoch {
    /// Its number. The first one is 1, and each is one more than the one before.
    pub number: u64,
    /// The secret, sealed for [`SecretSeries::purpose`].
    pub secret: Sealed,
}

impl SecretEpoch {
    /// The length of a secret in bytes, before it is sealed.
    pub const SECRET: usize = 32;
}

/// A secret, opened.
#[derive(Clone)]
pub struct EpochSecret {
    /// The number of its epoch.
    pub number: u32,
    /// The secret.
    pub bytes: [u8; SecretEpoch::SECRET],
}

impl fmt::Debug for EpochSecret {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EpochSecret").field(&self.number).finish()
    }
}

/// The last epochs, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretEpochs(VecDeque<SecretEpoch>);

impl SecretEpochs {
    /// The present epoch; `None` if there is none.
    pub fn newest(&self) -> Option<&SecretEpoch> {
        self.0.back()
    }

    /// The number of the newest epoch; 0 if there is none.
    pub fn last(&self) -> u64 {
        self.newest().map_or(0, |newest| newest.number)
    }

    /// All epochs, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &SecretEpoch> {
        self.0.iter().rev()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Begins the epoch of `series` after `after`, unless another one has begun since. Returns whether it has begun.
    pub(super) fn rotate(&mut self, series: SecretSeries, after: u64, secret: Sealed) -> bool {
        if self.last() != after {
            return false;
        }
        while self.0.len() >= series.most_epochs() {
            self.0.pop_front();
        }
        let number = after + 1;
        self.0.push_back(SecretEpoch { number, secret });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Listener, ListenerName, Pool, PoolName, PoolSettings};

    fn sealed(byte: u8) -> Sealed {
        Sealed::new("0123456789abcdef".parse().unwrap(), [byte; 60]).unwrap()
    }

    #[test]
    fn the_last_epochs_are_kept() {
        for (series, kept) in [
            (SecretSeries::Tickets, &[5, 4, 3][..]),
            (SecretSeries::Stickiness, &[5, 4]),
        ] {
            let mut epochs = SecretEpochs::default();
            assert_eq!(epochs.last(), 0);
            for after in 0..5 {
                assert!(epochs.rotate(series, after, sealed(0)));
            }
            let numbers: Vec<u64> = epochs.iter().map(|epoch| epoch.number).collect();
            assert_eq!(numbers, kept);
            assert_eq!(epochs.newest().unwrap().number, 5);
        }
    }

    /// Two leaders, one after the other, may both have found that a rotation is due.
    #[test]
    fn one_rotation_follows_each_epoch() {
        let mut epochs = SecretEpochs::default();
        assert!(epochs.rotate(SecretSeries::Tickets, 0, sealed(1)));
        let before = epochs.clone();
        for late in [0, 2] {
            assert!(!epochs.rotate(SecretSeries::Tickets, late, sealed(2)));
        }
        assert_eq!(epochs, before);
    }

    #[test]
    fn a_state_with_a_listener_that_serves_tls_wants_tickets() {
        let mut state = DesiredState::new(PoolSettings::default());
        assert!(!SecretSeries::Tickets.is_wanted(&state));
        let name = ListenerName::default();
        let mut listener = Listener::clone(state.listener(&name).unwrap());
        listener.spec.protocol = ListenerProtocol::Https;
        state.listeners.insert_mut(name, Arc::new(listener));
        assert!(SecretSeries::Tickets.is_wanted(&state));
        assert!(!SecretSeries::Stickiness.is_wanted(&state));
    }

    #[test]
    fn a_state_with_a_sticky_pool_wants_secrets_for_cookies() {
        let mut state = DesiredState::new(PoolSettings::default());
        assert!(!SecretSeries::Stickiness.is_wanted(&state));
        let mut settings = PoolSettings::default();
        settings.stickiness.cookie = Some("SRV".to_owned());
        let name: PoolName = "web".parse().unwrap();
        state.pools.insert_mut(name, Pool::new(settings));
        assert!(SecretSeries::Stickiness.is_wanted(&state));
        assert!(!SecretSeries::Tickets.is_wanted(&state));
    }
}
