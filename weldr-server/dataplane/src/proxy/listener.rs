//! Where clients connect: a listening socket for each worker and address, between which the kernel shares
//! the connections out.

use std::{
    io,
    net::{self, SocketAddr},
    rc::Rc,
    time::Duration,
};

#[cfg(target_os = "linux")]
use rustix::{
    io::retry_on_intr,
    net::{SocketFlags, acceptfrom_with},
};
#[cfg(target_os = "linux")]
use socket2::SockFilter;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time,
};

use super::{
    socket::would_block,
    worker::{HandOver, Worker},
};

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Connections that are taken before anything else is looked at.
const AT_A_TIME: usize = 64;

/// A connection, and whose it is.
type Accepted = (net::TcpStream, SocketAddr);

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
    // What is accepted inherits it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts connections until the worker drains, then those that already wait.
pub(super) async fn accept(worker: Rc<Worker>, listener: AsyncFd<net::TcpListener>) {
    let mut hand_over = worker.hand_over.clone();
    let mut is_open = true;
    loop {
        tokio::select! {
            accepted = next(&listener) => {
                greet(&worker, accepted).await;
                greet_others(&worker, &listener).await;
            }
            Ok(()) = hand_over.changed() => {
                let told = *hand_over.borrow_and_update();
                let opens = matches!(told, HandOver::None | HandOver::Closing);
                if std::mem::replace(&mut is_open, opens) != opens {
                    let_in(listener.get_ref(), opens);
                }
            }
            () = worker.stop.cancelled() => break,
        }
    }
    accept_the_rest(&worker, &listener).await;
}

/// Serves those that came together with one that was accepted, without looking around after each.
async fn greet_others(worker: &Rc<Worker>, listener: &AsyncFd<net::TcpListener>) {
    for _ in 0..AT_A_TIME {
        let accepted = listener.try_io(Interest::READABLE, take);
        if would_block(&accepted) {
            return;
        }
        greet(worker, accepted).await;
    }
}

async fn greet(worker: &Rc<Worker>, accepted: io::Result<Accepted>) {
    match accepted {
        Ok((stream, client)) => worker.welcome(stream, client).await,
        Err(error) => bear(&error).await,
    }
}

/// Waits for the next connection.
async fn next(listener: &AsyncFd<net::TcpListener>) -> io::Result<Accepted> {
    listener.async_io(Interest::READABLE, take).await
}

/// Takes a connection that waits.
#[cfg(target_os = "linux")]
fn take(listener: &net::TcpListener) -> io::Result<Accepted> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (stream, client) = retry_on_intr(|| acceptfrom_with(listener, flags))?;
    let client = client.and_then(|client| SocketAddr::try_from(client).ok());
    // Such a connection has ended before it was taken.
    let client = client.ok_or(io::ErrorKind::ConnectionAborted)?;
    Ok((stream.into(), client))
}

/// Takes a connection that waits.
#[cfg(not(target_os = "linux"))]
fn take(listener: &net::TcpListener) -> io::Result<Accepted> {
    let (stream, client) = listener.accept()?;
    stream.set_nonblocking(true)?;
    Ok((stream, client))
}

/// Lets new connections in, or none for a moment: clients repeat what they did not get an answer to.
fn let_in(listener: &net::TcpListener, anybody: bool) {
    let socket = SockRef::from(listener);
    let told = if anybody {
        begin_handshakes(&socket)
    } else {
        begin_no_handshake(&socket)
    };
    if let Err(error) = told {
        tracing::debug!(%error, anybody, "a listener cannot be told what to let in");
    }
}

/// Closing a socket resets what waits in its queue. So nothing new is let in, and the queue is emptied first.
/// A client whose connection comes now repeats it, and finds the port closed.
async fn accept_the_rest(worker: &Rc<Worker>, listener: &AsyncFd<net::TcpListener>) {
    // A handshake that is under way needs a round trip to reach the queue.
    const LAST_ARRIVALS: Duration = Duration::from_millis(200);
    let_in(listener.get_ref(), false);
    while let Ok(Ok((stream, client))) = time::timeout(LAST_ARRIVALS, next(listener)).await {
        worker.welcome(stream, client).await;
    }
}

/// Has the kernel drop each SYN that comes from now on, and nothing else: a handshake that has begun ends, and
/// an accepted connection, which inherits the filter, gets no SYN.
#[cfg(target_os = "linux")]
fn begin_no_handshake(listener: &SockRef<'_>) -> io::Result<()> {
    // Classic BPF over the TCP header, as `linux/bpf_common.h` encodes it. Byte 13 holds the flags.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    listener.attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

/// Undoes [`begin_no_handshake`].
#[cfg(target_os = "linux")]
fn begin_handshakes(listener: &SockRef<'_>) -> io::Result<()> {
    listener.detach_filter()
}

/// Undoes [`begin_no_handshake`].
#[cfg(not(target_os = "linux"))]
fn begin_handshakes(listener: &SockRef<'_>) -> io::Result<()> {
    listener.listen(BACKLOG)
}

/// The next best thing: a queue without a place.
#[cfg(not(target_os = "linux"))]
fn begin_no_handshake(listener: &SockRef<'_>) -> io::Result<()> {
    listener.listen(0)
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
