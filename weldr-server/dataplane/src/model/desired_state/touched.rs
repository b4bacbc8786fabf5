//! Which objects a change touched.

use std::{collections::BTreeSet, net::SocketAddr};

use crate::model::{CertificateName, ListenerName, PoolName, Priority};

/// The objects that the last change of a state touched, so that a history can note what they were before. It is no part
/// of the state: it is not stored, and two states that differ only in it are equal.
#[derive(Debug, Clone, Default)]
pub struct Touched {
    /// The settings of pools, and pools that were added or removed.
    pub pools: BTreeSet<PoolName>,
    /// Servers.
    pub servers: BTreeSet<(PoolName, SocketAddr)>,
    /// Listeners without their rules, and listeners that were added or removed.
    pub listeners: BTreeSet<ListenerName>,
    /// Rules, by their places.
    pub rules: BTreeSet<(ListenerName, Priority)>,
    /// Certificates.
    pub certificates: BTreeSet<CertificateName>,
}

impl Touched {
    pub(super) fn pool(&mut self, pool: &PoolName) {
        self.pools.insert(pool.clone());
    }

    pub(super) fn server(&mut self, pool: &PoolName, address: SocketAddr) {
        self.servers.insert((pool.clone(), address));
    }

    pub(super) fn listener(&mut self, listener: &ListenerName) {
        self.listeners.insert(listener.clone());
    }

    pub(super) fn rule(&mut self, listener: &ListenerName, priority: Priority) {
        self.rules.insert((listener.clone(), priority));
    }

    pub(super) fn certificate(&mut self, certificate: &CertificateName) {
        self.certificates.insert(certificate.clone());
    }
}

impl PartialEq for Touched {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
