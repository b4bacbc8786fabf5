//! The listening sockets for clients: one for each worker and address. The kernel distributes the connections among them.

use std::{
    io,
    net::{self, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    task::spawn_local,
    time,
};
use tokio_util::sync::CancellationToken;

use crate::{
    model::ListenerProtocol,
    snapshot::ListenerView,
    stats::{HandshakeFailure, ProxyProtocolRefusal},
    tls::ServerTls,
};

use super::{
    admission::WaitingQueue,
    client::ClientSlot,
    context::WorkerContext,
    drain::{Drain, HandOver},
    http1::ClientConnection,
    served_listener::{ListenerContext, ServedListener},
    transport::{self, Transport, is_out_of_descriptors, take_connection, would_block},
};

/// Connections that are accepted in a row before other work is done.
const AT_A_TIME: usize = 64;

/// The time before the next `accept` after one failed for lack of a resource.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How often a listener at its limit of connections looks whether it may accept another.
const FULL_BACKOFF: Duration = Duration::from_millis(20);

/// A listener, as its clients on one socket see it.
struct Entrance {
    served: Rc<ServedListener>,
    security: Security,
}

impl std::ops::Deref for Entrance {
    type Target = ServedListener;

    fn deref(&self) -> &ServedListener {
        &self.served
    }
}

/// A connection and the address of its client.
type Accepted = (net::TcpStream, SocketAddr);

/// Bound sockets, one set for each worker.
#[derive(Debug)]
pub struct Listeners {
    pub(super) workers: Vec<Vec<ListeningSocket>>,
    addresses: Vec<SocketAddr>,
}

/// A listening socket, and what is spoken on its connections.
#[derive(Debug)]
pub(super) struct ListeningSocket {
    pub(super) socket: net::TcpListener,
    pub(super) security: Security,
}

/// Whether connections are inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    Plain,
    Tls,
    /// As the listener says, from connection to connection.
    OfListener,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}{}", hint(.source))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// The cause.
    #[source]
    pub source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": another process listens there; stop it, or say --listen",
        io::ErrorKind::AddrNotAvailable => ": this machine has no such address",
        io::ErrorKind::PermissionDenied => ": ports below 1024 need a privilege",
        _ => "",
    }
}

impl Security {
    fn is_tls(self, view: &ListenerView) -> bool {
        match self {
            Self::Plain => false,
            Self::Tls => true,
            Self::OfListener => view.desired.spec.protocol == ListenerProtocol::Https,
        }
    }
}

impl Listeners {
    /// Binds each address for each of `workers` workers: those of `plain` for HTTP, those of `secured` for HTTPS. Port 0 takes
    /// a free port.
    pub fn bind(
        plain: &[SocketAddr],
        secured: &[SocketAddr],
        workers: usize,
    ) -> Result<Self, BindError> {
        let mut listeners = Self {
            workers: Vec::new(),
            addresses: Vec::new(),
        };
        listeners.workers.resize_with(workers, Vec::new);
        let plain = plain.iter().map(|&address| (address, Security::Plain));
        let secured = secured.iter().map(|&address| (address, Security::Tls));
        for (address, security) in plain.chain(secured) {
            let bound = |source| BindError { address, source };
            let actual = transport::reserve(address).map_err(bound)?;
            listeners.addresses.push(actual);
            for sockets in &mut listeners.workers {
                let socket = transport::bind(actual, true).map_err(bound)?;
                sockets.push(ListeningSocket { socket, security });
            }
        }
        Ok(listeners)
    }

