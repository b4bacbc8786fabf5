//! A connection inside TLS.
//!
//! Records are opened and sealed in memory of the worker, so a connection has memory of its own only for what is left: a
//! record of which a part has come, bytes that the reader had no room for, and records that the kernel has not taken.

use std::{
    cell::RefCell,
    io, mem,
    task::{Context, Poll, ready},
};

use rustls::{CipherSuite, ProtocolVersion, pki_types::CertificateDer};

use super::{cork::Cork, errors::would_block, tcp::TcpTransport};
use crate::{
    buffer::LARGE,
    tls::{
        Established,
        record::{Header, MAX_CIPHERTEXT, Opened, RecordError, Session},
    },
};

/// Most bytes that one write seals.
const MOST_SEALED: usize = LARGE;
/// Most bytes that one read takes from the socket, besides what was left of the last one: at least a record.
const MOST_RECEIVED: usize = LARGE + 1024;

/// Bytes of the largest record.
const MAX_RECORD: usize = Header::LENGTH + MAX_CIPHERTEXT;

thread_local! {
    /// Where records are opened and sealed: one place for all connections of a thread, used for the length of a call.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    received: Vec<u8>,
    sealed: Vec<u8>,
}

/// What the handshake of a connection agreed on, for the log and for servers.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct SecuredFacts {
    pub(in crate::proxy) version: ProtocolVersion,
    pub(in crate::proxy) suite: CipherSuite,
    /// Whether an earlier session was resumed.
    pub(in crate::proxy) is_resumed: bool,
    /// The name of the server that the client asked for, in lower case.
    pub(in crate::proxy) server_name: Option<Box<str>>,
    /// The certificate of the peer, as DER.
    pub(in crate::proxy) certificate: Option<CertificateDer<'static>>,
}

impl SecuredFacts {
    /// The version, as OpenSSL and the logs of others have it.
    pub(in crate::proxy) fn version_text(&self) -> &'static str {
        match self.version {
            ProtocolVersion::TLSv1_3 => "TLSv1.3",
            _ => "TLSv1.2",
        }
    }

    /// Appends the name of the cipher suite, as the registry of IANA has it.
    pub(in crate::proxy) fn write_suite(&self, out: &mut Vec<u8>) {
        let name = self.suite.as_str().unwrap_or("unknown");
        if let Some(of_13) = name.strip_prefix("TLS13_") {
            out.extend_from_slice(b"TLS_");
            out.extend_from_slice(of_13.as_bytes());
        } else {
            out.extend_from_slice(name.as_bytes());
        }
    }
}

/// A connection inside TLS, behind its handshake.
pub(in crate::proxy) struct TlsTransport {
    tcp: TcpTransport,
    session: Session,
    facts: SecuredFacts,
    /// Bytes of records that are not opened.
    incoming: Vec<u8>,
    /// Whether `incoming` begins with a whole record.
    has_record: bool,
    /// Opened bytes that nobody has read.
    opened: Rest,
    /// Sealed bytes that the kernel has not taken.
    outgoing: Rest,
    /// How many bytes of the next write are in `outgoing` already.
    taken: usize,
    /// Whether the peer has ended its side.
    is_ended: bool,
    /// Why nothing more can be read.
    failure: Option<RecordError>,
}

/// Bytes of which the first are used up.
#[derive(Default)]
struct Rest {
    bytes: Vec<u8>,
    used: usize,
}

