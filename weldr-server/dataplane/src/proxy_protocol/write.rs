//! Headers for servers.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv6Addr},
};

use super::{Ends, v1, v2};
use crate::model::SendProxyProtocol;

/// The header that names the connection of a client; empty if none is sent.
pub(crate) fn header(version: SendProxyProtocol, ends: Ends) -> Vec<u8> {
    let (source, destination) = (ends.source, ends.destination);
    let mut ips = [source.ip().to_canonical(), destination.ip().to_canonical()];
    // Both must be of one family: where they are not, the one of IPv4 has a form in IPv6.
    if ips.iter().any(IpAddr::is_ipv6) {
        ips = ips.map(|ip| IpAddr::V6(to_v6(ip)));
    }
    let ports = [source.port(), destination.port()];
    match version {
        SendProxyProtocol::Off => Vec::new(),
        SendProxyProtocol::V1 => line(ips, ports),
        SendProxyProtocol::V2 => binary(ips, ports),
    }
}

/// The header of a connection of our own, for no client; empty if none is sent.
pub(crate) fn local_header(version: SendProxyProtocol) -> Vec<u8> {
    match version {
        SendProxyProtocol::Off => Vec::new(),
        SendProxyProtocol::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
        SendProxyProtocol::V2 => begin_binary(v2::LOCAL, 0, 0),
    }
}

fn to_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn line([source, destination]: [IpAddr; 2], [from, to]: [u16; 2]) -> Vec<u8> {
    let mut line = Vec::with_capacity(v1::LONGEST);
    let protocol = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    // Memory takes whatever is written.
    let _ = write!(
        line,
        "PROXY {protocol} {source} {destination} {from} {to}\r\n"
    );
    line
}

fn binary(ips: [IpAddr; 2], ports: [u16; 2]) -> Vec<u8> {
    let (family, length) = match ips[0] {
        IpAddr::V4(_) => (v2::TCP4, v2::LENGTH_TCP4),
        IpAddr::V6(_) => (v2::TCP6, v2::LENGTH_TCP6),
    };
    let mut header = begin_binary(v2::PROXY, family, length);
    for ip in ips {
        match ip {
            IpAddr::V4(ip) => header.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => header.extend_from_slice(&ip.octets()),
        }
    }
    for port in ports {
        header.extend_from_slice(&port.to_be_bytes());
    }
    header
}

fn begin_binary(command: u8, family: u8, length: u16) -> Vec<u8> {
    let mut header = Vec::with_capacity(v2::BEGIN + usize::from(length));
    header.extend_from_slice(v2::SIGNATURE);
    header.extend_from_slice(&[v2::VERSION << 4 | command, family]);
    header.extend_from_slice(&length.to_be_bytes());
    header
}
