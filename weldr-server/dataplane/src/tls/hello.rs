//! What the first record of a connection says about it (RFC 8446, section 4.1.2). Pure.
//!
//! rustls does not tell an unbuffered connection the name that its client asked for, and this reads it from the same bytes. It
//! decides nothing: rustls has the last word on what is a `ClientHello`.

/// Type of the extension with the server's name (RFC 6066, section 3).
const SERVER_NAME: u16 = 0;

/// Type of the extension with the protocols inside (RFC 7301).
const PROTOCOLS: u16 = 16;

/// Whether all of the first record has come.
pub(crate) fn is_whole(record: &[u8]) -> bool {
    let mut record = Reader(record);
    record.take(3).and_then(|_| record.vector(2)).is_some()
}

/// The name of the server in the `ClientHello` that `record` holds, in lower case.
pub(crate) fn server_name(record: &[u8]) -> Option<String> {
    let mut names = Reader(Reader(extension(record, SERVER_NAME)?).vector(2)?);
    let is_host = names.take(1)? == [0];
    let name = names.vector(2)?;
    let name = is_host.then(|| std::str::from_utf8(name).ok()).flatten()?;
    Some(name.to_ascii_lowercase())
}

/// The protocols that the client offers to speak inside TLS.
pub(super) fn protocols(record: &[u8]) -> Option<Vec<&[u8]>> {
    let mut offered = Reader(Reader(extension(record, PROTOCOLS)?).vector(2)?);
    let mut protocols = Vec::new();
    while let Some(protocol) = offered.vector(1) {
        protocols.push(protocol);
    }
    Some(protocols)
}

/// The content of an extension of the `ClientHello` that `record` holds.
fn extension(record: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut record = Reader(record);
    let header = record.take(5)?;
    // A handshake record whose message is a ClientHello.
    let mut hello = Reader(record.0);
    if header[0] != 22 || hello.take(1)? != [1] {
        return None;
    }
    // Its length, its version and its random bytes.
    hello.take(3 + 2 + 32)?;
    hello.vector(1)?;
    hello.vector(2)?;
    hello.vector(1)?;
    let mut extensions = Reader(hello.vector(2)?);
    while let Some(kind) = extensions.number(2) {
        let content = extensions.vector(2)?;
        if kind == usize::from(wanted) {
            return Some(content);
        }
    }
    None
}

/// Bytes that are read from the front.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of `bytes` bytes.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        let bytes = self.take(bytes)?;
        Some(
            bytes
                .iter()
                .fold(0, |sum, &byte| sum << 8 | usize::from(byte)),
        )
    }

    /// Bytes behind their length, which has `bytes` bytes.
    fn vector(&mut self, bytes: usize) -> Option<&'b [u8]> {
        let length = self.number(bytes)?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{ClientConfig, RootCertStore, client::ClientConnection};

    use super::*;

    fn hello_to(name: &'static str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = name.try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut record = Vec::new();
        client.write_tls(&mut record).unwrap();
        record
    }

    #[test]
    fn the_name_of_a_client_hello_is_found() {
        let record = hello_to("Shop.example.com");
        assert_eq!(server_name(&record).as_deref(), Some("shop.example.com"));
        assert_eq!(server_name(&hello_to("127.0.0.1")), None);
    }

    #[test]
    fn no_begin_and_no_damage_of_one_panics() {
        let record = hello_to("shop.example.com");
        for end in 0..record.len() {
            assert!(server_name(&record[..end]).is_none_or(|name| name == "shop.example.com"));
        }
        for at in 0..record.len() {
            let mut damaged = record.clone();
            damaged[at] ^= 0xff;
            server_name(&damaged);
        }
    }
}
