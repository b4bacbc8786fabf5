//! The connections of other nodes that are open, and who gives way when there are too many.
//!
//! `admission` decides; this carries it out.

use std::{
    future,
    io::{self, ErrorKind},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};
use tokio_rustls::server::TlsStream;
use tokio_util::{either::Either, sync::CancellationToken};
use tonic::transport::server::Connected;

use super::{admission::Table, channel::ChannelPeer};

/// The time from the accept of a connection to its first call with a proof, TLS handshake included.
pub(in crate::cluster) const PROOF_TIMEOUT: Duration = Duration::from_secs(10);
/// The smallest number of connections with which nodes can work.
const FEWEST: usize = 8;

/// All connections of other nodes. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Connections {
    table: Arc<Mutex<Table>>,
    /// A place for each connection, also for one that was cut and is not closed yet.
    places: Arc<Semaphore>,
}

/// Room for one connection.
pub(in crate::cluster) type Place = OwnedSemaphorePermit;

impl Connections {
    /// At most `limit` connections.
    pub(in crate::cluster) fn new(limit: usize) -> Self {
        let limit = limit.max(FEWEST);
        Self {
            table: Arc::new(Mutex::new(Table::new(limit))),
            places: Arc::new(Semaphore::new(limit)),
        }
    }

    /// Waits for room. One place is always left when the table is full, so this waits only for connections that were cut.
    pub(super) async fn place(&self) -> Option<Place> {
        // An error means that the semaphore was closed, which nobody does.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Enters a connection that was accepted from `peer`.
    pub(super) fn enter(&self, peer: SocketAddr, place: Place) -> Arc<Seat> {
        let cut = CancellationToken::new();
        let id = self.table().enter(peer.ip().to_canonical(), cut.clone());
        Arc::new(Seat {
            id,
            peer,
            cut,
            proven: AtomicBool::new(false),
            connections: self.clone(),
            _place: place,
        })
    }

    /// Cuts an unproven connection, because the process has no descriptor left.
    pub(super) fn cut_one(&self) {
        self.table().cut_one(None);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entry of one connection. Dropping it makes room.
#[derive(Debug)]
pub(in crate::cluster) struct Seat {
    id: u64,
    peer: SocketAddr,
    cut: CancellationToken,
    proven: AtomicBool,
    connections: Connections,
    _place: Place,
}

impl Seat {
    /// Notes that a TLS handshake begins. Another one may have to give way.
    pub(super) fn handshake_begins(&self) {
        self.connections.table().handshake_begins(self.id);
    }

    /// Notes that the peer can make calls.
    pub(super) fn is_open(&self) {
        self.connections.table().is_open(self.id);
    }

    /// Ends when the connection has to give way to another one.
    pub(super) async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Notes that a call has proven the secret. Returns whether the connection may stay.
    fn prove(&self) -> bool {
        if self.proven.load(Relaxed) {
            return true;
        }
        let mut table = self.connections.table();
        // Another call of the same connection may have been faster.
        if self.proven.load(Relaxed) {
            return true;
        }
        let stays = table.prove(self.id);
        self.proven.store(stays, Relaxed);
        stays
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let was_proven = *self.proven.get_mut();
        self.connections.table().leave(self.id, was_proven);
    }
}

/// What a call knows about its connection.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct PeerConnection {
    seat: Arc<Seat>,
    peer: Option<Arc<ChannelPeer>>,
}

impl PeerConnection {
    /// The connection of a call with these extensions.
    pub(in crate::cluster) fn of(extensions: &http::Extensions) -> Option<&Self> {
        extensions.get::<Self>()
    }

    /// The address of the peer.
    pub(in crate::cluster) fn address(&self) -> SocketAddr {
        self.seat.peer
    }

    /// Who is on the other side; `None` without TLS.
    pub(in crate::cluster) fn peer(&self) -> Option<&ChannelPeer> {
        self.peer.as_deref()
    }

    /// Notes that a call on the connection has proven who it is from. Returns whether the connection may stay.
    pub(in crate::cluster) fn prove(&self) -> bool {
        self.seat.prove()
    }
}

/// A channel from another node; without TLS only from one of version 0.1.0.
pub(in crate::cluster) struct SecureStream {
    stream: Either<TlsStream<PeerStream>, PeerStream>,
    peer: Option<Arc<ChannelPeer>>,
}

impl SecureStream {
    pub(super) fn new(stream: TlsStream<PeerStream>, peer: ChannelPeer) -> Self {
        Self {
            stream: Either::Left(stream),
            peer: Some(Arc::new(peer)),
        }
    }

    pub(super) fn plain(stream: PeerStream) -> Self {
        Self {
            stream: Either::Right(stream),
            peer: None,
        }
    }
}

impl Connected for SecureStream {
    type ConnectInfo = PeerConnection;

    fn connect_info(&self) -> PeerConnection {
        let connection = match &self.stream {
            Either::Left(stream) => stream.get_ref().0,
            Either::Right(stream) => stream,
        };
        PeerConnection {
            seat: Arc::clone(&connection.seat),
            peer: self.peer.clone(),
        }
    }
}

impl AsyncRead for SecureStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for SecureStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection of another node, which fails when it has to give way or proves nothing in time.
pub(in crate::cluster) struct PeerStream {
    stream: TcpStream,
    seat: Arc<Seat>,
    end: BoxFuture<'static, ErrorKind>,
}

impl PeerStream {
    /// `since`: when the connection was accepted.
    pub(super) fn new(stream: TcpStream, seat: Arc<Seat>, since: time::Instant) -> Self {
        let end = end_of(Arc::clone(&seat), since).boxed();
        Self { stream, seat, end }
    }
}

/// Why a connection ends that the peer does not end.
async fn end_of(seat: Arc<Seat>, since: time::Instant) -> ErrorKind {
    let unproven = async {
        time::sleep_until(since + PROOF_TIMEOUT).await;
        if seat.proven.load(Relaxed) {
            future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = seat.cut() => ErrorKind::ConnectionAborted,
        () = unproven => ErrorKind::TimedOut,
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(kind) = self.end.poll_unpin(cx) {
            self.end = future::ready(kind).boxed();
            return Poll::Ready(Err(kind.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn enter(connections: &Connections) -> Arc<Seat> {
        let place = connections.place().await.unwrap();
        connections.enter(([10, 0, 0, 2], 1).into(), place)
    }

    #[tokio::test]
    async fn nodes_have_a_limit_too_and_closing_makes_room() {
        let connections = Connections::new(8);
        let mut nodes = Vec::new();
        for _ in 0..5 {
            let node = enter(&connections).await;
            assert!(node.prove());
            nodes.push(node);
        }
        let refused = enter(&connections).await;
        assert!(!refused.prove());
        nodes.pop();
        assert!(refused.prove());
    }

    #[tokio::test(start_paused = true)]
    async fn what_proves_nothing_in_time_ends() {
        let connections = Connections::new(64);
        let begun = time::Instant::now();
        let silent = enter(&connections).await;
        assert_eq!(end_of(silent, begun).await, ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), PROOF_TIMEOUT);
        let node = enter(&connections).await;
        assert!(node.prove());
        let day = Duration::from_hours(24);
        let ended = time::timeout(day, end_of(node, time::Instant::now())).await;
        assert!(ended.is_err(), "{ended:?}");
    }
}
