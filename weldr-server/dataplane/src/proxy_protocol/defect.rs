//! Why a header is not accepted.

use super::{v1, v2};

/// Why a header is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Defect {
    #[error("the connection does not begin with a header of the PROXY protocol")]
    Missing,
    #[error("the line of version 1 has no end within {most} bytes", most = v1::LONGEST)]
    LineTooLong,
    #[error("the line of version 1 does not end with CR and LF")]
    LineEnd,
    #[error("the protocol of version 1 is neither TCP4, TCP6 nor UNKNOWN")]
    Protocol,
    #[error(
        "the line of version 1 has not two addresses of its protocol and two ports from 0 to 65535"
    )]
    Line,
    #[error("version {0} is unknown: 1 and 2 are accepted")]
    Version(u8),
    #[error("command {0} of version 2 is unknown: 0 (LOCAL) and 1 (PROXY) are accepted")]
    Command(u8),
    #[error("family and protocol {0:#04x} of version 2 are unknown")]
    Family(u8),
    #[error("{0} bytes follow the begin of version 2: at most {most} are accepted", most = v2::MOST)]
    TooLong(u16),
    #[error("{0} bytes are too few for the addresses of version 2")]
    TooShort(u16),
    #[error("a value behind the addresses of version 2 is longer than the header")]
    Tlv,
    #[error("the checksum of version 2 is wrong")]
    Checksum,
}
