//! What became of TLS handshakes with clients.

use super::Counter;

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    /// The connection ended before it was complete.
    Closed,
    /// It was not complete in time.
    Timeout,
    /// The client spoke plain HTTP.
    PlainHttp,
    /// The client spoke neither TLS nor HTTP.
    NotTls,
    /// The client and the listener have no version, cipher, key exchange or kind of signature in common.
    NothingInCommon,
    /// The client speaks none of our protocols inside TLS.
    NoProtocol,
    /// No certificate is for the name that the client asked for.
    NoCertificate,
    /// The client has not shown a certificate that the listener accepts.
    ClientCertificate,
    /// The client does not accept the certificate that it was shown.
    CertificateRefused,
    /// The client ended it with another alert.
    Refused,
    /// The client broke the protocol.
    Invalid,
}

impl HandshakeFailure {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::Closed,
        Self::Timeout,
        Self::PlainHttp,
        Self::NotTls,
        Self::NothingInCommon,
        Self::NoProtocol,
        Self::NoCertificate,
        Self::ClientCertificate,
        Self::CertificateRefused,
        Self::Refused,
        Self::Invalid,
    ];

    /// The name in the statistics and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::PlainHttp => "plain_http",
            Self::NotTls => "not_tls",
            Self::NothingInCommon => "nothing_in_common",
            Self::NoProtocol => "no_protocol",
            Self::NoCertificate => "no_certificate",
            Self::ClientCertificate => "client_certificate",
            Self::CertificateRefused => "certificate_refused",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
        }
    }
}

/// The counts of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandshakeTotals {
    /// Complete ones that began a session.
    pub full: u64,
    /// Complete ones that resumed a session.
    pub resumed: u64,
    /// Those that failed, in the order of [`HandshakeFailure::ALL`].
    pub failed: [u64; HandshakeFailure::ALL.len()],
}

/// One worker's counters of handshakes with clients.
#[derive(Debug, Default)]
pub struct Handshakes {
    /// Complete ones that began a session.
    pub full: Counter,
    /// Complete ones that resumed a session.
    pub resumed: Counter,
    failures: [Counter; HandshakeFailure::ALL.len()],
}

impl Handshakes {
    /// Counts one that failed.
    pub fn failed(&self, failure: HandshakeFailure) {
        self.failures[failure as usize].add(1);
    }

    /// How many failed, by reason.
    pub fn failures(&self) -> [u64; HandshakeFailure::ALL.len()] {
        std::array::from_fn(|index| self.failures[index].get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_under_their_own_reason() {
        for (index, failure) in HandshakeFailure::ALL.into_iter().enumerate() {
            let handshakes = Handshakes::default();
            handshakes.failed(failure);
            let expected = std::array::from_fn(|other| u64::from(other == index));
            assert_eq!(handshakes.failures(), expected, "{}", failure.name());
        }
    }
}