    /// The addresses, with the ports that the system chose: first those for HTTP, then those for HTTPS.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// Accepts connections until the worker drains or `close` is cancelled, and then the connections that already wait.
pub(super) async fn accept(
    served: Rc<ServedListener>,
    listener: AsyncFd<net::TcpListener>,
    security: Security,
    close: CancellationToken,
) {
    let served = Entrance { served, security };
    let context = &served.context;
    let mut hand_over = context.hand_over.clone();
    let mut is_open = true;
    let mut queue = WaitingQueue::default();
    loop {
        tokio::select! {
            accepted = next(&served, &listener, &mut queue) => {
                on_accept(&served, accepted, &mut queue).await;
                on_accept_others(&served, &listener, &mut queue).await;
            }
            Ok(()) = hand_over.changed() => {
                let told = *hand_over.borrow_and_update();
                let opens = matches!(told, HandOver::None | HandOver::Closing);
                if std::mem::replace(&mut is_open, opens) != opens {
                    allow_new_connections(listener.get_ref(), opens);
                }
            }
            () = context.stop.cancelled() => break,
            () = close.cancelled() => break,
        }
    }
    served.set_drain(Drain::LameDuck);
    accept_the_rest(&served, &listener, &mut queue).await;
}

/// Accepts and serves further connections that already wait, without other work in between.
async fn on_accept_others(
    served: &Entrance,
    listener: &AsyncFd<net::TcpListener>,
    queue: &mut WaitingQueue,
) {
    for _ in 0..AT_A_TIME {
        if served.is_full() {
            return;
        }
        let context = &served.context;
        let accepted = listener.try_io(Interest::READABLE, |listener| take(context, listener));
        if would_block(&accepted) {
            queue.emptied();
            return;
        }
        on_accept(served, accepted, queue).await;
    }
}

async fn on_accept(served: &Entrance, accepted: io::Result<Accepted>, queue: &mut WaitingQueue) {
    match accepted {
        Ok((stream, client)) => serve(served, stream, client, queue).await,
        Err(error) => on_accept_error(&served.context, &error).await,
    }
}

/// Serves a new connection, once there is room for it. If its client is at its connection limit, the connection is closed at once.
async fn serve(
    served: &Entrance,
    stream: net::TcpStream,
    client: SocketAddr,
    queue: &mut WaitingQueue,
) {
    let current = served.current();
    if !current.policy.http.proxy_protocol_from.is_empty() {
        return Box::pin(serve_proxy(served, &current, (stream, client), queue)).await;
    }
    let Ok(address) = served.admit(&current, client.ip()) else {
        return;
    };
    if let Some(slot) = ClientSlot::acquire(&served.served, address, queue).await {
        let transport = Transport::accepted(stream);
        match handshakes(served) {
            Ok(None) => {
                spawn_local(ClientConnection::new(transport, client, slot));
            }
            Ok(Some(tls)) => {
                spawn_local(ClientConnection::secured(transport, client, slot, tls));
            }
            Err(Unusable) => {}
        }
    }
}

/// The settings of a listener for TLS cannot be used on this node, which was logged.
struct Unusable;

/// What the handshake on a new connection needs; `None`: there is none. Where it cannot be made, that is counted, and nothing is
/// served in plain instead.
fn handshakes(served: &Entrance) -> Result<Option<Arc<ServerTls>>, Unusable> {
    let current = served.current();
    if !served.security.is_tls(&current.view) {
        return Ok(None);
    }
    if let Some(tls) = &current.view.tls {
        return Ok(Some(Arc::clone(tls)));
    }
    let handshakes = &served.context.counters().handshakes;
    handshakes.failed(HandshakeFailure::NoCertificate);
    Err(Unusable)
}

/// Serves a new connection on a listener where only proxies may connect, which name the clients. Others are closed at once:
/// nobody else may name a client.
async fn serve_proxy(
    served: &Entrance,
    current: &ListenerContext,
    (stream, proxy): Accepted,
    queue: &mut WaitingQueue,
) {
    let context = &served.context;
    let ip = proxy.ip().to_canonical();
    let mut networks = current.policy.http.proxy_protocol_from.iter();
    if !networks.any(|network| network.contains(&ip)) {
        let refusals = &context.counters().proxy_protocol;
        refusals.refused(ProxyProtocolRefusal::NotAllowed);
        context.accept_log.no_proxy(ip);
        return;
    }
    // Whose connection it is, and whether that client may have one more, the header says.
    if let Some(slot) = ClientSlot::acquire(&served.served, None, queue).await {
        let Ok(tls) = handshakes(served) else {
            return;
        };
        let transport = Transport::accepted(stream);
        spawn_local(ClientConnection::of_proxy(transport, proxy, slot, tls));
    }
}

/// Waits for the next connection of `queue`, and while the listener may have no more, until it may.
async fn next(
    served: &ServedListener,
    listener: &AsyncFd<net::TcpListener>,
    queue: &mut WaitingQueue,
) -> io::Result<Accepted> {
    loop {
        let mut ready = listener.readable().await?;
        while served.is_full() {
            time::sleep(FULL_BACKOFF).await;
        }
        let take = |listener: &AsyncFd<net::TcpListener>| take(&served.context, listener.get_ref());
        match ready.try_io(take) {
            Ok(accepted) => return accepted,
            Err(_would_block) => queue.emptied(),
        }
    }
}

/// Accepts a waiting connection, and records whether descriptors are left: the kernel allocates one before it checks for a
/// waiting connection, so every other result shows that there are some.
fn take(context: &WorkerContext, listener: &net::TcpListener) -> io::Result<Accepted> {
    let taken = take_connection(listener);
    let exhausted = matches!(&taken, Err(error) if is_out_of_descriptors(error));
    context.counters().descriptors_exhausted.set(exhausted);
    taken
}

/// Accepts new connections, or drops their SYNs for a moment: clients repeat a SYN that got no SYN-ACK.
fn allow_new_connections(listener: &net::TcpListener, allow: bool) {
    let set = if allow {
        transport::accept_new_connections(listener)
    } else {
        transport::refuse_new_connections(listener)
    };
    if let Err(error) = set {
        tracing::debug!(%error, allow, "a listener cannot change whether it lets connections in");
    }
}

/// Closing a socket resets the connections in its queue. So new SYNs are dropped, and the queue is emptied first. A client
/// that connects meanwhile repeats its SYN, and finds the port closed.
async fn accept_the_rest(
    served: &Entrance,
    listener: &AsyncFd<net::TcpListener>,
    queue: &mut WaitingQueue,
) {
    // A handshake that is under way needs a round trip to reach the queue.
    const LAST_ARRIVALS: Duration = Duration::from_millis(200);
    allow_new_connections(listener.get_ref(), false);
    while let Ok(Ok((stream, client))) =
        time::timeout(LAST_ARRIVALS, next(served, listener, queue)).await
    {
        serve(served, stream, client, queue).await;
    }
}

/// A listener survives every error. Errors of one connection are ignored. When descriptors or memory run out, it closes an
/// idle connection and tries again in a moment.
async fn on_accept_error(context: &WorkerContext, error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        return;
    }
    context.accept_log.failed(error);
    if is_out_of_descriptors(error) {
        context.free_for_client();
    }
    time::sleep(ACCEPT_BACKOFF).await;
}
