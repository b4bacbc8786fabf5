//! A scripted server behind the proxy: a closure over hyper, or a script over bytes.
//!
//! It records all bytes that reach it, counts its connections, and can be stopped as a process that was
//! killed (nothing listens, open connections cut) and started again at the same port. The port stays
//! reserved in between, so that no other test can take it.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use hyper::{Request as HyperRequest, Response, body::Incoming};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};

use crate::{
    http1::{Framing, Head, ReadError, Reader, Request},
    serve::{self, Body, Handler},
    wait,
};

/// The queue of connections that were not accepted yet.
const BACKLOG: u32 = 1024;

type Script = Arc<dyn Fn(Conversation) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

#[derive(Clone)]
enum Behaviour {
    Serve(Handler),
    Script(Script),
}

/// A server on a port of its own.
#[derive(Debug)]
pub struct Origin {
    port: ReservedPort,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    behaviour: Behaviour,
    /// What was read of each connection, in the order of their coming.
    connections: Mutex<Vec<Record>>,
    abandoned: AtomicUsize,
    open: AtomicUsize,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// What was read of one connection.
type Record = Arc<Mutex<Vec<u8>>>;

impl Origin {
    /// An origin whose requests `response` responses; HTTP is hyper's.
    pub fn serve<F, Fut>(response: F) -> Self
    where
        F: Fn(HyperRequest<Incoming>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start_with(Behaviour::Serve(serve::handler(response)))
    }

    /// An origin that responds to every request with 200 and `body`.
    pub fn saying(body: &'static str) -> Self {
        Self::serve(move |_| async move { serve::response(200, body) })
    }

    /// An origin that responds to `/gated` as often as its semaphore permits, and to all else at once.
    ///
    /// # Panics
    /// Within a response, when the semaphore is closed.
    pub fn gated() -> (Self, Arc<Semaphore>) {
        let passes = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&passes);
        let origin = Self::serve(move |request| {
            let gate = Arc::clone(&gate);
            async move {
                if request.uri().path() == "/gated" {
                    gate.acquire().await.expect("an open gate").forget();
                }
                serve::response(200, "hi")
            }
        });
        (origin, passes)
    }

    /// An origin that runs `script` on each connection; the connection is closed when it returns.
    pub fn script<F, Fut>(script: F) -> Self
    where
        F: Fn(Conversation) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let script: Script = Arc::new(move |conversation| Box::pin(script(conversation)));
        Self::start_with(Behaviour::Script(script))
    }

    fn start_with(behaviour: Behaviour) -> Self {
        let mut origin = Self {
            port: ReservedPort::new(),
            shared: Arc::new(Shared {
                behaviour,
                connections: Mutex::default(),
                abandoned: AtomicUsize::new(0),
                open: AtomicUsize::new(0),
            }),
            accepting: None,
        };
        origin.start();
        origin
    }

    /// Where it listens, or would.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Stops as a killed process does: nothing listens, and open connections are cut.
    pub async fn stop(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            // Cancelled, as it was asked to be; dropped with it are its listener and its connections.
            let _cancelled = accepting.await;
        }
        wait::until("the origin's connections to be cut", async || {
            match self.shared.open.load(Relaxed) {
                0 => Ok(()),
                open => Err(open),
            }
        })
        .await;
    }

    /// Listens again at the same address.
    pub fn start(&mut self) {
        assert!(self.accepting.is_none(), "the origin runs already");
        let listener = self.port.listen();
        let shared = Arc::clone(&self.shared);
        self.accepting = Some(tokio::spawn(accept(listener, shared)));
    }

    /// How many connections were ever accepted.
    pub fn connections(&self) -> usize {
        locked(&self.shared.connections).len()
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Relaxed)
    }

    /// How many times the peer went away in [`Conversation::stall`].
    pub fn abandoned(&self) -> usize {
        self.shared.abandoned.load(Relaxed)
    }

    /// All bytes that came, one entry a connection.
    pub fn received(&self) -> Vec<Vec<u8>> {
        let connections = locked(&self.shared.connections);
        connections
            .iter()
            .map(|record| locked(record).clone())
            .collect()
    }

    /// All requests that came whole, connection by connection.
    ///
    /// # Panics
    /// When what came is not HTTP/1.1.
    pub async fn requests(&self) -> Vec<Request> {
        let mut requests = Vec::new();
        for bytes in self.received() {
            let mut reader = Reader::new(bytes.as_slice());
            loop {
                match reader.request().await {
                    Ok(request) => requests.push(request),
                    Err(ReadError::Closed | ReadError::Truncated(_)) => break,
                    Err(error) => panic!("{error}, in {}", bytes.escape_ascii()),
                }
            }
        }
        requests
    }

    /// The only request that came.
    pub async fn only_request(&self) -> Request {
        let mut requests = self.requests().await;
        assert_eq!(requests.len(), 1, "requests that came: {requests:#?}");
        requests.remove(0)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        // A connection that was reset in the queue is an error of `accept`; the next one is not.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let record = Record::default();
        let mut records = locked(&shared.connections);
        let index = records.len();
        records.push(Arc::clone(&record));
        drop(records);
        let open = Open::new(Arc::clone(&shared));
        connections.spawn(async move {
            let stream = Recorded { stream, record };
            converse(stream, index, &open.0).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: Recorded, index: usize, shared: &Arc<Shared>) {
    match &shared.behaviour {
        Behaviour::Serve(handler) => {
            // How a connection ended is what the test looks at from the other side.
            let _ended = serve::connection(stream, Arc::clone(handler)).await;
        }
        Behaviour::Script(script) => {
            script(Conversation {
                index,
                reader: Reader::new(stream),
                shared: Arc::clone(shared),
            })
            .await;
        }
    }
}

/// Counts a connection as open for as long as it lives.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: Arc<Shared>) -> Self {
        shared.open.fetch_add(1, Relaxed);
        Self(shared)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// A script's side of one connection.
#[derive(Debug)]
pub struct Conversation {
    /// The number of the connection at its origin, from 0.
    pub index: usize,
    reader: Reader<Recorded>,
    shared: Arc<Shared>,
}

impl Conversation {
    /// Reads one request whole; `None` when the peer closed instead.
    pub async fn request(&mut self) -> Option<Request> {
        self.reader.request().await.ok()
    }

    /// Reads the head of a request and leaves its body; `None` when the peer closed instead.
    pub async fn head(&mut self) -> Option<Head> {
        self.reader.head().await.ok()
    }

    /// Reads one chunk of a chunked body; `None` when the peer closed instead.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        self.reader.chunk().await.ok()
    }

    /// Reads `length` bytes of a body; `None` when the peer closed instead.
    pub async fn bytes(&mut self, length: usize) -> Option<Vec<u8>> {
        let (body, _) = self.reader.body(Framing::Length(length)).await.ok()?;
        Some(body)
    }

    /// Reads whatever comes until the peer says that it is done.
    pub async fn until_end(&mut self) -> Vec<u8> {
        match self.reader.body(Framing::Close).await {
            Ok((bytes, _)) | Err(ReadError::Truncated(bytes)) => bytes,
            Err(_) => Vec::new(),
        }
    }

    /// Says that nothing more will be written, and goes on reading.
    pub async fn finish_writing(&mut self) {
        let _gone = self.reader.get_mut().stream.shutdown().await;
    }

    /// Writes `bytes`; a peer that went away is no failure of the script.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let stream = &mut self.reader.get_mut().stream;
        let _gone = stream.write_all(bytes.as_ref()).await;
    }

    /// Says nothing more, until the peer goes away; counted in [`Origin::abandoned`].
    pub async fn stall(mut self) {
        while matches!(self.reader.fill().await, Ok(1..)) {}
        self.shared.abandoned.fetch_add(1, Relaxed);
    }

    /// Closes with RST instead of FIN.
    pub fn reset(self) {
        let stream = &self.reader.get_ref().stream;
        stream.set_zero_linger().expect("a connected socket");
    }
}

