//! Network interfaces, as the kernel describes them.

use std::{fs, io, net::IpAddr};

use nix::{
    ifaddrs::{InterfaceAddress, getifaddrs},
    net::if_::InterfaceFlags,
    sys::socket::{LinkAddr, SockaddrStorage},
};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// `mac` as people write it.
pub fn shown_mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// `ARPHRD_ETHER`: hardware that uses ARP and Ethernet frames.
const ETHERNET: u16 = 1;

/// The current state of a network interface.
#[derive(Debug, Clone)]
pub(super) struct Interface {
    pub(super) link: LinkAddr,
    pub(super) is_up: bool,
    /// Whether it has a link: it is up, and so is the other end of its cable.
    pub(super) is_linked: bool,
    /// Addresses with their prefix lengths.
    pub(super) addresses: Vec<(IpAddr, u8)>,
}

impl Interface {
    /// The interface called `name`; `None` if there is none.
    pub(super) fn look_up(name: &str) -> io::Result<Option<Self>> {
        let mut link = None;
        let mut addresses = Vec::new();
        for entry in getifaddrs()?.filter(|entry| entry.interface_name == name) {
            let is_up = entry.flags.contains(InterfaceFlags::IFF_UP);
            let is_linked = is_up && entry.flags.contains(InterfaceFlags::IFF_RUNNING);
            let found = entry
                .address
                .as_ref()
                .and_then(SockaddrStorage::as_link_addr);
            if let Some(found) = found {
                link = Some((*found, is_up, is_linked));
            }
            addresses.extend(address_of(&entry));
        }
        Ok(link.map(|(link, is_up, is_linked)| Self {
            link,
            is_up,
            is_linked,
            addresses,
        }))
    }

    /// Its Ethernet address, if it has one.
    pub(super) fn mac(&self) -> Option<Mac> {
        self.link.addr().filter(|_| self.link.hatype() == ETHERNET)
    }

    /// The kernel's index of the interface.
    pub(super) fn index(&self) -> u32 {
        u32::try_from(self.link.ifindex()).unwrap_or(0)
    }
}

/// The Ethernet addresses of all interfaces of this machine. A machine with two interfaces on one network responds for an address
/// of one of them through both.
pub(super) fn own_macs() -> io::Result<Vec<Mac>> {
    let mac = |entry: InterfaceAddress| entry.address?.as_link_addr()?.addr();
    Ok(getifaddrs()?.filter_map(mac).collect())
}

/// The name of the interface that has `ip`.
pub(super) fn holder_of(ip: IpAddr) -> io::Result<Option<String>> {
    let mut entries = getifaddrs()?;
    let found = entries.find(|entry| address_of(entry).is_some_and(|(address, _)| address == ip));
    Ok(found.map(|entry| entry.interface_name))
}

/// Whether this machine forwards IPv6 that comes in on the interface `name`.
pub(super) fn forwards_ipv6(name: &str) -> bool {
    fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/forwarding"))
        .is_ok_and(|text| text.trim() != "0")
}

fn address_of(entry: &InterfaceAddress) -> Option<(IpAddr, u8)> {
    let ip = ip_of(entry.address.as_ref()?)?;
    let prefix = match entry.netmask.as_ref().and_then(ip_of) {
        Some(IpAddr::V4(mask)) => u32::from(mask).leading_ones(),
        Some(IpAddr::V6(mask)) => u128::from(mask).leading_ones(),
        None => {
            if ip.is_ipv4() {
                32
            } else {
                128
            }
        }
    };
    u8::try_from(prefix).ok().map(|prefix| (ip, prefix))
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}
