//! Why a connection did not come to its first request.

use std::io;

use crate::{
    proxy_protocol::Defect,
    stats::{HandshakeFailure, ProxyProtocolRefusal},
    tls::HandshakeError,
};

/// Why a connection that must begin with a header of the PROXY protocol does not.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyHeaderError {
    #[error("the connection was closed before the header was complete")]
    Closed,
    #[error("the connection failed before the header was complete")]
    Io(#[source] io::Error),
    #[error("the header was not complete in time")]
    Timeout,
    #[error("the listener is being closed")]
    Reset,
    #[error(transparent)]
    Defect(#[from] Defect),
}

impl ProxyHeaderError {
    /// Under which reason it is counted.
    pub(super) fn reason(&self) -> ProxyProtocolRefusal {
        match self {
            Self::Closed | Self::Io(_) | Self::Reset => ProxyProtocolRefusal::Closed,
            Self::Timeout => ProxyProtocolRefusal::Timeout,
            Self::Defect(Defect::Missing) => ProxyProtocolRefusal::Missing,
            Self::Defect(_) => ProxyProtocolRefusal::Invalid,
        }
    }
}

/// Why a connection to a TLS port did not come to its first request.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcceptError {
    #[error("the client closed the connection before the TLS handshake was complete")]
    Closed,
    #[error("the connection failed before the TLS handshake was complete")]
    Io(#[source] io::Error),
    #[error("the client did not complete the TLS handshake in time")]
    Timeout,
    #[error("the listener is being closed")]
    Reset,
    #[error("the client speaks plain HTTP on a TLS port")]
    PlainHttp,
    #[error("the client speaks neither TLS nor HTTP")]
    NotTls,
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

impl AcceptError {
    /// The error of reading or writing.
    pub(super) fn of_io(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Closed
        } else {
            Self::Io(error)
        }
    }

    /// Under which reason it is counted.
    pub(super) fn reason(&self) -> HandshakeFailure {
        match self {
            Self::Closed | Self::Io(_) | Self::Reset => HandshakeFailure::Closed,
            Self::Timeout => HandshakeFailure::Timeout,
            Self::PlainHttp => HandshakeFailure::PlainHttp,
            Self::NotTls => HandshakeFailure::NotTls,
            Self::Handshake(HandshakeError::Tls(error)) => of_rustls(error),
            Self::Handshake(HandshakeError::Keys(_) | HandshakeError::TooLong) => {
                HandshakeFailure::Invalid
            }
        }
    }
}

fn of_rustls(error: &rustls::Error) -> HandshakeFailure {
    use rustls::{AlertDescription, Error};
    match error {
        Error::PeerIncompatible(_) => HandshakeFailure::NothingInCommon,
        Error::NoApplicationProtocol => HandshakeFailure::NoProtocol,
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => {
            HandshakeFailure::ClientCertificate
        }
        Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown,
        ) => HandshakeFailure::CertificateRefused,
        Error::AlertReceived(_) => HandshakeFailure::Refused,
        // What rustls says when the resolver has no certificate.
        Error::General(text) if text.contains("no server certificate chain resolved") => {
            HandshakeFailure::NoCertificate
        }
        _ => HandshakeFailure::Invalid,
    }
}
