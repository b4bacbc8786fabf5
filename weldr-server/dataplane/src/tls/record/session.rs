//! A connection behind its handshake: both directions, and the messages that TLS exchanges about them.

use std::{fmt, ops::Range};

use rustls::{
    ExtractedSecrets, ProtocolVersion, client::ClientConnectionData, kernel::KernelConnection,
    server::ServerConnectionData,
};

use super::{
    cipher::{Cipher, Version},
    error::{MOST_WITHOUT_DATA, RecordError},
    header::{ContentType, Header, MAX_PLAINTEXT},
    post_handshake::{Message, PostHandshake},
};

/// The bytes of a message that asks for nothing and announces the next key (RFC 8446, section 4.6.3).
const KEY_UPDATE: &[u8] = &[24, 0, 0, 1, 0];
/// Most bytes that a record has besides its plaintext, with any cipher.
const MAX_OVERHEAD: usize = 32;

/// What rustls keeps of a connection, to derive further keys and to store tickets.
pub(crate) enum Role {
    Server(KernelConnection<ServerConnectionData>),
    Client(KernelConnection<ClientConnectionData>),
}

/// What the first record of some bytes was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It is not complete.
    Incomplete,
    /// `consumed` bytes of which those at `plain` are data now.
    Data {
        consumed: usize,
        plain: Range<usize>,
    },
    /// A message to TLS itself.
    Handled { consumed: usize },
    /// The peer ends its side.
    End,
}

/// Both directions of a connection.
pub(crate) struct Session {
    receive: Cipher,
    send: Cipher,
    role: Role,
    messages: PostHandshake,
    without_data: u8,
    /// Whether the peer asked for our next key.
    owes_key_update: bool,
}

impl Session {
    /// The connection of a handshake that is complete.
    pub(crate) fn new(secrets: ExtractedSecrets, role: Role) -> Result<Self, RecordError> {
        let version = role.version();
        let ((written, of_send), (read, of_receive)) = (secrets.tx, secrets.rx);
        Ok(Self {
            receive: Cipher::new(version, read, of_receive)?,
            send: Cipher::new(version, written, of_send)?,
            role,
            messages: PostHandshake::default(),
            without_data: 0,
            owes_key_update: false,
        })
    }

    /// Opens the first record of `incoming` in place.
    pub(crate) fn open(&mut self, incoming: &mut [u8]) -> Result<Opened, RecordError> {
        let Some(header) = Header::read(incoming)? else {
            return Ok(Opened::Incomplete);
        };
        let consumed = header.record_length();
        let Some(record) = incoming.get_mut(..consumed) else {
            return Ok(Opened::Incomplete);
        };
        let (content, plain) = self.receive.open(header, record)?;
        if content != ContentType::Handshake && self.messages.is_partial() {
            return Err(RecordError::UnexpectedMessage);
        }
        match content {
            ContentType::ApplicationData if !plain.is_empty() => {
                self.without_data = 0;
                return Ok(Opened::Data { consumed, plain });
            }
            ContentType::ApplicationData => {}
            ContentType::Handshake => self.on_handshake(&record[plain])?,
            ContentType::Alert => {
                if on_alert(&record[plain])? {
                    return Ok(Opened::End);
                }
            }
            ContentType::ChangeCipherSpec => return Err(RecordError::UnexpectedMessage),
        }
        self.without_data += 1;
        if self.without_data > MOST_WITHOUT_DATA {
            return Err(RecordError::Flood);
        }
        Ok(Opened::Handled { consumed })
    }

    fn on_handshake(&mut self, content: &[u8]) -> Result<(), RecordError> {
        self.messages.push(content)?;
        let (role, receive) = (&mut self.role, &mut self.receive);
        let is_13 = role.version() == Version::V13;
        let mut owes = self.owes_key_update;
        while let Some(handled) = self.messages.next(|message| match (message, &mut *role) {
            (Message::KeyUpdate { is_requested }, role) if is_13 => {
                *receive = role.next_receive()?;
                owes |= is_requested;
                Ok(())
            }
            (Message::NewSessionTicket(ticket), Role::Client(client)) if is_13 => client
                .handle_new_session_ticket(ticket)
                .map_err(|_| RecordError::UnexpectedMessage),
            (Message::Renegotiation, _) if !is_13 => Err(RecordError::Renegotiation),
            _ => Err(RecordError::UnexpectedMessage),
        }) {
            handled?;
        }
        self.owes_key_update = owes;
        Ok(())
    }

    /// Bytes that must be free for [`seal`](Self::seal) of `length` bytes, however they are divided.
    pub(crate) fn room(length: usize) -> usize {
        // One record more for a new key, and one for the rest of a division.
        let records = length / MAX_PLAINTEXT + 2;
        length + records * MAX_OVERHEAD
    }

