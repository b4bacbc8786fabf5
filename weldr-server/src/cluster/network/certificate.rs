//! The end of the validity of a certificate, for operators. TLS itself checks certificates elsewhere. Pure.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, pem::PemObject as _};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of the validity of the first certificate in `pem`; `None` if there is none, or it cannot be read.
pub(in crate::cluster) fn expires(pem: &[u8]) -> Option<Duration> {
    let certificate = CertificateDer::from_pem_slice(pem).ok()?;
    end_of_validity(&certificate)
}

/// `notAfter` of a certificate (RFC 5280, section 4.1), as the time since 1970.
fn end_of_validity(certificate: &[u8]) -> Option<Duration> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (body, _) = element(certificate, SEQUENCE)?;
    let body = element(body, VERSION).map_or(body, |(_, rest)| rest);
    let (_serial, rest) = element(body, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    let (_issuer, rest) = element(rest, SEQUENCE)?;
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_, _, not_after) = any(validity)?;
    let (kind, date, _) = any(not_after)?;
    let date = std::str::from_utf8(date)
        .ok()
        .filter(|date| date.is_ascii())?;
    match kind {
        UTC_TIME => {
            // RFC 5280, section 4.1.2.5.1: from 1950 to 2049.
            let century = if date.get(..2)? < "50" { "20" } else { "19" };
            since_1970(&format!("{century}{date}"))
        }
        GENERALIZED_TIME => since_1970(date),
        _ => None,
    }
}

/// The content of the first DER element, which must have this tag, and what comes after it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any(bytes)?;
    (found == tag).then_some((content, rest))
}

/// The tag and the content of the first DER element, and what comes after it.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        let digit = |length: usize, byte: &u8| length << 8 | usize::from(*byte);
        (digits.iter().fold(0, digit), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// A date of the form `20310203040506Z`.
fn since_1970(date: &str) -> Option<Duration> {
    let part = |from: usize, to: usize| date.get(from..to);
    let (day, time) = (
        [part(0, 4)?, part(4, 6)?, part(6, 8)?].join("-"),
        [part(8, 10)?, part(10, 12)?, part(12, 14)?].join(":"),
    );
    let date = humantime::parse_rfc3339(&format!("{day}T{time}Z")).ok()?;
    date.duration_since(std::time::UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
        let content = parts.concat();
        let mut bytes = vec![tag];
        match u8::try_from(content.len()) {
            Ok(length) if length < 0x80 => bytes.push(length),
            _ => {
                let length = u16::try_from(content.len()).unwrap();
                bytes.push(0x82);
                bytes.extend(length.to_be_bytes());
            }
        }
        bytes.extend(content);
        bytes
    }

    fn certificate(tag: u8, not_after: &str, has_version: bool) -> Vec<u8> {
        let leaf = |tag, text: &str| der(tag, &[text.as_bytes().to_vec()]);
        let validity = [leaf(UTC_TIME, "240101000000Z"), leaf(tag, not_after)];
        let mut body = vec![
            leaf(INTEGER, "1"),
            leaf(SEQUENCE, "algorithm"),
            leaf(SEQUENCE, &"issuer".repeat(50)),
            der(SEQUENCE, &validity),
            leaf(SEQUENCE, "subject"),
        ];
        if has_version {
            body.insert(0, der(VERSION, &[leaf(INTEGER, "2")]));
        }
        der(
            SEQUENCE,
            &[der(SEQUENCE, &body), leaf(SEQUENCE, "algorithm")],
        )
    }

    #[test]
    fn the_end_of_the_validity_is_read() {
        for (tag, not_after, expected) in [
            (UTC_TIME, "310203040506Z", "2031-02-03T04:05:06Z"),
            (UTC_TIME, "991231235959Z", "1999-12-31T23:59:59Z"),
            (GENERALIZED_TIME, "20500101000000Z", "2050-01-01T00:00:00Z"),
        ] {
            for has_version in [true, false] {
                let read = end_of_validity(&certificate(tag, not_after, has_version));
                let read = std::time::UNIX_EPOCH + read.unwrap();
                assert_eq!(
                    humantime::format_rfc3339_seconds(read).to_string(),
                    expected
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        let whole = certificate(UTC_TIME, "310203040506Z", true);
        for length in 0..whole.len() {
            assert_eq!(end_of_validity(&whole[..length]), None, "{length}");
        }
        for date in ["", "31", "310203", "3102030405ä", "999999999999Z"] {
            let odd = certificate(UTC_TIME, date, true);
            assert_eq!(end_of_validity(&odd), None, "{date}");
        }
        assert_eq!(expires(b"not a certificate"), None);
        assert_eq!(end_of_validity(&[SEQUENCE, 0xff, 1, 2, 3]), None);
    }
}