impl Rest {
    fn get(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    fn is_empty(&self) -> bool {
        self.used == self.bytes.len()
    }

    /// Memory is held only while there are bytes.
    fn use_up(&mut self, bytes: usize) {
        self.used += bytes;
        if self.is_empty() {
            *self = Self::default();
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

// No method is inlined: the code of a plain connection stays as short as without TLS.
impl TlsTransport {
    /// The connection on `tcp` whose handshake is complete. `incoming`: what came behind it; `outgoing`: what is not yet sent
    /// of it.
    pub(super) fn new(
        tcp: TcpTransport,
        established: Established,
        facts: SecuredFacts,
        incoming: &[u8],
        outgoing: Vec<u8>,
    ) -> Self {
        let mut tls = Self {
            tcp,
            session: established.session,
            facts,
            incoming: Vec::new(),
            has_record: false,
            opened: Rest {
                bytes: established.received,
                used: 0,
            },
            outgoing: Rest {
                bytes: outgoing,
                used: 0,
            },
            taken: 0,
            is_ended: established.is_ended,
            failure: None,
        };
        tls.keep(incoming);
        tls
    }

    /// Ready when something may be readable.
    #[inline(never)]
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.holds_bytes() {
            return Poll::Ready(Ok(()));
        }
        self.tcp.poll_readable(cx)
    }

    /// Whether a read finds something without the socket.
    fn holds_bytes(&self) -> bool {
        self.has_record || !self.opened.is_empty() || self.is_ended || self.failure.is_some()
    }

    /// Reads into `space`, which must not be empty. 0: the peer has said that it sends no more. A connection that ends
    /// without that is an error: whoever cut it may not be the peer.
    #[inline(never)]
    pub(super) fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.read_by(space, TcpTransport::read)
    }

    fn read_by(
        &mut self,
        space: &mut [u8],
        receive: fn(&TcpTransport, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if !self.opened.is_empty() {
            let opened = self.opened.get();
            let length = opened.len().min(space.len());
            space[..length].copy_from_slice(&opened[..length]);
            self.opened.use_up(length);
            return Ok(length);
        }
        if self.is_ended {
            return Ok(0);
        }
        if let Some(failure) = self.failure {
            return Err(invalid(failure));
        }
        SCRATCH.with_borrow_mut(|scratch| self.receive(space, &mut scratch.received, receive))
    }

    /// Opens records until one had data, and then those that are complete while `space` has room.
    fn receive(
        &mut self,
        space: &mut [u8],
        scratch: &mut Vec<u8>,
        receive: fn(&TcpTransport, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut filled = self.incoming.len();
        let size = filled.max(MAX_RECORD) + MOST_RECEIVED;
        if scratch.len() < size {
            scratch.resize(size, 0);
        }
        scratch[..filled].copy_from_slice(&self.incoming);
        self.incoming = Vec::new();
        self.has_record = false;
        let mut begin = 0;
        loop {
            let (consumed, read) = self.open(&mut scratch[begin..filled], space);
            begin += consumed;
            if read > 0 || self.holds_bytes() {
                self.keep(&scratch[begin..filled]);
                return match self.failure {
                    Some(failure) if read == 0 => Err(self.tell(failure)),
                    _ => Ok(read),
                };
            }
            scratch.copy_within(begin..filled, 0);
            filled -= begin;
            begin = 0;
            // For a short message a short read: what it does not fill says that the socket is drained.
            let most = (space.len() + 1024).clamp(MAX_RECORD, MOST_RECEIVED);
            match receive(&self.tcp, &mut scratch[filled..filled + most]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => filled += more,
                Err(error) => {
                    self.keep(&scratch[begin..filled]);
                    return Err(error);
                }
            }
        }
    }

    /// Opens the complete records of `incoming` while `space` has room. Returns how many bytes were consumed, and how many
    /// were read.
    fn open(&mut self, incoming: &mut [u8], space: &mut [u8]) -> (usize, usize) {
        let (mut consumed, mut read) = (0, 0);
        while read < space.len() && self.failure.is_none() {
            match self.session.open(&mut incoming[consumed..]) {
                Ok(Opened::Incomplete) => break,
                Ok(Opened::Handled { consumed: record }) => consumed += record,
                Ok(Opened::End) => {
                    self.is_ended = true;
                    break;
                }
                Ok(Opened::Data {
                    consumed: record,
                    plain,
                }) => {
                    let plain = &incoming[consumed..][plain];
                    let fits = plain.len().min(space.len() - read);
                    space[read..read + fits].copy_from_slice(&plain[..fits]);
                    self.opened.add(&plain[fits..]);
                    read += fits;
                    consumed += record;
                }
                Err(error) => self.failure = Some(error),
            }
        }
        (consumed, read)
    }

    /// Keeps bytes of records for the next read.
    fn keep(&mut self, incoming: &[u8]) {
        if !incoming.is_empty() && !self.is_ended {
            self.incoming = incoming.to_vec();
            // One that is refused has to be read to be refused.
            self.has_record = Header::read(incoming).map_or(true, |header| {
                header.is_some_and(|header| incoming.len() >= header.record_length())
            });
        }
    }

    /// Tells the peer why the connection ends, if the socket takes it at once.
    #[cold]
    fn tell(&mut self, failure: RecordError) -> io::Error {
        if let (Some(alert), true) = (failure.alert(), self.outgoing.is_empty()) {
            let mut record = [0; 64];
            if let Ok(length) = self.session.fatal_alert(alert, &mut record) {
                // The peer may be gone, or refuse to read.
                let _ = self.tcp.write(&record[..length], Cork::Off);
            }
        }
        invalid(failure)
    }

    /// Writes `bytes`, or keeps what the kernel does not take for the next write.
    #[inline(never)]
    pub(super) fn write(&mut self, bytes: &[u8], cork: Cork) -> io::Result<usize> {
        let written = self.write_parts(&[bytes], cork);
        if would_block(&written) && self.taken == bytes.len() {
            return Ok(mem::take(&mut self.taken));
        }
        written
    }

    /// Writes as much of `parts`, in a row, as is taken; pending until the kernel has all of that. The next call must begin
    /// with the same bytes.
    #[inline(never)]
    pub(super) fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[&[u8]],
        cork: Cork,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_writable(cx))?;
            let written = self.write_parts(parts, cork);
            if !would_block(&written) {
                return Poll::Ready(written);
            }
            self.tcp.watch()?;
        }
    }

    fn write_parts(&mut self, parts: &[&[u8]], cork: Cork) -> io::Result<usize> {
        self.flush(cork)?;
        if self.taken > 0 {
            return Ok(mem::take(&mut self.taken));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let sealed = &mut scratch.sealed;
            let room = Session::room(MOST_SEALED);
            if sealed.len() < room {
                sealed.resize(room, 0);
            }
            let length: usize = parts.iter().map(|part| part.len()).sum();
            let (length, bytes) = if length <= MOST_SEALED {
                (length, self.session.seal(parts, sealed))
            } else {
                let most = first_of(parts, MOST_SEALED);
                (MOST_SEALED, self.session.seal(&most, sealed))
            };
            let bytes = bytes.map_err(invalid)?;
            self.send(&sealed[..bytes], cork, length)
        })
    }

