//! The connections of other nodes, as they are accepted.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{
    Stream, StreamExt as _,
    future::BoxFuture,
    stream::{FuturesUnordered, unfold},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time,
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::{
    channel::{ChannelPeer, Protocol, server_config},
    connections::{Connections, PeerStream, Seat, SecureStream},
    death_notice::{DeathNotice, FIRST_BYTE, receive},
    peers::Peers,
};
use crate::warnings::Repeats;

/// The time before the next `accept` after one failed for lack of a resource.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How often a warning about failures of `accept` is logged.
const WARNING_PERIOD: Duration = Duration::from_secs(10);

/// How long a connection may take to send its first byte.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;
/// What is logged of a caller that speaks without TLS.
const NO_TLS: &str = "it does not use TLS: it is of version 0.1.0, or no node";
/// How long a notice of a death may take.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(1);
/// The listener, and the connections that have sent nothing yet.
struct Incoming {
    listener: TcpListener,
    connections: Connections,
    failures: Repeats<()>,
    /// No connection is accepted before this.
    not_before: time::Instant,
    waiting: FuturesUnordered<BoxFuture<'static, Option<SecureStream>>>,
    notices: mpsc::Sender<DeathNotice>,
    peers: Peers,
}

/// Accepts connections for as long as it is polled. Neither a connection that failed nor a lack of descriptors or memory
/// ends it: the gRPC server would stop serving other nodes at the first such error. A connection that brings a notice of
/// a death is not passed on; its notice goes to `notices`.
pub(in crate::cluster) fn incoming(
    listener: TcpListener,
    notices: mpsc::Sender<DeathNotice>,
    connections: Connections,
    peers: Peers,
) -> impl Stream<Item = io::Result<SecureStream>> + Send + 'static {
    let incoming = Incoming {
        listener,
        connections,
        failures: Repeats::new(WARNING_PERIOD, 1),
        not_before: time::Instant::now(),
        waiting: FuturesUnordered::new(),
        notices,
        peers,
    };
    unfold(incoming, |mut incoming| async move {
        let stream = incoming.next().await;
        Some((Ok(stream), incoming))
    })
}

impl Incoming {
    /// The next connection that calls this node.
    async fn next(&mut self) -> SecureStream {
        loop {
            let accept = accept(&self.listener, &self.connections, self.not_before);
            tokio::select! {
                Some(stream) = self.waiting.next(), if !self.waiting.is_empty() => if let Some(stream) = stream {
                    return stream;
                },
                accepted = accept => match accepted {
                    Ok((stream, seat)) => self.accepted(stream, seat),
                    Err(error) => self.failed(&error),
                }
            }
        }
    }

    fn accepted(&mut self, stream: TcpStream, seat: Arc<Seat>) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "a connection of another node keeps delaying small packets");
        }
        let sorted = sorted(stream, seat, self.notices.clone(), self.peers.clone());
        self.waiting.push(Box::pin(sorted));
    }

    /// Waits before the next attempt if the process or the system lacks something, and closes what can be missed.
    fn failed(&mut self, error: &io::Error) {
        if ends_one_connection(error) {
            return;
        }
        self.not_before = time::Instant::now() + ACCEPT_BACKOFF;
        self.connections.cut_one();
        if let Some(suppressed) = self.failures.occurred(&(), Instant::now()) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            warn!(%error, suppressed, "cannot accept connections of other nodes");
        }
    }
}

/// Accepts one connection, when there is room for it. May be dropped at any time.
async fn accept(
    listener: &TcpListener,
    connections: &Connections,
    not_before: time::Instant,
) -> io::Result<(TcpStream, Arc<Seat>)> {
    time::sleep_until(not_before).await;
    let closed = || io::Error::from(io::ErrorKind::Interrupted);
    let place = connections.place().await.ok_or_else(closed)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, connections.enter(peer, place)))
}

