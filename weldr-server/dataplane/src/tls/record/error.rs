//! Why a connection inside TLS cannot go on.

/// How many records without data may follow each other. Each costs the peer nearly nothing.
pub(super) const MOST_WITHOUT_DATA: u8 = 32;

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("a record does not authenticate")]
    BadRecord,
    #[error("a record is longer than TLS allows")]
    TooLong,
    #[error("a message came that TLS does not allow here")]
    UnexpectedMessage,
    #[error("the peer sent more than {MOST_WITHOUT_DATA} records without data in a row")]
    Flood,
    #[error("the peer wants another handshake, which is refused")]
    Renegotiation,
    #[error("the peer ended the connection with the alert {0}")]
    Alert(u8),
    #[error("the key has protected as many records as it may")]
    KeyExhausted,
    #[error("no cipher of ours fits the keys")]
    UnknownCipher,
}

impl RecordError {
    /// The alert that tells the peer (RFC 8446, section 6.2); `None` for an error of the peer's own.
    pub(crate) fn alert(self) -> Option<u8> {
        Some(match self {
            Self::BadRecord => 20,
            Self::TooLong => 22,
            Self::UnexpectedMessage | Self::Flood => 10,
            Self::Renegotiation => 100,
            Self::KeyExhausted | Self::UnknownCipher => 80,
            Self::Alert(_) => return None,
        })
    }
}
