//! The listener of the management port, its connections, and their shutdown.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
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
use http::{Request, Response};
use http_body::{Frame, SizeHint};
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
    connections::{Connections, Running, Seat, TooManyStreams},
    error::Error,
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
/// The most bytes that wait for the reader of a response on an HTTP/2 connection, besides the message that is written.
const MAX_QUEUED_BYTES: usize = 64 * 1024;
/// The calls whose response does not end by itself.
const STREAMS: [&str; 5] = [
    "/weldr.v1.Management/WatchServers",
    "/weldr.v1.Management/StreamStats",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
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
    /// The maximum number of connections; for a new one, the longest idle one is closed.
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
    let served = ServedConnections {
        router,
        shutdown,
        connections: Connections::new(options.max_connections),
        max_tasks: tasks.len() + options.max_connections,
    };
    accept(listener, &served, &mut tasks, &tick).await;
    let finished = async { while tasks.join_next().await.is_some() {} };
    if time::timeout(SHUTDOWN_TIMEOUT, finished).await.is_err() {
        debug!(connections = tasks.len(), "management connections cut");
    }
    tasks.shutdown().await;
}

/// What all connections share.
struct ServedConnections {
    router: Router,
    shutdown: CancellationToken,
    connections: Connections,
    /// The number of tasks at which no connection is accepted until one ends.
    max_tasks: usize,
}

/// Accepts connections until the shutdown. Failures of single connections are ignored.
async fn accept(
    listener: Listener,
    served: &ServedConnections,
    tasks: &mut JoinSet<()>,
    tick: &Tick,
) {
    let shutdown = &served.shutdown;
    let mut failures = Repeats::new(WARNING_PERIOD, 1);
    loop {
        tick.tick();
        let accepted = tokio::select! {
            accepted = listener.socket.accept(), if tasks.len() < served.max_tasks => accepted,
            Some(_) = tasks.join_next() => continue,
            () = Tick::due() => continue,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(seat) = served.connections.enter(peer.ip()) else {
                    debug!(%peer, "management connection refused: no other gives way");
                    continue;
                };
                let router = served.router.clone();
                let connection = connection(stream, Peer(peer), seat, router, shutdown.clone());
                tasks.spawn(connection);
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

/// Serves one connection until it ends, sends no request in time, has to give way, or `shutdown`.
async fn connection(
    stream: TcpStream,
    peer: Peer,
    seat: Seat,
    router: Router,
    shutdown: CancellationToken,
) {
    // A failure only increases the latency.
    let _ = stream.set_nodelay(true);
    let has_request = AtomicBool::new(false);
    let service = service_fn(|mut request: Request<Incoming>| {
        has_request.store(true, Relaxed);
        request.extensions_mut().insert(peer);
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
                debug!(peer = %peer.0, "management connection gives way to another one");
                return;
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

/// Serves a request, which counts as running until its response has ended.
fn counted(
    request: Request<Incoming>,
    mut router: Router,
    seat: &Seat,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
    let running = seat.begin(is_stream(request.uri().path()));
    async move {
        let running = match running {
            Ok(running) => running,
            Err(TooManyStreams { limit }) => {
                let refused = Error::TooManyStreams { limit };
                return Ok(refused.into_response_to(request.headers()));
            }
        };
        let response = router.call(request).await?;
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

/// Whether the response to a call of this path does not end by itself.
fn is_stream(path: &str) -> bool {
    STREAMS.contains(&path)
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

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// A streaming call that is missing in the list would not be limited.
    #[test]
    fn all_streaming_calls_are_known() {
        let sets = [
            weldr_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
        ];
        let mut found = 0;
        for set in sets {
            let set = prost_types::FileDescriptorSet::decode(set).unwrap();
            // The service for other nodes is on another port.
            let files = set
                .file
                .iter()
                .filter(|file| !file.package().starts_with("weldr.raft"));
            for file in files {
                for service in &file.service {
                    for method in service
                        .method
                        .iter()
                        .filter(|method| method.server_streaming())
                    {
                        let path =
                            format!("/{}.{}/{}", file.package(), service.name(), method.name());
                        assert!(is_stream(&path), "{path}");
                        found += 1;
                    }
                }
            }
        }
        assert_eq!(found, 3);
    }
}
