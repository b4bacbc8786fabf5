//! The handshake with a server.

use std::{future::poll_fn, io, sync::Arc};

use rustls::{ClientConfig, pki_types::ServerName};

use super::wire::Wire;
use crate::{
    proxy::transport::Transport,
    tls::{Handshake, HandshakeError, Progress},
};

/// Most bytes that a server may send within a handshake and that are not used yet.
const MOST: usize = 64 * 1024;

/// `transport` inside TLS, with the server of that name. The caller limits the time.
///
/// An error of the handshake is an [`io::Error`] whose cause is a [`HandshakeError`].
pub(in crate::proxy) async fn secure_to_server(
    transport: Transport,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> io::Result<Transport> {
    let mut wire = Wire::new(transport);
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

fn failed(error: HandshakeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
