//! The five bytes before a record (RFC 8446, section 5.1).

use super::error::RecordError;

/// Most bytes that a record carries (RFC 8446, section 5.1).
pub(super) const MAX_PLAINTEXT: usize = 1 << 14;
/// Most bytes of a record behind its header: 2^14, and 256 for the protection of TLS 1.3. TLS 1.2 would allow 2,048, which no
/// cipher of ours needs.
pub(crate) const MAX_CIPHERTEXT: usize = (1 << 14) + 256;

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(super) content: ContentType,
    /// Bytes behind the header.
    pub(super) length: usize,
}

/// What a record carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentType {
    ChangeCipherSpec,
    Alert,
    Handshake,
    ApplicationData,
}

impl Header {
    /// Bytes of a header.
    pub(crate) const LENGTH: usize = 5;

    /// The header at the begin of `bytes`; `None`: it is not complete.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>, RecordError> {
        let Some(&[content, major, _minor, high, low]) = bytes.first_chunk() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let content = ContentType::from_byte(content).ok_or(RecordError::UnexpectedMessage)?;
        if major != 3 {
            return Err(RecordError::UnexpectedMessage);
        }
        if length > MAX_CIPHERTEXT {
            return Err(RecordError::TooLong);
        }
        Ok(Some(Self { content, length }))
    }

    /// Bytes of the record with its header.
    pub(crate) fn record_length(self) -> usize {
        Self::LENGTH + self.length
    }

    /// The bytes of the header of a protected record.
    pub(super) fn bytes(content: ContentType, length: usize) -> [u8; Self::LENGTH] {
        // Callers keep to the largest record, which fits.
        let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        [content.byte(), 3, 3, length[0], length[1]]
    }
}

impl ContentType {
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::ChangeCipherSpec => 20,
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::ApplicationData => 23,
        }
    }

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            20 => Self::ChangeCipherSpec,
            21 => Self::Alert,
            22 => Self::Handshake,
            23 => Self::ApplicationData,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_what_follows_and_how_long_it_is() {
        let read = |bytes: &[u8]| Header::read(bytes);
        assert_eq!(read(&[23, 3, 3, 1]), Ok(None));
        let header = read(&[23, 3, 3, 1, 2, 9]).unwrap().unwrap();
        assert_eq!(header.record_length(), 5 + 0x102);
        let largest = Header::bytes(ContentType::Alert, MAX_CIPHERTEXT);
        assert_eq!(read(&largest).unwrap().unwrap().length, MAX_CIPHERTEXT);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for (bytes, error) in [
            ([19, 3, 3, 0, 1], RecordError::UnexpectedMessage),
            ([24, 3, 3, 0, 1], RecordError::UnexpectedMessage),
            ([23, 2, 3, 0, 1], RecordError::UnexpectedMessage),
            ([23, 3, 3, 0x41, 1], RecordError::TooLong),
        ] {
            assert_eq!(Header::read(&bytes), Err(error), "{bytes:?}");
        }
    }
}
