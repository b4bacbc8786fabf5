//! The connections of the management API, and their shutdown.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{Router, body::Body};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{sync::watch, task::JoinSet, time};
use tokio_util::sync::CancellationToken;
use tower::Service as _;
use tracing::{debug, warn};

use super::{
    ManagementContext,
    access::{Authenticator, Caller, Gate, Peer, is_stream},
    connections::{Connections, Running, Seat, TooManyStreams},
    error::Error,
    guard::Hosts,
    lingering::Lingering,
    listener::{Accepted, Listener, LocalListener, Stream},
    operations::Operations,
    readiness::GrpcHealth,
    router::{ServedHealth, health_router, router},
};
use crate::{liveness::Tick, readiness::Readiness, warnings::Repeats};

/// The maximum number of concurrent calls on one HTTP/2 connection: the smallest that RFC 9113 section 6.5.2 recommends.
const MAX_STREAMS: u32 = 100;
/// The time limit for the first request of a connection, and for the head of each HTTP/1 request.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The interval of keep-alive probes on an HTTP/2 connection, and the time limit for the response to one.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// The maximum size of the head of a request, in bytes.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// The most bytes that wait for the reader of a response on an HTTP/2 connection, besides the message that is written.
const MAX_QUEUED_BYTES: usize = 64 * 1024;
/// The connections of the Unix socket, and those of the port for health: a fraction of the others, within these bounds.
const FRACTION_OF_OTHERS: usize = 8;
const MIN_OF_OTHERS: usize = 4;
const MOST_OF_OTHERS: usize = 32;
/// The time limit for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The time before the next `accept` after one failed for lack of a resource.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How often a warning about failures of `accept` is logged.
const WARNING_PERIOD: Duration = Duration::from_secs(10);
/// The time that running calls get to finish when the node stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The options of the management API.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Whether to serve REST in addition to gRPC, `/healthz` and `/readyz`.
    pub rest: bool,
    /// The maximum number of connections; for a new one, the longest idle one is closed.
    pub max_connections: usize,
    /// Whether callers by TCP need a credential.
    pub authentication: bool,
    /// The names under which it is called, besides IP addresses and localhost.
    pub hosts: Vec<String>,
}

/// The sockets of the management API.
#[derive(Debug)]
pub struct Listeners {
    /// The TCP socket.
    pub tcp: Listener,
    /// The Unix socket, if there is one.
    pub local: Option<LocalListener>,
    /// The TCP socket that serves health only, if there is one.
    pub health: Option<Listener>,
}

/// Serves the API until `shutdown`. Then streams end, running calls may finish, and the function returns
/// after a few seconds at the latest. Nothing else ends it.
///
/// `readiness` is what `/readyz` and `grpc.health.v1` show. A node that stops first becomes unready, then lets its
/// data path finish, and ends the API last, so that operators can watch it drain.
pub async fn serve(
    listeners: Listeners,
    context: ManagementContext,
    options: ServeOptions,
    shutdown: CancellationToken,
    readiness: watch::Receiver<Readiness>,
) {
    let tick = context.tick.clone();
    let _end = tick.end();
    let (grpc_health, health) = GrpcHealth::new().await;
    let follow = grpc_health.follow(readiness.clone(), shutdown.clone());
    let Listeners {
        tcp,
        local,
        health: probes,
    } = listeners;
    let authenticator = Authenticator::new(context.cluster.clone(), options.authentication);
    let hosts = Hosts::new(options.hosts, tcp.tls().cloned());
    let gate = Arc::new(Gate::new(authenticator, hosts, options.rest));
    let health = ServedHealth {
        health,
        readiness,
        stop: shutdown.clone(),
        gate,
    };
    let only_health = health_router(health.clone());
    let operations = Arc::new(Operations::new(context, shutdown.clone()));
    let router = router(operations, health, options.rest);
    let follow = tokio::spawn(tick.watch(follow));
    let few = options.max_connections / FRACTION_OF_OTHERS;
    let few = few.clamp(MIN_OF_OTHERS, MOST_OF_OTHERS);
    let accepting = |socket, router: &Router, max_connections| Accepting {
        socket,
        served: ServedConnections {
            router: router.clone(),
            shutdown: shutdown.clone(),
            connections: Connections::new(max_connections),
            max_connections,
        },
        tasks: JoinSet::new(),
    };
    let mut all = vec![accepting(
        Socket::Tcp(tcp),
        &router,
        options.max_connections,
    )];
    all.extend(local.map(|socket| accepting(Socket::Local(socket), &router, few)));
    all.extend(probes.map(|socket| accepting(Socket::Tcp(socket), &only_health, few)));
    join_all(all.into_iter().map(|accepting| accepting.run(&tick))).await;
    follow.abort();
}

/// A socket that connections are accepted from.
enum Socket {
    Tcp(Listener),
    Local(LocalListener),
}

impl Socket {
    async fn accept(&self) -> io::Result<(Accepted, Peer)> {
        match self {
            Self::Tcp(listener) => listener.accept().await,
            Self::Local(listener) => listener.accept().await,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.address().to_string(),
            Self::Local(listener) => listener.path().display().to_string(),
        }
    }
}

/// What all connections share.
struct ServedConnections {
    router: Router,
    shutdown: CancellationToken,
    connections: Connections,
    /// The number of connections at which none is accepted until one ends.
    max_connections: usize,
}

/// Accepts connections of one socket and serves them.
struct Accepting {
    socket: Socket,
    served: ServedConnections,
    tasks: JoinSet<()>,
}

