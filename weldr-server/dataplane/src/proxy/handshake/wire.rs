//! A connection during its TLS handshake: what was received and not used, and what must be sent.

use std::{
    io,
    task::{Context, Poll, ready},
};

use crate::{
    proxy::transport::{Cork, SecuredFacts, Transport},
    tls::Established,
};

/// Bytes that are read at a time: a handshake has few.
const READ: usize = 4096;

/// A connection during its handshake.
pub(in crate::proxy) struct Wire {
    pub(in crate::proxy) transport: Transport,
    /// What was received and not used.
    pub(in crate::proxy) incoming: Vec<u8>,
    /// What must be sent.
    pub(in crate::proxy) outgoing: Vec<u8>,
    sent: usize,
}

impl Wire {
    /// A connection on which nothing has passed.
    pub(in crate::proxy) fn new(transport: Transport) -> Self {
        Self {
            transport,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
        }
    }

    /// Reads what has come, once something has. An end of the connection is an error.
    pub(in crate::proxy) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.transport.poll_readable(cx))?;
            let mut space = [0; READ];
            match self.transport.read(&mut space) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => {
                    self.incoming.extend_from_slice(&space[..read]);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.transport.watch()?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Sends what must be sent.
    pub(in crate::proxy) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.outgoing.len() {
            let rest = &self.outgoing[self.sent..];
            match ready!(self.transport.poll_write(cx, rest, Cork::Off))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => self.sent += more,
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// The connection inside TLS, now that the handshake is complete. What is not sent of it goes before what is written next.
    pub(in crate::proxy) fn secured(
        self,
        established: Established,
        server_name: Option<Box<str>>,
    ) -> Transport {
        let facts = SecuredFacts {
            version: established.facts.version,
            suite: established.facts.suite,
            is_resumed: established.facts.is_resumed,
            server_name,
            certificate: established.facts.peer.first().cloned(),
        };
        self.transport
            .secured(established, facts, &self.incoming, self.outgoing)
    }
}