/// The channel, unless the connection brings a notice or nothing, or has to give way.
async fn sorted(
    stream: TcpStream,
    seat: Arc<Seat>,
    notices: mpsc::Sender<DeathNotice>,
    peers: Peers,
) -> Option<SecureStream> {
    let since = time::Instant::now();
    let mut first = [0];
    let peeked = tokio::select! {
        peeked = time::timeout(FIRST_BYTE_TIMEOUT, stream.peek(&mut first)) => peeked,
        () = seat.cut() => return None,
    };
    if peeked.ok()?.ok()? == 0 {
        return None;
    }
    match first {
        [FIRST_BYTE] => {
            seat.is_open();
            let notice = time::timeout(NOTICE_TIMEOUT, receive(stream));
            // A queue that is full is full of forgeries.
            let _ = notices.try_send(notice.await.ok()??);
            None
        }
        [HANDSHAKE] => {
            seat.handshake_begins();
            let stream = PeerStream::new(stream, Arc::clone(&seat), since);
            let secured = secured(stream, &peers).await?;
            seat.is_open();
            Some(secured)
        }
        _ if peers.previous().is_some() => {
            seat.is_open();
            Some(SecureStream::plain(PeerStream::new(stream, seat, since)))
        }
        _ => {
            let from = stream.peer_addr().ok()?.ip();
            peers.refusals().tell(Some(from), None, NO_TLS);
            None
        }
    }
}

/// The channel on a connection, when the handshake is over.
async fn secured(stream: PeerStream, peers: &Peers) -> Option<SecureStream> {
    let credentials = peers.credentials();
    let both = [Protocol::Current, Protocol::Previous];
    let protocols = match peers.previous() {
        Some(_) => &both[..],
        None => &both[..1],
    };
    let config = server_config(&credentials, protocols);
    let config =
        config.map_err(|error| warn!(%error, "the credentials of this node cannot be used"));
    let handshake = TlsAcceptor::from(Arc::new(config.ok()?)).accept(stream);
    let stream = match time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            // The caller may have meant another node, and says so in its log.
            debug!(%error, "no TLS connection with a caller");
            return None;
        }
        Err(_) => return None,
    };
    let peer = ChannelPeer::of(stream.get_ref().1, &credentials)?;
    Some(SecureStream::new(stream, peer))
}

/// Whether an error of `accept` concerns only the connection that was accepted.
fn ends_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lack_is_waited_out_and_other_errors_are_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (notices, _) = mpsc::channel(1);
        let mut incoming = Incoming {
            listener,
            connections: Connections::new(8),
            failures: Repeats::new(WARNING_PERIOD, 1),
            not_before: time::Instant::now(),
            waiting: FuturesUnordered::new(),
            notices,
            peers: Peers::alone(),
        };
        for (error, wait) in [
            (Errno::MFILE, ACCEPT_BACKOFF),
            (Errno::NFILE, ACCEPT_BACKOFF),
            (Errno::NOBUFS, ACCEPT_BACKOFF),
            (Errno::NOMEM, ACCEPT_BACKOFF),
            (Errno::CONNABORTED, Duration::ZERO),
        ] {
            incoming.not_before = time::Instant::now();
            incoming.failed(&error.into());
            let until = incoming.not_before;
            assert_eq!(
                until.duration_since(time::Instant::now()),
                wait,
                "{error:?}"
            );
        }
    }

    /// Also when other connections keep the loop busy meanwhile: the wait is not begun anew, and not forgotten.
    #[tokio::test(start_paused = true)]
    async fn nothing_is_accepted_before_the_wait_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _client = TcpStream::connect(address).await.unwrap();
        let connections = Connections::new(8);
        let begun = time::Instant::now();
        accept(&listener, &connections, begun + ACCEPT_BACKOFF)
            .await
            .unwrap();
        assert!(begun.elapsed() >= ACCEPT_BACKOFF);
    }
}
