//! The sockets on which the management API listens.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustix::process::geteuid;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    access::{Peer, UnixPeer},
    tls::{self, Tls},
};

/// The permissions of the Unix socket: only its owner may connect.
const SOCKET_MODE: u32 = 0o600;

/// A bound socket on which no connection is accepted yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
}

/// The listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for management{}", hint(.source))]
pub struct ManagementBindError {
    /// The address.
    pub address: SocketAddr,
    /// The cause.
    #[source]
    pub source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            ": another process listens on it; stop that process, or use another address with --management"
        }
        io::ErrorKind::AddrNotAvailable => ": this machine has no such address",
        io::ErrorKind::PermissionDenied => {
            ": ports below 1024 need the capability CAP_NET_BIND_SERVICE"
        }
        _ => "",
    }
}

impl Listener {
    /// The address of the socket, with the port that the system chose if 0 was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves TLS and nothing else.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// The TLS, if there is any.
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Accepts a connection, of which nothing has been read.
    pub(super) async fn accept(&self) -> io::Result<(Accepted, Peer)> {
        let (stream, peer) = self.socket.accept().await?;
        // A failure only increases the latency.
        let _ = stream.set_nodelay(true);
        let accepted = match &self.tls {
            Some(tls) => Accepted::Tls(stream, tls.config()),
            None => Accepted::Plain(Stream::Tcp(stream)),
        };
        Ok((accepted, Peer::Tcp(peer, None)))
    }
}

/// Binds `address`. Connections wait until [`serve`](super::serve) accepts them.
pub async fn bind(address: SocketAddr) -> Result<Listener, ManagementBindError> {
    let failed = |source| ManagementBindError { address, source };
    let socket = TcpListener::bind(address).await.map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    Ok(Listener {
        socket,
        address,
        tls: None,
    })
}

/// A bound Unix socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct LocalListener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of the file: another process may have replaced it.
    file: (u64, u64),
}

/// The Unix socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum LocalBindError {
    /// A process listens there.
    #[error(
        "cannot listen on {} for management: another process listens on it; stop that process, or use another path with \
         --management-socket",
        .0.display()
    )]
    InUse(PathBuf),
    /// There is something else.
    #[error(
        "cannot listen on {} for management: there is a file that is not a socket; remove it, or use another path with \
         --management-socket",
        .0.display()
    )]
    NotASocket(PathBuf),
    /// The socket cannot be made.
    #[error("cannot listen on {} for management", path.display())]
    Failed {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl LocalListener {
    /// The path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Accepts a connection.
    pub(super) async fn accept(&self) -> io::Result<(Accepted, Peer)> {
        let (stream, _) = self.socket.accept().await?;
        let uid = stream.peer_cred()?.uid();
        let is_trusted = uid == 0 || uid == geteuid().as_raw();
        let peer = Peer::Unix(UnixPeer { uid, is_trusted });
        Ok((Accepted::Plain(Stream::Unix(stream)), peer))
    }
}

/// Binds a Unix socket at `path`, which only its owner may connect to. A socket on which nobody listens is replaced.
pub fn bind_local(path: &Path) -> Result<LocalListener, LocalBindError> {
    let failed = |source| LocalBindError::Failed {
        path: path.to_owned(),
        source,
    };
    make_room(path)?;
    let socket = UnixListener::bind(path).map_err(failed)?;
    let permissions = fs::Permissions::from_mode(SOCKET_MODE);
    fs::set_permissions(path, permissions).map_err(failed)?;
    let file = file_at(path).map_err(failed)?;
    let path = path.to_owned();
    Ok(LocalListener { socket, path, file })
}

/// Removes a socket that a process has left behind.
fn make_room(path: &Path) -> Result<(), LocalBindError> {
    let failed = |source| LocalBindError::Failed {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(LocalBindError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(_) => Err(LocalBindError::InUse(path.to_owned())),
    }
}

fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        if file_at(&self.path).is_ok_and(|file| file == self.file) {
            // What is left behind is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// An accepted connection.
#[derive(Debug)]
pub(super) enum Accepted {
    /// Can be read.
    Plain(Stream),
    /// Begins with a TLS handshake.
    Tls(TcpStream, Arc<ServerConfig>),
}

impl Accepted {
    /// Makes the handshake, if there is one. The peer gets the names in the certificate of the client.
    pub(super) async fn handshake(self, peer: Peer) -> io::Result<(Stream, Peer)> {
        let (stream, config) = match self {
            Self::Plain(stream) => return Ok((stream, peer)),
            Self::Tls(stream, config) => (stream, config),
        };
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let names = certificate.map(|certificate| tls::subjects(certificate).into());
        Ok((Stream::Tls(Box::new(stream)), peer.with_names(names)))
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

macro_rules! each {
    ($stream:expr, $inner:ident => $result:expr) => {
        match $stream.get_mut() {
            Stream::Tcp(stream) => {
                let $inner = Pin::new(stream);
                $result
            }
            Stream::Tls(stream) => {
                let $inner = Pin::new(stream.as_mut());
                $result
            }
            Stream::Unix(stream) => {
                let $inner = Pin::new(stream);
                $result
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, inner => inner.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, inner => inner.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, inner => inner.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => inner.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => inner.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("management.sock");
        let first = bind_local(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
        let second = bind_local(&path).unwrap_err();
        assert!(matches!(second, LocalBindError::InUse(_)), "{second}");
        // As a process that was killed leaves it.
        let left = fs::hard_link(&path, directory.path().join("left"));
        left.unwrap();
        drop(first);
        assert!(!path.exists(), "it is removed in the end");
        fs::rename(directory.path().join("left"), &path).unwrap();
        let third = bind_local(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "of somebody else").unwrap();
        drop(third);
        assert!(path.exists(), "what is not its own stays");
        let fourth = bind_local(&path).unwrap_err();
        assert!(matches!(fourth, LocalBindError::NotASocket(_)), "{fourth}");
    }
}
