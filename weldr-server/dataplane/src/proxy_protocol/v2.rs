//! Version 2: a binary header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Defect, Ends, Parsed, checksum::crc32c};

/// What the header begins with.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of the header before the addresses.
pub(super) const BEGIN: usize = 16;
/// Most bytes behind these. The addresses have 216 at most; the rest is for other values, such as a name of a server or the
/// subject of a certificate.
pub(super) const MOST: u16 = 4096;

/// The high half of the byte behind the signature.
pub(super) const VERSION: u8 = 2;
/// The commands, in the low half of the byte behind the signature.
pub(super) const LOCAL: u8 = 0;
pub(super) const PROXY: u8 = 1;
/// Addresses of IPv4 or of IPv6, of a connection.
pub(super) const TCP4: u8 = 0x11;
pub(super) const TCP6: u8 = 0x21;
/// Bytes of the addresses and the ports.
pub(super) const LENGTH_TCP4: u16 = 12;
pub(super) const LENGTH_TCP6: u16 = 36;

/// Reads a header that begins with [`SIGNATURE`], or of which that has not come.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Defect> {
    let Some(&command) = bytes.get(SIGNATURE.len()) else {
        return Ok(Parsed::NeedsMore);
    };
    match (command >> 4, command & 0xf) {
        (VERSION, LOCAL | PROXY) => {}
        (VERSION, unknown) => return Err(Defect::Command(unknown)),
        (unknown, _) => return Err(Defect::Version(unknown)),
    }
    let is_local = command & 0xf == LOCAL;
    let Some(&[_, family, high, low]) = bytes.get(SIGNATURE.len()..BEGIN) else {
        return Ok(Parsed::NeedsMore);
    };
    let length = u16::from_be_bytes([high, low]);
    if length > MOST {
        return Err(Defect::TooLong(length));
    }
    // Whatever the sender says about its own connection must be skipped.
    if !is_local && length < least(family)? {
        return Err(Defect::TooShort(length));
    }
    let consumed = BEGIN + usize::from(length);
    let Some(header) = bytes.get(..consumed) else {
        return Ok(Parsed::NeedsMore);
    };
    let ends = if is_local {
        None
    } else {
        ends(family, header)?
    };
    Ok(Parsed::Header { consumed, ends })
}

/// How many bytes the addresses of a family have.
fn least(family: u8) -> Result<u16, Defect> {
    let addresses = match family >> 4 {
        0 => 0,
        1 => LENGTH_TCP4,
        2 => LENGTH_TCP6,
        // The paths of two Unix sockets.
        3 => 216,
        _ => return Err(Defect::Family(family)),
    };
    // 0: unspecified, 1: a connection, 2: datagrams.
    if family & 0xf > 2 {
        return Err(Defect::Family(family));
    }
    Ok(addresses)
}

/// The ends that a complete header names; `None`: those of no connection over TCP.
fn ends(family: u8, header: &[u8]) -> Result<Option<Ends>, Defect> {
    let body = &header[BEGIN..];
    let (ends, rest) = match family {
        TCP4 => match body.split_first_chunk() {
            Some((addresses, rest)) => (ends_v4(addresses), rest),
            None => return Ok(None),
        },
        TCP6 => match body.split_first_chunk() {
            Some((addresses, rest)) => (ends_v6(addresses), rest),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    examine(header, rest)?;
    Ok(Some(ends))
}

fn ends_v4(addresses: &[u8; LENGTH_TCP4 as usize]) -> Ends {
    let part = |at: usize| -> [u8; 4] { std::array::from_fn(|index| addresses[at + index]) };
    named(
        Ipv4Addr::from(part(0)).into(),
        Ipv4Addr::from(part(4)).into(),
        part(8),
    )
}

fn ends_v6(addresses: &[u8; LENGTH_TCP6 as usize]) -> Ends {
    let part = |at: usize| -> [u8; 16] { std::array::from_fn(|index| addresses[at + index]) };
    let ports = std::array::from_fn(|index| addresses[32 + index]);
    named(
        Ipv6Addr::from(part(0)).into(),
        Ipv6Addr::from(part(16)).into(),
        ports,
    )
}

fn named(source: IpAddr, destination: IpAddr, [a, b, c, d]: [u8; 4]) -> Ends {
    Ends {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    }
}

/// Skips the values behind the addresses, which are the end `rest` of `header`, and verifies the checksum if there is one.
fn examine(header: &[u8], rest: &[u8]) -> Result<(), Defect> {
    const CRC32C: u8 = 3;
    let mut rest = rest;
    while let Some((&kind, behind)) = rest.split_first() {
        let (&length, behind) = behind.split_first_chunk().ok_or(Defect::Tlv)?;
        let length = usize::from(u16::from_be_bytes(length));
        let (value, behind) = behind.split_at_checked(length).ok_or(Defect::Tlv)?;
        if kind == CRC32C {
            let at = header.len() - behind.len() - value.len();
            let sum: [u8; 4] = value.try_into().map_err(|_| Defect::Checksum)?;
            // The sum is over the header with zeros in the place of the sum.
            let parts = [&header[..at], &[0; 4], &header[at + sum.len()..]];
            if crc32c(&parts) != u32::from_be_bytes(sum) {
                return Err(Defect::Checksum);
            }
        }
        rest = behind;
    }
    Ok(())
}
