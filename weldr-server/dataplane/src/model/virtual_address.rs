//! An address that moves between nodes.

use std::{fmt, net::IpAddr, str::FromStr};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::Invalid;

/// What the holder of the virtual addresses does when it loses the quorum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLostQuorum {
    /// It gives them up: never two nodes have an address.
    #[default]
    Release,
    /// It keeps them while their interface has a link and its data path serves. Two nodes have them if the other nodes live
    /// and elect a leader.
    Keep,
}

/// An address that the node which leads holds, with the length of its network's prefix: `10.0.0.100/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VirtualAddress {
    ip: IpAddr,
    prefix: u8,
}

impl VirtualAddress {
    /// The address itself.
    pub fn ip(self) -> IpAddr {
        self.ip
    }

    /// Bits of the network's part.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether it names a single interface: neither the network as a whole nor everybody in it.
    fn is_of_a_host(self) -> bool {
        match self.ip {
            IpAddr::V4(ip) if self.prefix < 31 => {
                let host_bits = u32::MAX >> self.prefix;
                !matches!(u32::from(ip) & host_bits, 0) && u32::from(ip) & host_bits != host_bits
            }
            // RFC 4291 section 2.6.1: the lowest address of a network is that of its routers.
            IpAddr::V6(ip) if self.prefix < 127 => u128::from(ip) << self.prefix != 0,
            IpAddr::V4(_) | IpAddr::V6(_) => true,
        }
    }
}

impl FromStr for VirtualAddress {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refused = |accepted: &str| Invalid::new("vip", text, accepted);
        let form = "ADDRESS/PREFIX, as in 10.0.0.100/24 or 2001:db8::100/64";
        let (ip, prefix) = text.split_once('/').ok_or_else(|| refused(form))?;
        let ip: IpAddr = ip.parse().map_err(|_| refused(form))?;
        let (prefix, widest) = (prefix.parse().ok(), if ip.is_ipv4() { 32 } else { 128 });
        let prefix = prefix.filter(|prefix| (1..=widest).contains(prefix));
        let prefix = prefix.ok_or_else(|| refused(&format!("a prefix from 1 to {widest}")))?;
        let address = Self { ip, prefix };
        let is_mapped = ip.to_canonical() != ip;
        if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_mapped {
            return Err(refused(
                "a unicast address that other machines can reach: no loopback, multicast, unspecified or \
                 IPv4-mapped one",
            ));
        }
        if !address.is_of_a_host() {
            return Err(refused(
                "the address of a host: this one stands for its whole network",
            ));
        }
        Ok(address)
    }
}

impl fmt::Display for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_is_written() {
        for text in [
            "10.0.0.100/24",
            "192.0.2.0/32",
            "192.0.2.4/31",
            "2001:db8::100/64",
            "2001:db8::/128",
            "fe80::1/64",
        ] {
            assert_eq!(text.parse::<VirtualAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_no_node_could_hold_is_refused() {
        for text in [
            "10.0.0.100",
            "10.0.0/24",
            "10.0.0.100/0",
            "10.0.0.100/33",
            "10.0.0.100/x",
            "2001:db8::1/129",
            "0.0.0.0/24",
            "127.0.0.1/8",
            "224.0.0.5/24",
            "10.0.0.0/24",
            "10.0.0.255/24",
            "255.255.255.255/1",
            "::/64",
            "::1/128",
            "ff02::1/64",
            "2001:db8::/64",
            "::ffff:10.0.0.1/120",
        ] {
            assert!(text.parse::<VirtualAddress>().is_err(), "{text}");
        }
    }
}