    /// Writes records with `parts`, in a row, into `out`, which has [`room`](Self::room) for them. Returns their length.
    pub(crate) fn seal(&mut self, parts: &[&[u8]], out: &mut [u8]) -> Result<usize, RecordError> {
        let mut written = self.renew_key(out)?;
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length <= MAX_PLAINTEXT {
            let parts = parts.iter().copied();
            written += self
                .send
                .seal(ContentType::ApplicationData, parts, &mut out[written..])?;
            return Ok(written);
        }
        let mut begin = 0;
        while begin < length {
            let end = length.min(begin + MAX_PLAINTEXT);
            let of_record = within(parts, begin..end);
            written +=
                self.send
                    .seal(ContentType::ApplicationData, of_record, &mut out[written..])?;
            begin = end;
        }
        Ok(written)
    }

    /// Writes the alert that ends our side into `out`, and returns its length.
    pub(crate) fn close_notify(&mut self, out: &mut [u8]) -> Result<usize, RecordError> {
        self.send_alert([1, 0], out)
    }

    /// Writes the fatal alert `description` into `out`, and returns its length.
    pub(crate) fn fatal_alert(
        &mut self,
        description: u8,
        out: &mut [u8],
    ) -> Result<usize, RecordError> {
        self.send_alert([2, description], out)
    }

    fn send_alert(&mut self, alert: [u8; 2], out: &mut [u8]) -> Result<usize, RecordError> {
        let alert = [alert.as_slice()];
        self.send.seal(ContentType::Alert, alert.into_iter(), out)
    }

    /// Announces and takes the next key where the peer asked for it, or the present one has protected enough.
    fn renew_key(&mut self, out: &mut [u8]) -> Result<usize, RecordError> {
        // A call seals a few records at most.
        const SOON: u64 = 64;
        if !self.owes_key_update && !self.send.is_exhausted_within(SOON) {
            return Ok(0);
        }
        if self.role.version() == Version::V12 {
            return Ok(0);
        }
        let message = [KEY_UPDATE];
        let written = self
            .send
            .seal(ContentType::Handshake, message.into_iter(), out)?;
        self.send = self.role.next_send()?;
        self.owes_key_update = false;
        Ok(written)
    }
}

impl Role {
    fn version(&self) -> Version {
        let version = match self {
            Self::Server(server) => server.protocol_version(),
            Self::Client(client) => client.protocol_version(),
        };
        if version == ProtocolVersion::TLSv1_3 {
            Version::V13
        } else {
            Version::V12
        }
    }

    fn next_receive(&mut self) -> Result<Cipher, RecordError> {
        let (sequence, secrets) = match self {
            Self::Server(server) => server.update_rx_secret(),
            Self::Client(client) => client.update_rx_secret(),
        }
        .map_err(|_| RecordError::UnexpectedMessage)?;
        Cipher::new(Version::V13, sequence, secrets)
    }

    fn next_send(&mut self) -> Result<Cipher, RecordError> {
        let (sequence, secrets) = match self {
            Self::Server(server) => server.update_tx_secret(),
            Self::Client(client) => client.update_tx_secret(),
        }
        .map_err(|_| RecordError::KeyExhausted)?;
        Cipher::new(Version::V13, sequence, secrets)
    }
}

/// Whether the alert ends the peer's side; an error if it ends the connection.
fn on_alert(content: &[u8]) -> Result<bool, RecordError> {
    const CLOSE_NOTIFY: u8 = 0;
    const USER_CANCELED: u8 = 90;
    const NO_RENEGOTIATION: u8 = 100;
    match *content {
        [_, CLOSE_NOTIFY] => Ok(true),
        // Followed by a close_notify, and sent in answer to a request of ours, which never comes.
        [_, USER_CANCELED] | [1, NO_RENEGOTIATION] => Ok(false),
        [_, description] => Err(RecordError::Alert(description)),
        _ => Err(RecordError::UnexpectedMessage),
    }
}

/// The parts of `parts`, in a row, that lie within `range`.
fn within<'p>(parts: &'p [&'p [u8]], range: Range<usize>) -> impl Iterator<Item = &'p [u8]> {
    let mut begin = 0;
    parts.iter().filter_map(move |part| {
        let (from, to) = (begin, begin + part.len());
        begin = to;
        let (first, last) = (range.start.max(from), range.end.min(to));
        (first < last).then(|| &part[first - from..last - from])
    })
}

impl fmt::Debug for Session {
    /// Without keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("receive", &self.receive)
            .field("send", &self.send)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
