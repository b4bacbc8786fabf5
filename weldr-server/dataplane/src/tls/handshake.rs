//! A handshake, driven from bytes to bytes: what was received goes in, and what must be sent comes out.

use std::{io, sync::Arc};

use rustls::{
    CipherSuite, ClientConfig, CommonState, HandshakeKind, ProtocolVersion, ServerConfig,
    client::UnbufferedClientConnection,
    pki_types::{CertificateDer, ServerName},
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, UnbufferedStatus},
};

use super::record::{RecordError, Role, Session};

/// A handshake that is under way.
pub(crate) enum Handshake {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// How far a handshake is.
pub(crate) enum Progress {
    /// More bytes must come from the peer, once those of ours are sent.
    NeedsMore(Handshake),
    Complete(Box<Established>),
}

/// A connection whose handshake is complete.
pub(crate) struct Established {
    pub(crate) session: Session,
    /// Data that came with the end of the handshake.
    pub(crate) received: Vec<u8>,
    /// Whether the peer has already ended its side.
    pub(crate) is_ended: bool,
    pub(crate) facts: Facts,
}

/// What both sides agreed on.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) version: ProtocolVersion,
    pub(crate) suite: CipherSuite,
    /// Whether an earlier session was resumed.
    pub(crate) is_resumed: bool,
    /// The certificates of the peer, its own first; none where it has not shown any.
    pub(crate) peer: Vec<CertificateDer<'static>>,
}

/// Why a handshake failed. Bytes that tell the peer may have been written for it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("the TLS handshake failed")]
    Tls(#[source] rustls::Error),
    #[error("the TLS handshake ended with keys that cannot be used")]
    Keys(#[source] RecordError),
    #[error("more bytes came within the TLS handshake than it needs")]
    TooLong,
}

/// What kind of error ended a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandshakeErrorKind {
    /// The certificate of the peer is not accepted.
    Certificate,
    /// The peer ended it with an alert.
    Alert,
    /// The peer broke the protocol, or has nothing in common with us.
    Protocol,
}

impl HandshakeError {
    /// The handshake error that is the cause of `error`, if one is.
    pub(crate) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    pub(crate) fn kind(&self) -> HandshakeErrorKind {
        match self {
            Self::Tls(rustls::Error::InvalidCertificate(_)) => HandshakeErrorKind::Certificate,
            Self::Tls(rustls::Error::AlertReceived(_)) => HandshakeErrorKind::Alert,
            Self::Tls(_) | Self::Keys(_) | Self::TooLong => HandshakeErrorKind::Protocol,
        }
    }
}

/// What a step left to do.
enum Step {
    Again,
    Blocked,
    Ended,
    Done,
}

impl Handshake {
    /// The server's side of a handshake.
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, HandshakeError> {
        let connection = UnbufferedServerConnection::new(config).map_err(HandshakeError::Tls)?;
        Ok(Self::Server(Box::new(connection)))
    }

    /// The client's side of a handshake with the server of that name.
    pub(crate) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, HandshakeError> {
        let connection = UnbufferedClientConnection::new(config, name);
        let connection = connection.map_err(HandshakeError::Tls)?;
        Ok(Self::Client(Box::new(connection)))
    }

    /// Goes as far as `incoming` allows. Consumed bytes are removed from it; what must be sent is added to `outgoing`, also
    /// before a failure is returned.
    pub(crate) fn advance(
        mut self,
        incoming: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> Result<Progress, HandshakeError> {
        let mut received = Vec::new();
        let mut is_ended = false;
        loop {
            let (discard, step) = self.step(incoming, outgoing, &mut received);
            incoming.drain(..discard);
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Ended) => is_ended = true,
                Ok(Step::Blocked) => return Ok(Progress::NeedsMore(self)),
                Ok(Step::Done) => break,
                Err(error) => {
                    // The alert that rustls has for its peer.
                    let _ = self.step(&mut [], outgoing, &mut received);
                    return Err(HandshakeError::Tls(error));
                }
            }
        }
        let established = self.established(received, is_ended)?;
        Ok(Progress::Complete(Box::new(established)))
    }

    /// Makes one step. Returns how many bytes of `incoming` are consumed.
    fn step(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut Vec<u8>,
        received: &mut Vec<u8>,
    ) -> (usize, Result<Step, rustls::Error>) {
        match self {
            Self::Server(server) => step(server.process_tls_records(incoming), outgoing, received),
            Self::Client(client) => step(client.process_tls_records(incoming), outgoing, received),
        }
    }

    fn established(self, received: Vec<u8>, is_ended: bool) -> Result<Established, HandshakeError> {
        let (facts, secrets, role) = match self {
            Self::Server(server) => {
                let facts = Facts::of(&server)?;
                let (secrets, rest) = server
                    .dangerous_into_kernel_connection()
                    .map_err(HandshakeError::Tls)?;
                (facts, secrets, Role::Server(rest))
            }
            Self::Client(client) => {
                let facts = Facts::of(&client)?;
                let (secrets, rest) = client
                    .dangerous_into_kernel_connection()
                    .map_err(HandshakeError::Tls)?;
                (facts, secrets, Role::Client(rest))
            }
        };
        Ok(Established {
            session: Session::new(secrets, role).map_err(HandshakeError::Keys)?,
            received,
            is_ended,
            facts,
        })
    }
}

impl Facts {
    fn of(state: &CommonState) -> Result<Self, HandshakeError> {
        const INCOMPLETE: HandshakeError = HandshakeError::Tls(rustls::Error::HandshakeNotComplete);
        let suite = state.negotiated_cipher_suite().ok_or(INCOMPLETE)?;
        Ok(Self {
            version: state.protocol_version().ok_or(INCOMPLETE)?,
            suite: suite.suite(),
            is_resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            peer: state.peer_certificates().unwrap_or_default().to_vec(),
        })
    }
}

/// Handles one state of rustls. Returns how many bytes of the input are consumed.
fn step<Data>(
    UnbufferedStatus {
        mut discard, state, ..
    }: UnbufferedStatus<'_, '_, Data>,
    outgoing: &mut Vec<u8>,
    received: &mut Vec<u8>,
) -> (usize, Result<Step, rustls::Error>) {
    let step = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::EncodeTlsData(mut encode)) => {
            let begin = outgoing.len();
            if let Err(EncodeError::InsufficientSize(size)) = encode.encode(&mut []) {
                outgoing.resize(begin + size.required_size, 0);
                let encoded = encode.encode(&mut outgoing[begin..]);
                outgoing.truncate(begin + encoded.unwrap_or(0));
            }
            Ok(Step::Again)
        }
        // The bytes are kept by the caller, which sends them before it waits for others.
        Ok(ConnectionState::TransmitTlsData(transmit)) => {
            transmit.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut outcome = Ok(Step::Again);
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        received.extend_from_slice(record.payload);
                    }
                    Err(error) => outcome = Err(error),
                }
            }
            outcome
        }
        Ok(ConnectionState::PeerClosed) => Ok(Step::Ended),
        Ok(ConnectionState::BlockedHandshake) => Ok(Step::Blocked),
        Ok(ConnectionState::WriteTraffic(_) | ConnectionState::Closed) => Ok(Step::Done),
        Ok(_) => Err(rustls::Error::General(
            "early data is not accepted".to_owned(),
        )),
    };
    (discard, step)
}
