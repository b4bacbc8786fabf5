//! The addresses that the node itself listens on, by its options.

use std::net::{IpAddr, SocketAddr};

use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};

use super::Config;
use crate::model::{ListenerRole, OwnAddresses};

impl Config {
    /// Where the node will listen. An address with port 0 is none yet.
    pub fn own_addresses(&self) -> OwnAddresses {
        let listen = [self.listen.as_slice(), &self.listen_https].concat();
        self.own_addresses_with(&listen, self.management)
    }

    /// Where the node listens, once its sockets are bound to `listen` and `management`.
    pub fn own_addresses_with(
        &self,
        listen: &[SocketAddr],
        management: SocketAddr,
    ) -> OwnAddresses {
        let mut own =
            OwnAddresses::new(addresses_of_this_machine).with(ListenerRole::Management, management);
        own = own.with_listener_addresses(self.listener_addresses.clone());
        for &address in listen {
            own = own.with(ListenerRole::Proxy, address);
        }
        if let Some(health) = self.health_listen {
            own = own.with(ListenerRole::Management, health);
        }
        if let Some(cluster) = &self.cluster {
            own = own.with(ListenerRole::Cluster, cluster.listen);
            if let Some(advertised) = cluster.advertise {
                own = own.with(ListenerRole::Cluster, advertised);
            }
        }
        let virtual_addresses = self.vip.iter().flat_map(|vip| &vip.addresses);
        virtual_addresses.fold(own, |own, address| own.with_virtual(address.ip()))
    }
}

/// The addresses of all interfaces; none when the kernel does not list them.
fn addresses_of_this_machine() -> Vec<IpAddr> {
    let entries = match getifaddrs() {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(%error, "the addresses of this machine cannot be listed");
            return Vec::new();
        }
    };
    entries.filter_map(|entry| ip_of(&entry.address?)).collect()
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_loopback() {
        let addresses = addresses_of_this_machine();
        assert!(addresses.iter().any(IpAddr::is_loopback), "{addresses:?}");
    }
}
