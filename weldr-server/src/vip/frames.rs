//! Encodes the Ethernet frames that announce an address to neighbours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::interface::Mac;

const BROADCAST: Mac = [0xff; 6];
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
/// The all-nodes multicast group (RFC 4291 section 2.7.1), and its Ethernet address (RFC 2464 section 7).
const ALL_NODES: (Ipv6Addr, Mac) = (
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
    [0x33, 0x33, 0, 0, 0, 1],
);
const ICMPV6: u8 = 58;

/// The frames of one announcement of `ip` at `mac`. `is_router` says whether this machine forwards IPv6.
pub(super) fn announcement(ip: IpAddr, mac: Mac, is_router: bool) -> Vec<Vec<u8>> {
    match ip {
        // Some neighbours accept only requests, some only replies (RFC 5227 section 3).
        IpAddr::V4(ip) => vec![arp(REQUEST, ip, mac), arp(REPLY, ip, mac)],
        IpAddr::V6(ip) => vec![neighbour_advertisement(ip, mac, is_router)],
    }
}

/// A gratuitous ARP packet (RFC 826; RFC 5227 section 2.3; RFC 5944 section 4.6): sender and target are both `ip`.
fn arp(operation: u8, ip: Ipv4Addr, mac: Mac) -> Vec<u8> {
    let target_mac = if operation == REPLY { mac } else { [0; 6] };
    let mut frame = ethernet(BROADCAST, mac, ETHERTYPE_ARP);
    // Ethernet and IPv4, with addresses of 6 and of 4 bytes.
    frame.extend([0, 1, 0x08, 0x00, 6, 4, 0, operation]);
    frame.extend(mac);
    frame.extend(ip.octets());
    frame.extend(target_mac);
    frame.extend(ip.octets());
    frame
}

/// An unsolicited neighbour advertisement (RFC 4861 sections 4.4 and 7.2.6) that overrides the neighbours' caches.
fn neighbour_advertisement(ip: Ipv6Addr, mac: Mac, is_router: bool) -> Vec<u8> {
    const OVERRIDE: u8 = 0x20;
    const ROUTER: u8 = 0x80;
    const HOP_LIMIT: u8 = 255;
    let flags = OVERRIDE | if is_router { ROUTER } else { 0 };
    // Type 136, code 0, and two bytes for the checksum.
    let mut message = vec![136, 0, 0, 0, flags, 0, 0, 0];
    message.extend(ip.octets());
    // The option Target Link-Layer Address, one unit of 8 bytes.
    message.extend([2, 1]);
    message.extend(mac);
    let (group, group_mac) = ALL_NODES;
    let sum = checksum(ip, group, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut frame = ethernet(group_mac, mac, ETHERTYPE_IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([ICMPV6, HOP_LIMIT]);
    frame.extend(ip.octets());
    frame.extend(group.octets());
    frame.extend(message);
    frame
}

fn ethernet(to: Mac, from: Mac, ethertype: [u8; 2]) -> Vec<u8> {
    [&to[..], &from[..], &ethertype[..]].concat()
}

/// The checksum of an `ICMPv6` message of even length (RFC 4443 section 2.3; RFC 8200 section 8.1).
fn checksum(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let pseudo_header = [
        &from.octets()[..],
        &to.octets()[..],
        &length.to_be_bytes()[..],
        &[0, 0, 0, ICMPV6],
    ]
    .concat();
    let words = pseudo_header.chunks(2).chain(message.chunks(2));
    let mut sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [0x02, 0, 0, 0, 0, 0x0a];

    #[test]
    fn an_ipv4_address_is_announced_in_both_styles() {
        let frames = announcement("10.0.0.100".parse().unwrap(), MAC, false);
        let expected = |operation, target: &[u8; 6]| {
            let parts: [&[u8]; 9] = [
                &[0xff; 6],
                &MAC,
                &[0x08, 0x06],
                &[0, 1, 8, 0, 6, 4, 0, operation],
                &MAC,
                &[10, 0, 0, 100],
                target,
                &[10, 0, 0, 100],
                &[],
            ];
            parts.concat()
        };
        assert_eq!(frames, [expected(1, &[0; 6]), expected(2, &MAC)]);
    }

    #[test]
    fn an_ipv6_address_is_advertised_to_all_nodes() {
        let ip: Ipv6Addr = "2001:db8::100".parse().unwrap();
        let frames = announcement(ip.into(), MAC, false);
        let [frame] = frames.as_slice() else {
            panic!("{frames:?}")
        };
        assert_eq!(
            frame[..14],
            [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0x0a, 0x86, 0xdd]
        );
        assert_eq!(frame[14..22], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!(frame[22..38], ip.octets());
        assert_eq!(frame[38..54], ALL_NODES.0.octets());
        let message = &frame[54..];
        assert_eq!((message[0], message[1], message[4]), (136, 0, 0x20));
        assert_eq!(message[8..24], ip.octets());
        assert_eq!(message[24..], [2, 1, 2, 0, 0, 0, 0, 0x0a]);
        assert_eq!(
            checksum(ip, ALL_NODES.0, message),
            0,
            "a right checksum sums to nothing"
        );
    }

    #[test]
    fn a_router_says_so() {
        let frames = announcement("2001:db8::100".parse().unwrap(), MAC, true);
        assert_eq!(frames[0][58], 0xa0);
    }
}
