//! The listener of the management port, its connections, and their shutdown.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::Router;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time,
};
use tokio_util::sync::CancellationToken;
use tower::Service as _;
use tracing::{debug, warn};

use super::{
    ManagementContext,
    lingering::Lingering,
    operations::Operations,
    peer::Peer,
    readiness::GrpcHealth,
    router::{Served, router},
};
use crate::{liveness::Tick, readiness::Readiness, warnings::Repeats};

/// The maximum number of concurrent calls on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// The time limit for the first request of a connection, and for the head of each HTTP/1 request.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The interval of keep-alive probes on an HTTP/2 connection, and the time limit for the response to one.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// The maximum size of the head of a request, in bytes.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// The time before the next `accept` after one failed for lack of a resource.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How often a warning about failures of `accept` is logged.
const WARNING_PERIOD: Duration = Duration::from_secs(10);
/// The time that running calls get to finish when the node stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The options of the management API.
#[derive(Debug, Clone, Copy)]
pub struct ServeOptions {
    /// Whether to serve REST in addition to gRPC, `/healthz` and `/readyz`.
    pub rest: bool,
    /// The maximum number of connections; more wait in the listener's queue.
    pub max_connections: usize,
}

/// A bound socket on which no connection is accepted yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
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
}

/// Binds `address`. Connections wait until [`serve`] accepts them.
pub async fn bind(address: SocketAddr) -> Result<Listener, ManagementBindError> {
    let failed = |source| ManagementBindError { address, source };
    let socket = TcpListener::bind(address).await.map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    Ok(Listener { socket, address })
}

/// Serves the API until `shutdown`. Then streams end, running calls may finish, and the function returns
/// after a few seconds at the latest. Nothing else ends it.
///
/// `readiness` is what `/readyz` and `grpc.health.v1` show. A node that stops first becomes unready, then lets its
/// data path finish, and ends the API last, so that operators can watch it drain.
pub async fn serve(
    listener: Listener,
    context: ManagementContext,
    options: ServeOptions,
    shutdown: CancellationToken,
    readiness: watch::Receiver<Readiness>,
) {
    let tick = context.tick.clone();
    let _end = tick.end();
    let (grpc_health, health) = GrpcHealth::new().await;
    let follow = grpc_health.follow(readiness.clone(), shutdown.clone());
    let router = router(Served {
        operations: Arc::new(Operations::new(context, shutdown.clone())),
        health,
        readiness,
        stop: shutdown.clone(),
        rest: options.rest,
        loopback: listener.address.ip().to_canonical().is_loopback(),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(tick.watch(follow));
    let max_tasks = tasks.len() + options.max_connections;
    accept(listener, &router, &shutdown, &mut tasks, max_tasks, &tick).await;
    let finished = async { while tasks.join_next().await.is_some() {} };
    if time::timeout(SHUTDOWN_TIMEOUT, finished).await.is_err() {
        debug!(connections = tasks.len(), "management connections cut");
    }
    tasks.shutdown().await;
}

/// Accepts connections until `shutdown`. Failures of single connections are ignored.
async fn accept(
    listener: Listener,
    router: &Router,
    shutdown: &CancellationToken,
    tasks: &mut JoinSet<()>,
    max_tasks: usize,
    tick: &Tick,
) {
    let mut failures = Repeats::new(WARNING_PERIOD, 1);
    loop {
        tick.tick();
        let accepted = tokio::select! {
            accepted = listener.socket.accept(), if tasks.len() < max_tasks => accepted,
            Some(_) = tasks.join_next() => continue,
            () = Tick::due() => continue,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                tasks.spawn(connection(
                    stream,
                    Peer(peer),
                    router.clone(),
                    shutdown.clone(),
                ));
            }
            Err(error) if ends_one_connection(&error) => {}
            Err(error) => {
                if let Some(suppressed) = failures.occurred(&(), Instant::now()) {
                    let suppressed = (suppressed > 0).then_some(suppressed);
                    let address = listener.address;
                    warn!(%error, %address, suppressed, "management listener cannot accept");
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

/// Serves one connection until it ends, sends no request in time, or `shutdown`.
async fn connection(stream: TcpStream, peer: Peer, router: Router, shutdown: CancellationToken) {
    // A failure only increases the latency.
    let _ = stream.set_nodelay(true);
    let has_request = AtomicBool::new(false);
    let service = service_fn(|mut request: Request<Incoming>| {
        has_request.store(true, Relaxed);
        request.extensions_mut().insert(peer);
        router.clone().call(request)
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
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                break connection.await;
            }
        }
    };
    if let Err(error) = result {
        debug!(peer = %peer.0, error, "management connection failed");
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
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}