    /// Sends `sealed`, which holds `length` bytes of the writer's.
    fn send(&mut self, sealed: &[u8], cork: Cork, length: usize) -> io::Result<usize> {
        let sent = match self.tcp.write(sealed, cork) {
            Ok(sent) if sent == sealed.len() => return Ok(length),
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.outgoing.add(&sealed[sent..]);
        self.taken = length;
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Sends what an earlier write has left.
    fn flush(&mut self, cork: Cork) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.tcp.write(self.outgoing.get(), cork)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                sent => self.outgoing.use_up(sent),
            }
        }
        Ok(())
    }

    /// Has the runtime report when the connection is readable or writable.
    #[inline(never)]
    pub(super) fn watch(&mut self) -> io::Result<()> {
        self.tcp.watch()
    }

    /// Whether nothing has come that a reader would see. Tickets and new keys are taken in: they are for TLS itself.
    #[inline(never)]
    pub(super) fn is_idle_in_kernel(&mut self) -> bool {
        if self.holds_bytes() {
            return false;
        }
        if self.tcp.is_idle_in_kernel() {
            return true;
        }
        would_block(&self.read_by(&mut [0], TcpTransport::read_from_kernel))
    }

    /// Ends this side: first inside TLS, then of the socket. A socket that takes nothing more keeps the peer from seeing the
    /// former, so that what it has may look cut.
    #[inline(never)]
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let mut record = [0; 64];
        if let Ok(length) = self.session.close_notify(&mut record) {
            self.outgoing.add(&record[..length]);
            let _ = self.flush(Cork::UntilFinish);
        }
        self.tcp.finish()
    }

    /// What the handshake agreed on.
    pub(super) fn facts(&self) -> &SecuredFacts {
        &self.facts
    }

    /// How many bytes of memory its buffers have.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let rests = [&self.opened, &self.outgoing];
        let rests = rests.map(|rest| rest.bytes.capacity());
        self.incoming.capacity() + rests.iter().sum::<usize>()
    }

    /// The socket.
    pub(super) fn tcp(&self) -> &TcpTransport {
        &self.tcp
    }
}

impl std::fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsTransport")
            .field("tcp", &self.tcp)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// The first `most` bytes of `parts`.
fn first_of<'p>(parts: &[&'p [u8]], mut most: usize) -> Vec<&'p [u8]> {
    let cut = |part: &&'p [u8]| {
        let length = part.len().min(most);
        most -= length;
        &part[..length]
    };
    parts.iter().map(cut).collect()
}

fn invalid(error: RecordError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
