//! The PROXY protocol, versions 1 and 2: what a proxy sends before the first byte of a connection to name the client whose
//! connection it passes on. Pure. The rules are those of HAProxy's `proxy-protocol.txt`.
//!
//! Each byte is judged as soon as the bytes before it allow: what is refused stays refused, whatever follows.

mod checksum;
mod defect;
mod v1;
mod v2;
mod write;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

pub(crate) use defect::Defect;
pub(crate) use write::{header, local_header};

/// The two ends of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The address of the client.
    pub(crate) source: SocketAddr,
    /// The address that the client connected to.
    pub(crate) destination: SocketAddr,
}

/// What bytes begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// All of them belong to a header that is not complete.
    NeedsMore,
    /// A header.
    Header {
        /// Its length in bytes.
        consumed: usize,
        /// The connection that it names. `None`: it names none that a listener for TCP knows, and the sender is the client.
        ends: Option<Ends>,
    },
}

/// Reads the header that `bytes`, the first of a connection, begin with.
///
/// # Errors
/// They do not begin with a header that is accepted.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, Defect> {
    if begins(bytes, v2::SIGNATURE) {
        v2::parse(bytes)
    } else if begins(bytes, v1::SIGNATURE) {
        v1::parse(bytes)
    } else {
        Err(Defect::Missing)
    }
}

/// Whether `bytes` begin with `signature`, or are its begin.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let known = bytes.len().min(signature.len());
    bytes[..known] == signature[..known]
}
