//! Opens a channel to another node.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::CertificateError;
use rustls_pki_types::ServerName;
use tokio::{
    net::{TcpSocket, TcpStream},
    time,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::Status;

use super::{
    channel::{ChannelPeer, Expected, Protocol, client_config},
    credentials::Credentials,
};

/// The time limit for connecting, and for the TLS handshake after it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// An open channel, and who is on the other side of it.
pub(in crate::cluster) struct Dialled {
    pub(in crate::cluster) stream: TlsStream<TcpStream>,
    pub(in crate::cluster) peer: ChannelPeer,
}

/// Why there is no channel to a node.
#[derive(Debug, thiserror::Error)]
pub(in crate::cluster) enum DialError {
    #[error("{0:?} is no address of a node")]
    Address(String),
    #[error("cannot connect to {0}")]
    Connect(SocketAddr, #[source] io::Error),
    #[error("the node at {0} does not answer in time")]
    Timeout(SocketAddr),
    /// The node that answers has not the key, or the name, of the one that is meant.
    #[error("another node is at {0}: its key is not the one that is expected")]
    OtherNode(SocketAddr),
    #[error("no TLS connection with the node at {0}")]
    Tls(SocketAddr, #[source] io::Error),
    #[error("the credentials of this node cannot be used")]
    Credentials(#[source] rustls::Error),
    /// Neither has a key of the other in the membership, and they cannot prove the secret to each other.
    #[error("the members have no keys of each other, and the shared secret is not proven: {0}")]
    NotAcquainted(String),
    #[error("the connection has ended")]
    Ended,
}

/// Opens a channel to the node at `address`, if it is the one that is expected. `from` is the local address.
pub(in crate::cluster) async fn dial(
    credentials: &Credentials,
    expected: Expected,
    protocol: Protocol,
    from: Option<IpAddr>,
    address: SocketAddr,
) -> Result<Dialled, DialError> {
    let config = client_config(credentials, expected, protocol).map_err(DialError::Credentials)?;
    let stream = dial_plain(from, address).await?;
    // No server name is sent: the address is only where the node is.
    let name = ServerName::from(address.ip());
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = match time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if is_other_node(&error) => return Err(DialError::OtherNode(address)),
        Ok(Err(error)) => return Err(DialError::Tls(address, error)),
        Err(_) => return Err(DialError::Timeout(address)),
    };
    let peer = ChannelPeer::of(stream.get_ref().1, credentials).ok_or(DialError::Ended)?;
    Ok(Dialled { stream, peer })
}

/// Opens a connection without TLS.
pub(in crate::cluster) async fn dial_plain(
    from: Option<IpAddr>,
    address: SocketAddr,
) -> Result<TcpStream, DialError> {
    match time::timeout(CONNECT_TIMEOUT, connect(from, address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(DialError::Connect(address, error)),
        Err(_) => Err(DialError::Timeout(address)),
    }
}

async fn connect(from: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(from) = from.filter(|from| from.is_ipv4() == address.is_ipv4()) {
        socket.bind((from, 0).into())?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether the verifier has refused the key, or the certificate, of the node.
fn is_other_node(error: &io::Error) -> bool {
    let inner = error.get_ref();
    let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        tls,
        Some(rustls::Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure
        ))
    )
}

/// Whether a call failed because another node was at the address than the one that was meant.
pub(in crate::cluster) fn met_another_node(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(DialError::OtherNode(_)) = error.downcast_ref() {
            return true;
        }
        source = error.source();
    }
    false
}
