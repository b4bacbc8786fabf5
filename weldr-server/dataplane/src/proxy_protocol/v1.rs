//! Version 1: a line of text.

use std::{net::IpAddr, str};

use super::{Defect, Ends, Parsed};

/// What the line begins with.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";
/// Most bytes of the line, with its end.
pub(super) const LONGEST: usize = 107;

/// Reads a line that begins with [`SIGNATURE`], or of which that has not come.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Defect> {
    let seen = &bytes[..bytes.len().min(LONGEST)];
    let Some(end) = memchr::memchr(b'\n', seen) else {
        return if seen.len() == LONGEST {
            Err(Defect::LineTooLong)
        } else {
            Ok(Parsed::NeedsMore)
        };
    };
    let line = seen[..end].strip_suffix(b"\r").ok_or(Defect::LineEnd)?;
    let words = line.get(SIGNATURE.len()..).unwrap_or_default();
    Ok(Parsed::Header {
        consumed: end + 1,
        ends: ends(words)?,
    })
}

/// The ends that the part behind the signature names.
fn ends(words: &[u8]) -> Result<Option<Ends>, Defect> {
    // What follows UNKNOWN must be ignored, and need not be text.
    if words == b"UNKNOWN" || words.starts_with(b"UNKNOWN ") {
        return Ok(None);
    }
    let words = str::from_utf8(words).map_err(|_| Defect::Line)?;
    let mut words = words.split(' ');
    let parse: fn(&str) -> Option<IpAddr> = match words.next() {
        Some("TCP4") => |ip| ip.parse().ok().map(IpAddr::V4),
        Some("TCP6") => |ip| ip.parse().ok().map(IpAddr::V6),
        _ => return Err(Defect::Protocol),
    };
    let mut next = || words.next().unwrap_or_default();
    let ips = [parse(next()), parse(next())];
    let ports = [port(next()), port(next())];
    match (ips, ports, words.next()) {
        ([Some(from), Some(to)], [Some(from_port), Some(to_port)], None) => Ok(Some(Ends {
            source: (from, from_port).into(),
            destination: (to, to_port).into(),
        })),
        _ => Err(Defect::Line),
    }
}

/// A port in decimal digits, without zeros before it.
fn port(text: &str) -> Option<u16> {
    let is_canonical = text == "0" || text.starts_with(|first: char| matches!(first, '1'..='9'));
    is_canonical.then(|| text.parse().ok()).flatten()
}
