//! The connections of other nodes that are open, and who gives way when there are too many.
//!
//! A connection is *unproven* until a call on it proves who the caller is: a member, or a node that has the secret. Unproven connections have a share
//! of their own, and a share of that for each address. A new connection takes the place of an unproven one: of those that
//! have sent nothing, else of the oldest. So however many connections a stranger opens, a node gets in, and the
//! connections of nodes stay.

use std::{
    collections::{BTreeMap, HashMap},
    future,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
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

use super::channel::ChannelPeer;

/// The time from the accept of a connection to its first call with a proof, TLS handshake included.
pub(in crate::cluster) const PROOF_TIMEOUT: Duration = Duration::from_secs(10);
/// The smallest number of connections with which nodes can work.
const FEWEST: usize = 8;
/// Unproven connections have this fraction of all, and one address this fraction of that.
const UNPROVEN_FRACTION: usize = 4;
const ADDRESS_FRACTION: usize = 2;

/// All connections of other nodes. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Connections {
    table: Arc<Mutex<Table>>,
    /// A place for each connection, also for one that was cut and is not closed yet.
    places: Arc<Semaphore>,
}

/// Room for one connection.
pub(in crate::cluster) type Place = OwnedSemaphorePermit;

/// Which connections are open. Pure.
#[derive(Debug)]
struct Table {
    most_unproven: usize,
    most_of_address: usize,
    most_proven: usize,
    next: u64,
    /// By age, the oldest first.
    unproven: BTreeMap<u64, Unproven>,
    proven: usize,
}

#[derive(Debug)]
struct Unproven {
    ip: IpAddr,
    speaks: bool,
    cut: CancellationToken,
}

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

impl Table {
    fn new(limit: usize) -> Self {
        let most_unproven = limit / UNPROVEN_FRACTION;
        Self {
            most_unproven,
            most_of_address: (most_unproven / ADDRESS_FRACTION).max(1),
            most_proven: limit - most_unproven - 1,
            next: 0,
            unproven: BTreeMap::new(),
            proven: 0,
        }
    }

    fn enter(&mut self, ip: IpAddr, cut: CancellationToken) -> u64 {
        let mut of_address = HashMap::<IpAddr, usize>::new();
        for unproven in self.unproven.values() {
            *of_address.entry(unproven.ip).or_default() += 1;
        }
        if of_address.get(&ip).copied().unwrap_or(0) >= self.most_of_address {
            self.cut_one(Some(ip));
        } else if self.unproven.len() >= self.most_unproven {
            let busiest = of_address.into_iter().max_by_key(|(_, count)| *count);
            self.cut_one(busiest.map(|(ip, _)| ip));
        }
        let id = self.next;
        self.next += 1;
        let speaks = false;
        self.unproven.insert(id, Unproven { ip, speaks, cut });
        id
    }

    /// Cuts the oldest unproven connection (of `ip`, if given) that has sent nothing, else the oldest.
    fn cut_one(&mut self, ip: Option<IpAddr>) {
        let of_ip = |unproven: &Unproven| ip.is_none_or(|ip| unproven.ip == ip);
        let mut candidates = self.unproven.iter().filter(|(_, found)| of_ip(found));
        let silent = candidates.clone().find(|(_, found)| !found.speaks);
        let id = silent.or_else(|| candidates.next()).map(|(id, _)| *id);
        if let Some(unproven) = id.and_then(|id| self.unproven.remove(&id)) {
            unproven.cut.cancel();
        }
    }

    /// Whether the connection may stay, now that a call on it has proven the secret.
    fn prove(&mut self, id: u64) -> bool {
        if self.proven >= self.most_proven || self.unproven.remove(&id).is_none() {
            return false;
        }
        self.proven += 1;
        true
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
    /// Notes that the peer has sent something.
    pub(super) fn speaks(&self) {
        if let Some(unproven) = self.connections.table().unproven.get_mut(&self.id) {
            unproven.speaks = true;
        }
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
        let mut table = self.connections.table();
        if *self.proven.get_mut() {
            table.proven -= 1;
        } else {
            table.unproven.remove(&self.id);
        }
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

    async fn enter(connections: &Connections, ip: [u8; 4]) -> Arc<Seat> {
        let place = connections.place().await.unwrap();
        connections.enter((ip, 1).into(), place)
    }

    fn is_cut(seat: &Seat) -> bool {
        seat.cut.is_cancelled()
    }

    const FLOOD: [u8; 4] = [10, 0, 0, 1];
    const NODE: [u8; 4] = [10, 0, 0, 2];

    #[tokio::test]
    async fn strangers_give_way_to_each_other_and_never_take_the_place_of_a_node() {
        let connections = Connections::new(64);
        let node = enter(&connections, NODE).await;
        assert!(node.prove());
        let starting = enter(&connections, NODE).await;
        let mut flood = Vec::new();
        for _ in 0..1_000 {
            flood.push(enter(&connections, FLOOD).await);
            // A connection that was cut is closed.
            flood.retain(|seat| !is_cut(seat));
        }
        assert_eq!(flood.len(), 8, "half of the quarter of 64");
        assert!(!is_cut(&node) && !is_cut(&starting));
        assert!(starting.prove(), "it came before all of them");
    }

    #[tokio::test]
    async fn a_connection_that_sends_outlives_those_that_do_not() {
        let connections = Connections::new(64);
        let node = enter(&connections, FLOOD).await;
        node.speaks();
        let mut flood = Vec::new();
        for _ in 0..100 {
            flood.push(enter(&connections, FLOOD).await);
            flood.retain(|seat| !is_cut(seat));
        }
        assert!(!is_cut(&node));
        for seat in &flood {
            seat.speaks();
        }
        let _one_more = enter(&connections, FLOOD).await;
        assert!(is_cut(&node), "the oldest of those that send");
        assert!(!node.prove(), "what was cut stays cut");
    }

    #[tokio::test]
    async fn the_address_with_most_connections_gives_way() {
        let connections = Connections::new(64);
        let mut seats = vec![enter(&connections, NODE).await];
        for n in 0..15 {
            seats.push(enter(&connections, [10, 0, 1, n / 3]).await);
        }
        let _one_more = enter(&connections, [10, 0, 2, 1]).await;
        assert!(!is_cut(&seats[0]));
        assert_eq!(seats.iter().filter(|seat| is_cut(seat)).count(), 1);
    }

    #[tokio::test]
    async fn nodes_have_a_limit_too_and_closing_makes_room() {
        let connections = Connections::new(8);
        let mut nodes = Vec::new();
        for _ in 0..5 {
            let node = enter(&connections, NODE).await;
            assert!(node.prove());
            nodes.push(node);
        }
        let refused = enter(&connections, NODE).await;
        assert!(!refused.prove());
        nodes.pop();
        assert!(refused.prove());
    }

    #[tokio::test(start_paused = true)]
    async fn what_proves_nothing_in_time_ends() {
        let connections = Connections::new(64);
        let begun = time::Instant::now();
        let silent = enter(&connections, NODE).await;
        assert_eq!(end_of(silent, begun).await, ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), PROOF_TIMEOUT);
        let node = enter(&connections, NODE).await;
        assert!(node.prove());
        let day = Duration::from_hours(24);
        let ended = time::timeout(day, end_of(node, time::Instant::now())).await;
        assert!(ended.is_err(), "{ended:?}");
    }
}
