//! One connection of a client: its deadlines, and its requests one after another.

use std::{
    future::{Future as _, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use http::HeaderValue;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{deadline::Deadline, length_scan::LengthScan, service, worker::Worker};

/// Who sends the requests of a connection.
pub(super) struct Client {
    pub(super) address: SocketAddr,
    /// Its address as `X-Forwarded-For` has it.
    pub(super) forwarded_for: HeaderValue,
    pub(super) state: Arc<ConnectionState>,
}

/// What a connection is waiting for, as its socket and its requests tell.
///
/// Only the worker's thread uses it; it is atomic because hyper wants to hand sockets to other threads.
pub(super) struct ConnectionState {
    phase: AtomicU8,
    write_blocked: AtomicBool,
    length_seen: AtomicBool,
}

/// What the client's side of a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// The first byte of a request.
    Idle,
    /// The rest of its head.
    Header,
    /// A server: its own deadlines rule.
    Request,
    /// The client, to take the answer.
    Answer,
}

impl ConnectionState {
    fn new() -> Arc<Self> {
        let phase = AtomicU8::new(Phase::Idle as u8);
        Arc::new(Self {
            phase,
            write_blocked: AtomicBool::new(false),
            length_seen: AtomicBool::new(false),
        })
    }

    pub(super) fn request_begins(&self) {
        self.set_phase(Phase::Request);
    }

    pub(super) fn answer_begins(&self) {
        self.set_phase(Phase::Answer);
    }

    pub(super) fn request_ends(&self) {
        self.length_seen.store(false, Relaxed);
        self.set_phase(Phase::Idle);
    }

    /// Whether the head of the request that begins had a Content-Length, also one that hyper removed.
    pub(super) fn length_seen(&self) -> bool {
        self.length_seen.load(Relaxed)
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    fn phase(&self) -> Phase {
        [Phase::Idle, Phase::Header, Phase::Request, Phase::Answer]
            [usize::from(self.phase.load(Relaxed) & 3)]
    }
}

/// Serves the requests of `stream` until it ends.
pub(super) async fn serve(worker: Rc<Worker>, stream: TcpStream, address: SocketAddr) {
    let state = ConnectionState::new();
    let Ok(forwarded_for) = HeaderValue::try_from(address.ip().to_canonical().to_string()) else {
        return; // An address is made of visible characters.
    };
    let client = Rc::new(Client {
        address,
        forwarded_for,
        state: Arc::clone(&state),
    });
    let io = TokioIo::new(ClientStream {
        stream,
        state: Arc::clone(&state),
        scan: LengthScan::default(),
    });
    let service = {
        let worker = Rc::clone(&worker);
        service_fn(move |request| service::serve(Rc::clone(&worker), Rc::clone(&client), request))
    };
    let mut requests = pin!(
        http1::Builder::new()
            .max_headers(worker.limits.headers)
            .max_header_size(worker.limits.header_bytes)
            .serve_connection(io, service)
    );
    let mut patience = Patience::new(&worker, &state);
    let mut told_to_close = false;
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = requests.as_mut().poll(cx) {
            return Poll::Ready(ended.err());
        }
        if worker.closes_idle() && !told_to_close {
            told_to_close = true;
            requests.as_mut().graceful_shutdown();
            if let Poll::Ready(ended) = requests.as_mut().poll(cx) {
                return Poll::Ready(ended.err());
            }
        }
        patience.poll(cx).map(|()| None)
    })
    .await;
    if let Some(error) = ended {
        let error: &dyn std::error::Error = &error;
        tracing::debug!(client = %address, error, "connection of a client ended");
    }
}

/// The deadline of whatever the client is waited for.
struct Patience<'w> {
    worker: &'w Worker,
    state: &'w ConnectionState,
    deadline: Deadline,
    waits_for: Option<(Phase, bool)>,
}

impl<'w> Patience<'w> {
    fn new(worker: &'w Worker, state: &'w ConnectionState) -> Self {
        Self {
            worker,
            state,
            deadline: worker.deadlines.register(),
            waits_for: None,
        }
    }

    /// Ready when the client took too long. To be called when its connection can do no more.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waits_for = (self.state.phase(), self.state.write_blocked.load(Relaxed));
        if self.waits_for != Some(waits_for) {
            self.waits_for = Some(waits_for);
            let timeouts = &self.worker.timeouts;
            match waits_for {
                (Phase::Idle, _) => self.deadline.arm(timeouts.client_idle),
                (Phase::Header, _) => self.deadline.arm(timeouts.client_header),
                (Phase::Answer, true) => self.deadline.arm(timeouts.stream_idle),
                (Phase::Request, _) | (Phase::Answer, false) => self.deadline.disarm(),
            }
        }
        self.deadline.poll(cx).map(drop)
    }
}

/// A client's socket that tells the state of its connection what it does.
struct ClientStream {
    stream: TcpStream,
    state: Arc<ConnectionState>,
    scan: LengthScan,
}

impl ClientStream {
    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        self.state
            .write_blocked
            .store(written.is_pending(), Relaxed);
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let part = &buffer.filled()[before..];
        if part.is_empty() {
            return read;
        }
        if this.state.phase() == Phase::Idle {
            this.state.set_phase(Phase::Header);
            this.scan = LengthScan::default();
        }
        if this.state.phase() == Phase::Header {
            this.scan.feed(part);
            this.state.length_seen.store(this.scan.found(), Relaxed);
        }
        read
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.wrote(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
