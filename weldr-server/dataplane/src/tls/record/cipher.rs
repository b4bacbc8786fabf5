//! The protection of one direction of a connection (RFC 8446, section 5.2; RFC 5246, section 6.2.3.3; RFC 5288; RFC 7905).

use std::fmt;

use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets;

use super::{
    error::RecordError,
    header::{ContentType, Header, MAX_PLAINTEXT},
};

/// Bytes that authenticate a record.
pub(super) const TAG: usize = 16;
/// The bytes of a nonce that TLS 1.2 sends with a record protected by AES-GCM.
const EXPLICIT_NONCE: usize = 8;
/// After so many records AES-GCM needs another key (RFC 8446, section 5.5, with a margin).
const MOST_AES_RECORDS: u64 = 1 << 24;

/// The version of TLS of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V12,
    V13,
}

/// The key of one direction, and how many records it has protected.
pub(super) struct Cipher {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
    /// The key must be replaced before the record of this number.
    limit: u64,
    version: Version,
    /// Whether a part of the nonce is in each record.
    is_explicit: bool,
}

impl Cipher {
    /// The cipher that `secrets` describe, behind `sequence` records.
    pub(super) fn new(
        version: Version,
        sequence: u64,
        secrets: ConnectionTrafficSecrets,
    ) -> Result<Self, RecordError> {
        let (algorithm, key, iv, limit) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => {
                (&AES_128_GCM, key, iv, MOST_AES_RECORDS)
            }
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => {
                (&AES_256_GCM, key, iv, MOST_AES_RECORDS)
            }
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&CHACHA20_POLY1305, key, iv, u64::MAX)
            }
            _ => return Err(RecordError::UnknownCipher),
        };
        let unbound = UnboundKey::new(algorithm, key.as_ref());
        let iv: &[u8] = iv.as_ref();
        Ok(Self {
            key: LessSafeKey::new(unbound.map_err(|_| RecordError::UnknownCipher)?),
            iv: iv.try_into().map_err(|_| RecordError::UnknownCipher)?,
            sequence,
            limit,
            version,
            is_explicit: version == Version::V12 && limit == MOST_AES_RECORDS,
        })
    }

    /// Whether the key has protected as many records as it may.
    pub(super) fn is_exhausted(&self) -> bool {
        self.sequence >= self.limit
    }

    /// Leaves room for so many more records.
    #[cfg(test)]
    pub(super) fn limit_to(&mut self, more: u64) {
        self.limit = self.sequence + more;
    }

    /// Whether it will have, once it has protected `more`.
    pub(super) fn is_exhausted_within(&self, more: u64) -> bool {
        self.sequence >= self.limit.saturating_sub(more)
    }

    /// How many bytes a record has in front of its ciphertext.
    fn prefix(&self) -> usize {
        Header::LENGTH + if self.is_explicit { EXPLICIT_NONCE } else { 0 }
    }

    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        let sequence = self.sequence.to_be_bytes();
        for (byte, of_sequence) in nonce[NONCE_LEN - sequence.len()..].iter_mut().zip(sequence) {
            *byte ^= of_sequence;
        }
        nonce
    }

    /// What the tag covers besides the text: in TLS 1.2 the number of the record too.
    fn additional(&self, content: ContentType, length: usize) -> ([u8; 13], usize) {
        let header = Header::bytes(content, length);
        let mut bytes = [0; 13];
        match self.version {
            Version::V13 => {
                bytes[..Header::LENGTH].copy_from_slice(&header);
                (bytes, Header::LENGTH)
            }
            Version::V12 => {
                bytes[..8].copy_from_slice(&self.sequence.to_be_bytes());
                bytes[8..].copy_from_slice(&header);
                (bytes, 13)
            }
        }
    }

    /// Writes a record with `parts`, in a row, into `out`, and returns its length.
    ///
    /// `parts` must not be longer than [`MAX_PLAINTEXT`] together, and `out` must have room for them and for
    /// `MAX_OVERHEAD` more. Fails when the key is exhausted.
    pub(super) fn seal<'p>(
        &mut self,
        content: ContentType,
        parts: impl Iterator<Item = &'p [u8]>,
        out: &mut [u8],
    ) -> Result<usize, RecordError> {
        if self.is_exhausted() {
            return Err(RecordError::KeyExhausted);
        }
        let begin = self.prefix();
        let mut end = begin;
        for part in parts {
            out[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        let nonce = self.nonce();
        let (outer, covered) = match self.version {
            Version::V13 => {
                out[end] = content.byte();
                end += 1;
                (ContentType::ApplicationData, end - begin + TAG)
            }
            Version::V12 => (content, end - begin),
        };
        if self.is_explicit {
            out[Header::LENGTH..begin].copy_from_slice(&nonce[NONCE_LEN - EXPLICIT_NONCE..]);
        }
        let length = end + TAG - Header::LENGTH;
        out[..Header::LENGTH].copy_from_slice(&Header::bytes(outer, length));
        let (additional, of) = self.additional(outer, covered);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&additional[..of]),
                &mut out[begin..end],
            )
            .map_err(|_| RecordError::KeyExhausted)?;
        out[end..end + TAG].copy_from_slice(tag.as_ref());
        self.sequence += 1;
        Ok(end + TAG)
    }

    /// Opens `record`, which has the header `header`, in place. Returns what it carries, and where in `record` that is.
    pub(super) fn open(
        &mut self,
        header: Header,
        record: &mut [u8],
    ) -> Result<(ContentType, std::ops::Range<usize>), RecordError> {
        let begin = self.prefix();
        let ciphertext = record.len().checked_sub(begin + TAG);
        let ciphertext = ciphertext.ok_or(RecordError::BadRecord)?;
        let (nonce, covered) = match self.version {
            Version::V13 => {
                if header.content != ContentType::ApplicationData {
                    return Err(RecordError::UnexpectedMessage);
                }
                (self.nonce(), header.length)
            }
            Version::V12 => (self.nonce_of(&record[Header::LENGTH..begin]), ciphertext),
        };
        let (additional, of) = self.additional(header.content, covered);
        let plain = self
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&additional[..of]),
                &mut record[begin..],
            )
            .map_err(|_| RecordError::BadRecord)?;
        self.sequence = self
            .sequence
            .checked_add(1)
            .ok_or(RecordError::KeyExhausted)?;
        let (content, length) = match self.version {
            Version::V13 => inner_content(plain)?,
            Version::V12 => (header.content, plain.len()),
        };
        if length > MAX_PLAINTEXT {
            return Err(RecordError::TooLong);
        }
        Ok((content, begin..begin + length))
    }

    /// The nonce of a record of TLS 1.2 that came with `explicit`.
    fn nonce_of(&self, explicit: &[u8]) -> [u8; NONCE_LEN] {
        if explicit.is_empty() {
            return self.nonce();
        }
        let mut nonce = self.iv;
        nonce[NONCE_LEN - EXPLICIT_NONCE..].copy_from_slice(explicit);
        nonce
    }
}

/// The type and the length of the content in the plaintext of TLS 1.3, behind which are zeros.
fn inner_content(plain: &[u8]) -> Result<(ContentType, usize), RecordError> {
    let last = plain.iter().rposition(|&byte| byte != 0);
    let last = last.ok_or(RecordError::UnexpectedMessage)?;
    let content = ContentType::from_byte(plain[last]).ok_or(RecordError::UnexpectedMessage)?;
    Ok((content, last))
}

impl fmt::Debug for Cipher {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher")
            .field("version", &self.version)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}
