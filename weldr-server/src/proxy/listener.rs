//! Where clients connect: a listening socket for each worker and address, between which the kernel shares
//! the connections out.

use std::{
    io,
    net::{self, SocketAddr},
    rc::Rc,
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{net::TcpListener, time};

use super::worker::Worker;

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Bound sockets, one set for each worker.
#[derive(Debug)]
pub struct Listeners {
    pub(super) workers: Vec<Vec<net::TcpListener>>,
    addresses: Vec<SocketAddr>,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}{}", hint(.source))]
pub struct BindError {
    /// Which address.
    pub address: SocketAddr,
    /// Why.
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

impl Listeners {
    /// Binds each of `addresses` for each of `workers` workers. Port 0 takes a free port.
    pub fn bind(addresses: &[SocketAddr], workers: usize) -> Result<Self, BindError> {
        let mut listeners = Self {
            workers: Vec::new(),
            addresses: Vec::new(),
        };
        listeners.workers.resize_with(workers, Vec::new);
        for &address in addresses {
            let bound = |source| BindError { address, source };
            let actual = reserve(address).map_err(bound)?;
            listeners.addresses.push(actual);
            for sockets in &mut listeners.workers {
                sockets.push(listen(actual, true).map_err(bound)?);
            }
        }
        Ok(listeners)
    }

    /// The addresses, with the ports that were taken.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// Finds out whether `address` is free, and which port it gets. Sockets that share a port would be let in
/// beside those of another process without a word.
fn reserve(address: SocketAddr) -> io::Result<SocketAddr> {
    listen(address, false)?.local_addr()
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        // `[::]` beside `0.0.0.0` are two addresses, not one that excludes the other.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts connections until the worker drains, then those that already wait.
pub(super) async fn accept(worker: Rc<Worker>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = worker.stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, client)) => worker.welcome(stream, client).await,
            Err(error) => bear(&error).await,
        }
    }
    accept_the_rest(&worker, &listener).await;
}

/// Closing a socket resets what waits in its queue. So the kernel is told to queue no more, and the queue is
/// emptied first. A client whose connection comes now repeats it, and finds the port closed.
async fn accept_the_rest(worker: &Rc<Worker>, listener: &TcpListener) {
    // A handshake that is under way when the queue is closed needs a moment to reach it.
    const LAST_ARRIVALS: Duration = Duration::from_millis(20);
    if let Err(error) = SockRef::from(listener).listen(0) {
        tracing::debug!(%error, "the queue of a listener cannot be closed");
    }
    while let Ok(Ok((stream, client))) = time::timeout(LAST_ARRIVALS, listener.accept()).await {
        worker.welcome(stream, client).await;
    }
}

/// A listener survives every error: those of one connection are its own, and when descriptors run out, it
/// waits until some come back.
async fn bear(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        return;
    }
    tracing::warn!(%error, "cannot accept connections; trying again in a moment");
    time::sleep(Duration::from_millis(100)).await;
}