/// A stream that keeps a copy of what is read from it.
#[derive(Debug)]
struct Recorded {
    stream: TcpStream,
    record: Record,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        locked(&self.record).extend_from_slice(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A port of the loopback interface that is ours for as long as this lives.
///
/// It is bound and does not listen, so a connection to it is refused. Who sets `SO_REUSEADDR`, as every
/// server does, may listen on it all the same.
#[derive(Debug)]
pub struct ReservedPort {
    socket: TcpSocket,
}

impl ReservedPort {
    /// Reserves a free port.
    #[expect(
        clippy::new_without_default,
        reason = "it takes something from the system"
    )]
    pub fn new() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            socket: bind(any).expect("a free port on the loopback interface"),
        }
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket")
    }

    fn listen(&self) -> TcpListener {
        let bound = bind(self.address()).expect("a reserved port can be bound again");
        bound
            .listen(BACKLOG)
            .expect("a reserved port can be listened on")
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw;

    #[tokio::test]
    async fn records_requests_byte_for_byte_and_counts_connections() {
        let origin = Origin::saying("hi");
        let mut client = raw::Client::connect(origin.address()).await;
        let request = "POST /%2F HTTP/1.1\r\nhOST: a\r\nContent-Length: 2\r\n\r\nab";
        assert_eq!(client.exchange("POST", request).await.text(), "hi");
        assert_eq!(client.get("/").await.text(), "hi");
        let requests = origin.requests().await;
        assert_eq!(requests.len(), 2);
        assert_eq!(
            requests[0].raw_head,
            request.as_bytes()[..request.len() - 2]
        );
        assert_eq!(requests[0].body, b"ab");
        assert_eq!((origin.connections(), origin.open_connections()), (1, 1));
    }

    #[tokio::test]
    async fn stops_and_starts_at_the_same_port() {
        let mut origin = Origin::saying("hi");
        let address = origin.address();
        let mut client = raw::Client::connect(address).await;
        client.get("/").await;
        origin.stop().await;
        client.closed().await;
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        origin.start();
        assert_eq!(raw::get(address, "/").await.text(), "hi");
    }

    #[tokio::test]
    async fn a_script_closes_resets_and_sees_that_the_peer_went_away() {
        let origin = Origin::script(|mut conversation| async move {
            let request = conversation.request().await.unwrap();
            conversation
                .write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
                .await;
            match request.target.as_str() {
                "/reset" => conversation.reset(),
                "/stall" => conversation.stall().await,
                _ => {}
            }
        });
        for target in ["/close", "/reset"] {
            let mut client = raw::Client::connect(origin.address()).await;
            client.send(format!("GET {target} HTTP/1.1\r\n\r\n")).await;
            let read = client.try_response("GET").await;
            assert!(matches!(read, Err(ReadError::Truncated(_))), "{read:?}");
        }
        let mut client = raw::Client::connect(origin.address()).await;
        client.send("GET /stall HTTP/1.1\r\n\r\n").await;
        client.head().await;
        assert_eq!(origin.abandoned(), 0);
        drop(client);
        wait::until("the origin to see it", async || match origin.abandoned() {
            1 => Ok(()),
            other => Err(other),
        })
        .await;
    }
}
