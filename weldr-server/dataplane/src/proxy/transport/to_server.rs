//! What comes between opening a connection to a server and the first request on it.

use std::{future::poll_fn, io, sync::Arc};

use rustls::{ClientConfig, pki_types::ServerName};

use super::{Cork, Transport, wire::Wire};
use crate::tls::{Handshake, HandshakeError, Progress};

/// Most bytes that a server may send within a handshake and that are not used yet.
const MOST: usize = 64 * 1024;

impl Transport {
    /// Writes all of `bytes`. Must be given a deadline by the caller.
    pub(in crate::proxy) async fn write_all(
        &mut self,
        mut bytes: &[u8],
        cork: Cork,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            match poll_fn(|cx| self.poll_write(cx, bytes, cork)).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => bytes = &bytes[written..],
            }
        }
        Ok(())
    }

    /// This connection inside TLS, with the server of that name. Both must be given a deadline by the caller.
    ///
    /// An error of the handshake is an [`io::Error`] whose cause is a [`HandshakeError`].
    pub(in crate::proxy) async fn secured_to_server(
        self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let mut wire = Wire::new(self);
        let mut handshake = Handshake::client(config, name).map_err(failed)?;
        loop {
            match handshake.advance(&mut wire.incoming, &mut wire.outgoing) {
                Ok(Progress::NeedsMore(next)) => handshake = next,
                // The end of the handshake is sent with the request.
                Ok(Progress::Complete(established)) => {
                    return Ok(wire.secured(*established, None));
                }
                Err(error) => {
                    // The alert is a courtesy: the server may be gone.
                    let _ = poll_fn(|cx| wire.poll_flush(cx)).await;
                    return Err(failed(error));
                }
            }
            if wire.incoming.len() > MOST {
                return Err(failed(HandshakeError::TooLong));
            }
            poll_fn(|cx| wire.poll_flush(cx)).await?;
            poll_fn(|cx| wire.poll_read(cx)).await?;
        }
    }
}

fn failed(error: HandshakeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