impl Accepting {
    /// Accepts connections until the shutdown, and then lets running calls finish.
    async fn run(mut self, tick: &Tick) {
        self.accept(tick).await;
        // From here on, the address can be used again.
        drop(self.socket);
        let mut tasks = self.tasks;
        let finished = async { while tasks.join_next().await.is_some() {} };
        if time::timeout(SHUTDOWN_TIMEOUT, finished).await.is_err() {
            debug!(connections = tasks.len(), "management connections cut");
        }
        tasks.shutdown().await;
    }

    /// Accepts connections until the shutdown. Failures of single connections are ignored.
    async fn accept(&mut self, tick: &Tick) {
        let shutdown = self.served.shutdown.clone();
        let mut failures = Repeats::new(WARNING_PERIOD, 1);
        loop {
            tick.tick();
            let has_room = self.tasks.len() < self.served.max_connections;
            let accepted = tokio::select! {
                accepted = self.socket.accept(), if has_room => accepted,
                Some(_) = self.tasks.join_next() => continue,
                () = Tick::due() => continue,
                () = shutdown.cancelled() => return,
            };
            match accepted {
                Ok((accepted, peer)) => self.begin(accepted, peer),
                Err(error) if ends_one_connection(&error) => {}
                Err(error) => {
                    if let Some(suppressed) = failures.occurred(&(), Instant::now()) {
                        let suppressed = (suppressed > 0).then_some(suppressed);
                        let address = self.socket.name();
                        warn!(%error, address, suppressed, "management listener cannot accept");
                    }
                    let backoff = time::sleep(ACCEPT_BACKOFF);
                    tokio::select! {
                        () = backoff => {}
                        () = shutdown.cancelled() => return,
                    }
                }
            }
        }
    }

    fn begin(&mut self, accepted: Accepted, peer: Peer) {
        let Some(seat) = self.served.connections.enter(peer.ip()) else {
            debug!(%peer, "management connection refused: no other gives way");
            return;
        };
        let router = self.served.router.clone();
        let connection = connection(accepted, peer, seat, router, self.served.shutdown.clone());
        self.tasks.spawn(connection);
    }
}

/// Whether an error of `accept` concerns only the connection that was accepted.
fn ends_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::Interrupted
    )
}

/// Serves one connection until it ends, sends no request in time, has to give way, or `shutdown`.
async fn connection(
    accepted: Accepted,
    peer: Peer,
    seat: Seat,
    router: Router,
    shutdown: CancellationToken,
) {
    let opened = tokio::select! {
        opened = opened(accepted, peer, &seat) => opened,
        () = shutdown.cancelled() => return,
    };
    let Some((stream, peer)) = opened else {
        return;
    };
    let has_request = AtomicBool::new(false);
    let service = service_fn(|mut request: Request<Incoming>| {
        has_request.store(true, Relaxed);
        request.extensions_mut().insert(peer.clone());
        counted(request, router.clone(), &seat)
    });
    let builder = builder();
    let stream = TokioIo::new(Lingering::new(stream));
    let mut connection = pin!(builder.serve_connection(stream, service));
    let mut timeout = pin!(time::sleep(REQUEST_HEAD_TIMEOUT));
    let mut waits_for_request = true;
    let result = loop {
        tokio::select! {
            result = connection.as_mut() => break result,
            () = timeout.as_mut(), if waits_for_request => {
                if !has_request.load(Relaxed) {
                    return;
                }
                waits_for_request = false;
            }
            () = seat.cut() => {
                debug!(%peer, "management connection gives way to another one");
                return;
            }
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                break connection.await;
            }
        }
    };
    if let Err(error) = result {
        debug!(%peer, error, "management connection failed");
    }
}

/// The connection when its handshake has ended, if that ends in time and has not to give way.
async fn opened(accepted: Accepted, peer: Peer, seat: &Seat) -> Option<(Stream, Peer)> {
    if matches!(accepted, Accepted::Tls(..)) {
        seat.handshake_begins();
    }
    let from = peer.clone();
    let handshake = time::timeout(HANDSHAKE_TIMEOUT, accepted.handshake(peer));
    let made = tokio::select! {
        made = handshake => made,
        () = seat.cut() => {
            debug!(peer = %from, "management connection gives way to another one");
            return None;
        }
    };
    seat.handshake_ends();
    match made {
        Ok(Ok(made)) => return Some(made),
        Ok(Err(error)) => debug!(peer = %from, %error, "management handshake failed"),
        Err(_) => debug!(peer = %from, "management handshake takes too long"),
    }
    None
}

/// Serves a request, which counts as running until its response has ended.
fn counted(
    request: Request<Incoming>,
    mut router: Router,
    seat: &Seat,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
    let running = seat.begin(is_stream(request.uri().path()));
    let reserve = seat.reserve();
    async move {
        let running = match running {
            Ok(running) => running,
            Err(TooManyStreams { limit }) => {
                let refused = Error::TooManyStreams { limit };
                return Ok(refused.into_response_to(request.headers()));
            }
        };
        let response = router.call(request).await?;
        let caller = response.extensions().get::<Caller>();
        if caller.is_some_and(Caller::has_reserved_room) {
            reserve.reserve();
        }
        Ok(response.map(|body| Body::new(CountedBody { body, running })))
    }
}

/// The body of a response, and what counts the request as running.
struct CountedBody {
    body: Body,
    #[allow(dead_code, reason = "it does its work when it is dropped")]
    running: Running,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES)
        .max_send_buf_size(MAX_QUEUED_BYTES)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}
