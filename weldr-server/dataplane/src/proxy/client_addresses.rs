//! The limit of connections per client address, which all workers share.
//!
//! It is checked only when a connection is accepted or closed, and only if it is configured. The table is divided into
//! parts with a lock each, so that workers rarely meet; a lock is held for one operation on a map.

use std::{
    collections::{BTreeMap, HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::model::ListenerName;

/// The parts of the table.
const PARTS: u64 = 64;

/// The addresses that count as one client: an IPv4 address, or an IPv6 network of 64 bits, which is what one subscriber
/// usually gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ClientKey {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// The open connections of each client, for each listener that limits them.
#[derive(Debug, Default)]
pub(super) struct AddressTables(Mutex<BTreeMap<ListenerName, Arc<ClientAddresses>>>);

impl AddressTables {
    /// Those of `listener`, of which each client may have `most`; `None` if that is 0, which means no limit. Called when
    /// a listener changes, not for a connection.
    pub(super) fn of(&self, listener: &ListenerName, most: usize) -> Option<Arc<ClientAddresses>> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if most == 0 {
            tables.remove(listener);
            return None;
        }
        let table = tables
            .entry(listener.clone())
            .or_insert_with(|| ClientAddresses::new(most));
        table.max.store(most, Relaxed);
        Some(Arc::clone(table))
    }
}

/// The open connections of each client.
#[derive(Debug)]
pub(super) struct ClientAddresses {
    max: AtomicUsize,
    /// The keys come from clients, so the hash must not be predictable.
    hasher: RandomState,
    parts: Box<[Mutex<HashMap<ClientKey, usize>>]>,
}

impl ClientAddresses {
    /// At most `max` connections of each client.
    fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max: AtomicUsize::new(max),
            hasher: RandomState::new(),
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
        })
    }

    /// Counts a connection of the client at `address`. `None` if it is at its limit.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<AddressSlot> {
        let key = ClientKey::from(address);
        let admitted = self.with_count(key, |count| {
            let below_limit = *count < self.max.load(Relaxed);
            *count += usize::from(below_limit);
            below_limit
        });
        admitted.then(|| AddressSlot {
            addresses: Arc::clone(self),
            key,
        })
    }

    fn with_count<T>(&self, key: ClientKey, change: impl FnOnce(&mut usize) -> T) -> T {
        let part = self.hasher.hash_one(key) % PARTS;
        let mut counts = self.parts[usize::try_from(part).unwrap_or_default()]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_default();
        let changed = change(count);
        if *count == 0 {
            counts.remove(&key);
        }
        changed
    }
}

/// A connection that is counted for its client until this is dropped.
#[derive(Debug)]
pub(super) struct AddressSlot {
    addresses: Arc<ClientAddresses>,
    key: ClientKey,
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        self.addresses
            .with_count(self.key, |count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(max: usize) -> Arc<ClientAddresses> {
        ClientAddresses::new(max)
    }

    fn admit(addresses: &Arc<ClientAddresses>, address: &str) -> Option<AddressSlot> {
        addresses.admit(address.parse().unwrap())
    }

    #[test]
    fn each_client_has_its_own_limit() {
        let addresses = addresses(2);
        let first = admit(&addresses, "192.0.2.1");
        let _second = admit(&addresses, "192.0.2.1").unwrap();
        assert!(admit(&addresses, "192.0.2.1").is_none());
        assert!(
            admit(&addresses, "::ffff:192.0.2.1").is_none(),
            "the same address"
        );
        assert!(admit(&addresses, "192.0.2.2").is_some());
        drop(first);
        assert!(admit(&addresses, "192.0.2.1").is_some());
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_client() {
        let addresses = addresses(1);
        let _first = admit(&addresses, "2001:db8:0:1::1").unwrap();
        assert!(admit(&addresses, "2001:db8:0:1:ffff::2").is_none());
        assert!(admit(&addresses, "2001:db8:0:2::1").is_some());
    }

    #[test]
    fn a_client_without_connections_is_forgotten() {
        let addresses = addresses(1);
        drop(admit(&addresses, "192.0.2.1"));
        let kept = |part: &Mutex<HashMap<_, _>>| part.lock().unwrap().len();
        assert_eq!(addresses.parts.iter().map(kept).sum::<usize>(), 0);
    }

    #[test]
    fn zero_means_no_limit() {
        let (tables, listener) = (AddressTables::default(), ListenerName::default());
        assert!(tables.of(&listener, 0).is_none());
    }

    #[test]
    fn a_limit_that_changes_counts_the_connections_that_are_open() {
        let (tables, listener) = (AddressTables::default(), ListenerName::default());
        let before = tables.of(&listener, 1).unwrap();
        let _first = admit(&before, "192.0.2.1").unwrap();
        let after = tables.of(&listener, 2).unwrap();
        let _second = admit(&after, "192.0.2.1").unwrap();
        assert!(admit(&after, "192.0.2.1").is_none());
        let other = tables.of(&"web".parse().unwrap(), 1).unwrap();
        assert!(admit(&other, "192.0.2.1").is_some(), "each listener counts");
    }
}
