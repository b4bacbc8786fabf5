//! What a client speaks, by its first bytes. Pure.

use crate::tls::record::{Header, MAX_CIPHERTEXT};

/// What the first bytes of a connection to a TLS port are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstBytes {
    /// Too few to tell, or a record of TLS that is not complete.
    NeedsMore,
    /// A whole record of TLS, with a handshake message.
    Tls,
    /// A request in plain HTTP.
    PlainHttp,
    /// Neither.
    Other,
}

/// Longest method of a request that is recognised.
const LONGEST_METHOD: usize = 16;

impl FirstBytes {
    /// What `bytes` are the begin of.
    pub(super) fn of(bytes: &[u8]) -> Self {
        const HANDSHAKE: u8 = 22;
        match bytes {
            [] | [HANDSHAKE] | [HANDSHAKE, 3] => Self::NeedsMore,
            [HANDSHAKE, 3, ..] => Self::of_record(bytes),
            [b'A'..=b'Z', ..] => Self::of_request(bytes),
            _ => Self::Other,
        }
    }

    fn of_record(bytes: &[u8]) -> Self {
        match Header::read(bytes) {
            Ok(None) => Self::NeedsMore,
            Ok(Some(header)) if bytes.len() < header.record_length() => Self::NeedsMore,
            Ok(Some(_)) => Self::Tls,
            Err(_) => Self::Other,
        }
    }

    /// A method and a space begin a request (RFC 9112, section 3).
    fn of_request(bytes: &[u8]) -> Self {
        let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase());
        match method.count() {
            LONGEST_METHOD.. => Self::Other,
            length if length == bytes.len() => Self::NeedsMore,
            length if bytes[length] == b' ' => Self::PlainHttp,
            _ => Self::Other,
        }
    }
}

/// Most bytes that may come before it is known what they are.
pub(super) const MOST: usize = Header::LENGTH + MAX_CIPHERTEXT;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_speaks_is_known_by_its_first_bytes() {
        use FirstBytes::{NeedsMore, Other, PlainHttp, Tls};
        for (bytes, expected) in [
            (&b""[..], NeedsMore),
            (&[22], NeedsMore),
            (&[22, 3, 1, 0], NeedsMore),
            (&[22, 3, 1, 0, 2, 1], NeedsMore),
            (&[22, 3, 1, 0, 2, 1, 0], Tls),
            (&[22, 3, 1, 0, 2, 1, 0, 9, 9], Tls),
            (&[22, 2], Other),
            (&[22, 3, 1, 0xff, 0xff], Other),
            (&[23, 3, 3, 0, 1], Other),
            (&[0x80, 0x2e, 1], Other),
            (b"GET", NeedsMore),
            (b"GET / HTTP/1.1", PlainHttp),
            (b"PROPFIND ", PlainHttp),
            (b"GETGETGETGETGETGET", Other),
            (b"GE\r\n", Other),
            (b"get / ", Other),
            (b"\r\n", Other),
        ] {
            assert_eq!(FirstBytes::of(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn nothing_is_undecided_for_longer_than_a_record() {
        let mut record = vec![22, 3, 1, 0x41, 0];
        record.resize(MOST, 0);
        assert_eq!(FirstBytes::of(&record[..MOST - 1]), FirstBytes::NeedsMore);
        assert_eq!(FirstBytes::of(&record), FirstBytes::Tls);
    }
}
