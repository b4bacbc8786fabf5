//! PEM, and what a file may be instead.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::model::{Der, Invalid};

/// The longest text that is read, in bytes: far more than the longest chain, and a private key.
const LONGEST_TEXT: usize = 1 << 20;
/// The length of a line of PEM.
const LINE: usize = 64;

/// What the text of a file is, by its beginning and its sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// PEM with at least one section that is wanted.
    Wanted,
    /// PEM with a section of another kind, or an unknown one.
    Other(&'static str),
    /// Nothing but white space.
    Empty,
    /// PKCS #12.
    Pkcs12,
    /// DER of anything.
    Der,
    /// Something else.
    Unknown,
}

/// Kinds of sections that are often mistaken for what is wanted.
const OTHERS: [(&str, &str); 9] = [
    ("ENCRYPTED PRIVATE KEY", "an encrypted private key"),
    ("PRIVATE KEY", "a private key"),
    ("RSA PRIVATE KEY", "a private key"),
    ("EC PRIVATE KEY", "a private key"),
    ("OPENSSH PRIVATE KEY", "a private key of OpenSSH"),
    ("PUBLIC KEY", "a public key"),
    ("CERTIFICATE REQUEST", "a certificate request"),
    ("CERTIFICATE", "a certificate"),
    ("PKCS7", "PKCS #7"),
];

/// The labels of the sections of a text.
pub(super) fn labels(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let label = line.trim().strip_prefix("-----BEGIN ")?;
        label.strip_suffix("-----")
    })
}

/// What the text of a file is, if sections with one of the labels `wanted` are.
pub(super) fn kind(text: &str, wanted: &[&str]) -> Kind {
    let mut other = None;
    for label in labels(text) {
        if wanted.contains(&label) {
            return Kind::Wanted;
        }
        let known = OTHERS.iter().find(|(known, _)| *known == label);
        other = other.or(known.map(|(_, words)| *words));
    }
    match other {
        Some(words) => Kind::Other(words),
        None if text.trim().is_empty() => Kind::Empty,
        None => binary(text),
    }
}

/// What the text of a file without sections is. Bytes that are not UTF-8 may have been replaced on the way.
fn binary(text: &str) -> Kind {
    /// The tag of a sequence, with which all DER here begins.
    const SEQUENCE: char = '0';
    /// In PKCS #12, its version follows.
    const VERSION_3: &str = "\u{2}\u{1}\u{3}";
    /// How many characters of the beginning are looked at.
    const LOOK: usize = 16;
    let beginning: String = text.chars().take(LOOK).collect();
    let is_text = |c: char| !c.is_ascii_control() && c != char::REPLACEMENT_CHARACTER;
    let is_der = beginning.starts_with(SEQUENCE) && !beginning.chars().all(is_text);
    match is_der {
        true if beginning.contains(VERSION_3) => Kind::Pkcs12,
        true => Kind::Der,
        false => Kind::Unknown,
    }
}

/// Accepts a text that is not too long.
pub(super) fn not_too_long(field: &str, text: &str) -> Result<(), Invalid> {
    if text.len() <= LONGEST_TEXT {
        return Ok(());
    }
    let accepted = format!("at most {LONGEST_TEXT} bytes");
    Err(Invalid::new(
        field,
        format!("{} bytes", text.len()),
        accepted,
    ))
}

/// The certificates in a text.
pub(super) fn certificates(
    field: &str,
    text: &str,
) -> Result<Vec<CertificateDer<'static>>, Invalid> {
    not_too_long(field, text)?;
    let refused = |value: &str, accepted: &str| Err(Invalid::new(field, value, accepted));
    match kind(text, &["CERTIFICATE", "X509 CERTIFICATE"]) {
        Kind::Wanted => {}
        Kind::Other("PKCS #7") => {
            let accepted =
                "PEM: convert it with `openssl pkcs7 -print_certs -in FILE -out chain.pem`";
            return refused("PKCS #7", accepted);
        }
        Kind::Other(words) => {
            return refused(
                words,
                "certificates in PEM, which begin with -----BEGIN CERTIFICATE-----",
            );
        }
        Kind::Empty => return refused("empty", "at least one certificate in PEM"),
        Kind::Pkcs12 => {
            let accepted = "PEM: convert it with `openssl pkcs12 -in FILE -nokeys -out chain.pem`";
            return refused("PKCS #12", accepted);
        }
        Kind::Der => {
            let accepted =
                "PEM: convert it with `openssl x509 -inform der -in FILE -out chain.pem`";
            return refused("DER", accepted);
        }
        Kind::Unknown => {
            return refused(
                "no certificate",
                "certificates in PEM, which begin with -----BEGIN CERTIFICATE-----",
            );
        }
    }
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        // The error of the parser may repeat a line of the text, which may hold a key as well.
        Ok(_) | Err(_) => refused(
            "damaged PEM",
            "certificates in PEM, each with its whole text",
        ),
    }
}

/// The certificates in PEM.
pub fn pem(certificates: &[Der]) -> String {
    let certificates = certificates.iter();
    certificates
        .map(|der| pem_of("CERTIFICATE", der.bytes()))
        .collect()
}

/// One section of PEM.
pub fn pem_of(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    // Writing to a string cannot fail.
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in base64.as_bytes().chunks(LINE) {
        let _ = writeln!(text, "{}", String::from_utf8_lossy(line));
    }
    let _ = writeln!(text, "-----END {label}-----");
    text
}
