//! The certificates of a chain: their order, dates and names.

use rustls_pki_types::CertificateDer;
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    prelude::X509Certificate,
    public_key::PublicKey,
    time::ASN1Time,
};

use super::{CERTIFICATE, PRIVATE_KEY, key::Key, pem};
use crate::model::{CertificateSpec, Invalid, KeyType, Timestamp};

/// The longest DNS name, and the longest part of one, in bytes.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const ED25519: &str = "1.3.101.112";

/// The certificates in a text, as many as a chain may have.
pub(super) fn read(text: &str) -> Result<Vec<Vec<u8>>, Invalid> {
    let certificates = pem::certificates(CERTIFICATE, text)?;
    let bytes: usize = certificates.iter().map(|der| der.len()).sum();
    let (longest, most) = (CertificateSpec::LONGEST_CHAIN, CertificateSpec::MOST_BYTES);
    if certificates.len() > longest || bytes > most {
        let given = format!("{} certificates of {bytes} bytes", certificates.len());
        let accepted = format!(
            "at most {longest} certificates, of {} KiB together",
            most / 1024
        );
        return Err(Invalid::new(CERTIFICATE, given, accepted));
    }
    let bytes = |der: CertificateDer<'_>| der.to_vec();
    Ok(certificates.into_iter().map(bytes).collect())
}

/// The certificates of a chain, read.
pub(super) fn parse(chain: &[Vec<u8>]) -> Result<Vec<X509Certificate<'_>>, Invalid> {
    let mut parsed = Vec::with_capacity(chain.len());
    for (index, der) in chain.iter().enumerate() {
        let Ok(([], certificate)) = x509_parser::parse_x509_certificate(der) else {
            let value = format!("number {} is no certificate", index + 1);
            let accepted = "certificates of X.509, in PEM";
            return Err(Invalid::new(CERTIFICATE, value, accepted));
        };
        parsed.push(certificate);
    }
    // The kind decides before the key is compared: of a kind that is not supported no key can be read.
    key_type(&parsed[0])?;
    Ok(parsed)
}

/// Accepts a chain whose first certificate is that of the key.
pub(super) fn place_of_key(chain: &[X509Certificate<'_>], key: &Key) -> Result<(), Invalid> {
    let is_of_key = |certificate: &X509Certificate<'_>| {
        certificate.public_key().subject_public_key.data.as_ref() == key.public
    };
    match chain.iter().position(is_of_key) {
        Some(0) => Ok(()),
        Some(place) => {
            let value = format!(
                "wrong order: number {} belongs to the private key",
                place + 1
            );
            let accepted =
                "the certificate of the private key first, then those of its authorities";
            Err(Invalid::new(CERTIFICATE, value, accepted))
        }
        None => {
            let value = format!(
                "does not belong to the certificate of {}",
                chain[0].subject()
            );
            let accepted = "the private key with which the certificate was requested";
            Err(Invalid::new(PRIVATE_KEY, value, accepted))
        }
    }
}

/// Accepts a chain in which each certificate is issued by the next one. Returns what is doubtful.
pub(super) fn order(chain: &[X509Certificate<'_>]) -> Result<Vec<String>, Invalid> {
    for (index, pair) in chain.windows(2).enumerate() {
        let [certificate, next] = pair else { continue };
        if is_issued_by(certificate, next) {
            continue;
        }
        let issuer = chain
            .iter()
            .position(|other| is_issued_by(certificate, other));
        let (number, next) = (index + 1, index + 2);
        let value = match issuer {
            Some(place) => format!(
                "wrong order: number {number} is issued by number {}, which does not follow it",
                place + 1
            ),
            None => format!(
                "incomplete: number {number} is issued by {}, and number {next} is {}",
                certificate.issuer(),
                chain[index + 1].subject()
            ),
        };
        let accepted = "each certificate followed by the one of its issuer";
        return Err(Invalid::new(CERTIFICATE, value, accepted));
    }
    let mut warnings = Vec::new();
    if let [alone] = chain
        && !is_issued_by(alone, alone)
    {
        warnings.push(format!(
            "the chain has no certificate of the issuer, {}: unless that is a root, many clients will not trust it",
            alone.issuer()
        ));
    }
    Ok(warnings)
}

/// Whether the names, and the key identifiers if both have one, say that `issuer` has issued `certificate`.
fn is_issued_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    if certificate.issuer().as_raw() != issuer.subject().as_raw() {
        return false;
    }
    match (authority_key(certificate), subject_key(issuer)) {
        (Some(authority), Some(subject)) => authority == subject,
        _ => true,
    }
}

