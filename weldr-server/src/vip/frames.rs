//! Encodes the Ethernet frames that announce an address to neighbours and ask who has it, and decodes what they say.

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
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;

/// The frame that asks whether another machine has `ip`: an ARP probe (RFC 5227 section 2.1.1), or the neighbour solicitation of
/// duplicate address detection (RFC 4862 section 5.4.2). Whoever has it responds.
pub(super) fn probe(ip: IpAddr, mac: Mac) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => arp(REQUEST, Ipv4Addr::UNSPECIFIED, mac, ip),
        IpAddr::V6(ip) => duplicate_address_detection(ip, mac),
    }
}

/// Who says in this ARP frame that it has which address.
pub(super) fn arp_claim(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    const ETHERNET_AND_IPV4: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
    if frame.get(12..14)? != ETHERTYPE_ARP || frame.get(14..20)? != ETHERNET_AND_IPV4 {
        return None;
    }
    let ip: [u8; 4] = frame.get(28..32)?.try_into().ok()?;
    let mac = frame.get(22..28)?.try_into().ok()?;
    Some((IpAddr::from(ip), mac))
}

/// Who says in this `ICMPv6` message that it has which address.
pub(super) fn neighbour_claim(message: &[u8]) -> Option<(IpAddr, Mac)> {
    if message.first()? != &ADVERTISEMENT {
        return None;
    }
    let ip: [u8; 16] = message.get(8..24)?.try_into().ok()?;
    let mut options = message.get(24..)?;
    while let [kind, units, ..] = options {
        let length = usize::from(*units) * 8;
        // Without a length there is no next option (RFC 4861 section 4.6).
        let option = options.get(..length).filter(|option| !option.is_empty())?;
        if *kind == TARGET_LINK_LAYER_ADDRESS {
            return Some((IpAddr::from(ip), option.get(2..8)?.try_into().ok()?));
        }
        options = &options[length..];
    }
    None
}

/// The frames of one announcement of `ip` at `mac`. `is_router` says whether this machine forwards IPv6.
pub(super) fn announcement(ip: IpAddr, mac: Mac, is_router: bool) -> Vec<Vec<u8>> {
    match ip {
        // Some neighbours accept only requests, some only replies (RFC 5227 section 3).
        IpAddr::V4(ip) => vec![arp(REQUEST, ip, mac, ip), arp(REPLY, ip, mac, ip)],
        IpAddr::V6(ip) => vec![neighbour_advertisement(ip, mac, is_router)],
    }
}

/// An ARP packet to all (RFC 826; RFC 5227 section 2.3; RFC 5944 section 4.6). In a gratuitous one, sender and target are the same
/// address.
fn arp(operation: u8, sender: Ipv4Addr, mac: Mac, target: Ipv4Addr) -> Vec<u8> {
    let target_mac = if operation == REPLY { mac } else { [0; 6] };
    let mut frame = ethernet(BROADCAST, mac, ETHERTYPE_ARP);
    // Ethernet and IPv4, with addresses of 6 and of 4 bytes.
    frame.extend([0, 1, 0x08, 0x00, 6, 4, 0, operation]);
    frame.extend(mac);
    frame.extend(sender.octets());
    frame.extend(target_mac);
    frame.extend(target.octets());
    frame
}

/// A neighbour solicitation from nobody (RFC 4861 section 4.3) to the solicited-node group of `ip` (RFC 4291 section 2.7.1).
fn duplicate_address_detection(ip: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let [.., a, b, c] = ip.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let group_mac = [0x33, 0x33, 0xff, a, b, c];
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(ip.octets());
    icmpv6((Ipv6Addr::UNSPECIFIED, mac), (group, group_mac), message)
}

/// An unsolicited neighbour advertisement (RFC 4861 sections 4.4 and 7.2.6) that overrides the neighbours' caches.
fn neighbour_advertisement(ip: Ipv6Addr, mac: Mac, is_router: bool) -> Vec<u8> {
    const OVERRIDE: u8 = 0x20;
    const ROUTER: u8 = 0x80;
    let flags = OVERRIDE | if is_router { ROUTER } else { 0 };
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    message.extend(ip.octets());
    // One unit of 8 bytes.
    message.extend([TARGET_LINK_LAYER_ADDRESS, 1]);
    message.extend(mac);
    icmpv6((ip, mac), ALL_NODES, message)
}

/// The frame of an `ICMPv6` message between neighbours, whose bytes 2 and 3 are for the checksum.
fn icmpv6(
    (ip, mac): (Ipv6Addr, Mac),
    (group, group_mac): (Ipv6Addr, Mac),
    mut message: Vec<u8>,
) -> Vec<u8> {
    const HOP_LIMIT: u8 = 255;
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
    fn a_probe_for_an_ipv4_address_claims_nothing() {
        let frame = probe("10.0.0.100".parse().unwrap(), MAC);
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[20..22], [0, 1], "a request");
        assert_eq!(frame[28..32], [0; 4], "of nobody");
        assert_eq!(frame[38..42], [10, 0, 0, 100]);
        let claim = arp_claim(&frame).unwrap();
        assert!(claim.0.is_unspecified(), "{claim:?}");
    }

    #[test]
    fn a_probe_for_an_ipv6_address_goes_to_its_solicited_node_group() {
        let ip: Ipv6Addr = "2001:db8::12:3456".parse().unwrap();
        let frame = probe(ip.into(), MAC);
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let group: Ipv6Addr = "ff02::1:ff12:3456".parse().unwrap();
        assert_eq!(frame[22..38], [0; 16]);
        assert_eq!(frame[38..54], group.octets());
        let message = &frame[54..];
        assert_eq!(message[0], 135);
        assert_eq!(message[8..], ip.octets());
        assert_eq!(checksum(Ipv6Addr::UNSPECIFIED, group, message), 0);
        assert_eq!(neighbour_claim(message), None);
    }

    #[test]
    fn what_neighbours_say_is_read() {
        let v4: IpAddr = "10.0.0.100".parse().unwrap();
        for frame in announcement(v4, MAC, false) {
            assert_eq!(arp_claim(&frame), Some((v4, MAC)));
            for length in 0..32 {
                assert_eq!(arp_claim(&frame[..length]), None, "cut at {length}");
            }
        }
        let v6: IpAddr = "2001:db8::100".parse().unwrap();
        let message = announcement(v6, MAC, false)[0][54..].to_vec();
        assert_eq!(neighbour_claim(&message), Some((v6, MAC)));
        for length in 0..message.len() {
            assert_eq!(neighbour_claim(&message[..length]), None, "cut at {length}");
        }
        let mut nonsense = message;
        nonsense[25] = 0;
        assert_eq!(
            neighbour_claim(&nonsense),
            None,
            "an option without a length"
        );
    }

    #[test]
    fn a_router_says_so() {
        let frames = announcement("2001:db8::100".parse().unwrap(), MAC, true);
        assert_eq!(frames[0][58], 0xa0);
    }
}