fn authority_key<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    let mut extensions = certificate.extensions().iter();
    extensions.find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    })
}

fn subject_key<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    let mut extensions = certificate.extensions().iter();
    extensions.find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })
}

/// The certificates that are not valid at `now`.
pub(super) fn dates(chain: &[X509Certificate<'_>], now: Timestamp) -> Vec<Invalid> {
    let mut doubts = Vec::new();
    for (index, certificate) in chain.iter().enumerate() {
        let validity = certificate.validity();
        let which = match index {
            0 => "the certificate".to_owned(),
            _ => format!("number {}, of {},", index + 1, certificate.subject()),
        };
        let date = |at| humantime::format_rfc3339_seconds(std::time::SystemTime::from(at));
        let (begin, end) = (
            timestamp(&validity.not_before),
            timestamp(&validity.not_after),
        );
        let value = if end < now {
            format!("{which} has expired at {}", date(end))
        } else if begin > now {
            format!("{which} is not valid before {}", date(begin))
        } else {
            continue;
        };
        let accepted = "a certificate that is valid now, or any with force";
        doubts.push(Invalid::new(CERTIFICATE, value, accepted));
    }
    doubts
}

/// A date; those before 1970 are 1970.
pub(super) fn timestamp(time: &ASN1Time) -> Timestamp {
    let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
    // The last date that can be written.
    let last = 253_402_300_799;
    Timestamp(seconds.min(last) * 1000)
}

/// The DNS names of a certificate in lower case, each once, without those that no client asks for.
pub(super) fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut names = Vec::new();
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let alternatives = alternatives.map(|extension| &extension.value.general_names);
    for name in alternatives.into_iter().flatten() {
        let GeneralName::DNSName(name) = name else {
            continue;
        };
        let name = name.to_ascii_lowercase();
        if is_dns_name(name.strip_prefix("*.").unwrap_or(&name)) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn is_dns_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_label =
        |label: &str| (1..=LONGEST_LABEL).contains(&label.len()) && label.chars().all(allowed);
    name.len() <= LONGEST_NAME && name.split('.').all(is_label)
}

/// Of a certificate without a DNS name.
pub(super) fn no_name() -> Invalid {
    let accepted =
        "a certificate with a DNS name as its subject alternative name, or any with force";
    let value = "the certificate has no DNS name: clients that send a name get it only as the first one of a listener";
    Invalid::new(CERTIFICATE, value, accepted)
}

/// The kind of the key of a certificate.
pub(super) fn key_type(certificate: &X509Certificate<'_>) -> Result<KeyType, Invalid> {
    let spki = certificate.public_key();
    let refused = |given: &str| {
        let accepted = "a key of RSA with 2048 to 4096 bits, ECDSA on P-256 or P-384, or Ed25519";
        Err(Invalid::new(CERTIFICATE, given, accepted))
    };
    if spki.algorithm.algorithm.to_id_string() == ED25519 {
        return Ok(KeyType::Ed25519);
    }
    match spki.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let bits = bits(rsa.modulus);
            match u16::try_from(bits) {
                Ok(bits) if (2048..=4096).contains(&bits) => Ok(KeyType::Rsa(bits)),
                _ => refused(&format!("a key of RSA with {bits} bits")),
            }
        }
        Ok(PublicKey::EC(_)) => {
            let curve = spki.algorithm.parameters.as_ref();
            let curve = curve.and_then(|curve| curve.as_oid().ok());
            let curve = curve.map(|curve| curve.to_id_string()).unwrap_or_default();
            match curve.as_str() {
                P256 => Ok(KeyType::P256),
                P384 => Ok(KeyType::P384),
                _ => refused("a key on another curve"),
            }
        }
        _ => refused("a key of another kind"),
    }
}

/// The length of a number in bits.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    match number[zeros..] {
        [first, ref rest @ ..] => rest.len() * 8 + (8 - first.leading_zeros() as usize),
        [] => 0,
    }
}
