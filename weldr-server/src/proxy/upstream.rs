//! A worker's connections to one server.
//!
//! A connection has no task of its own: the request that uses it drives it, so a byte from the server wakes
//! the one task that also writes to the client. One that nobody uses is not driven; before it is used
//! again, it is asked whether the server has closed it in the meantime.

use std::{
    cell::RefCell,
    future::{Future as _, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{self, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{
    config::Limits,
    model::ServerId,
    snapshot::{ConnectionSlot, LiveServer},
    stats::ServerShard,
};

use super::body::RequestBody;

type Driver = http1::Connection<TokioIo<TcpStream>, RequestBody>;

/// A server as one worker knows it.
pub(super) struct Upstream {
    pub(super) live: Arc<LiveServer>,
    worker: usize,
    /// The connection that was used last is used next: those beneath may grow old.
    idle: RefCell<Vec<IdleConnection>>,
    most_idle: usize,
}

struct IdleConnection {
    connection: Connection,
    sweeps: u32,
}

/// A connection to a server.
pub(super) struct Connection {
    sender: SendRequest<RequestBody>,
    driver: Option<Pin<Box<Driver>>>,
    /// Whether it has carried a request before.
    pub(super) reused: bool,
    _open: OpenConnection,
}

/// Counts the connection for as long as it is open.
struct OpenConnection {
    live: Arc<LiveServer>,
    worker: usize,
    _slot: ConnectionSlot,
}

impl Upstream {
    /// `most_idle`: how many unused connections this worker may keep.
    pub(super) fn new(live: Arc<LiveServer>, worker: usize, most_idle: usize) -> Rc<Self> {
        Rc::new(Self {
            live,
            worker,
            idle: RefCell::default(),
            most_idle,
        })
    }

    pub(super) fn id(&self) -> ServerId {
        self.live.id
    }

    pub(super) fn counters(&self) -> &ServerShard {
        self.live.shards.of(self.worker)
    }

    /// An unused connection that the server has not closed.
    pub(super) fn checkout(&self, cx: &mut Context<'_>) -> Option<Connection> {
        loop {
            let mut idle = self.idle.borrow_mut().pop()?.connection;
            idle.reused = true;
            if idle.is_fit(cx) {
                return Some(idle);
            }
        }
    }

    /// A new connection, unless there are as many as there may be.
    pub(super) fn slot(&self, limits: &Limits) -> Option<ConnectionSlot> {
        self.live.connection_slot(limits.server_connections)
    }

    /// Opens a connection.
    pub(super) async fn connect(
        &self,
        slot: ConnectionSlot,
        limits: &Limits,
    ) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.live.address).await?;
        if self.live.address.ip().is_loopback() && stream.local_addr()? == self.live.address {
            // TCP connects a port to itself when nothing listens there and it is chosen as the local one.
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::Builder::new()
            .max_headers(limits.headers)
            .max_header_size(limits.header_bytes)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let counters = self.counters();
        counters.connections.rise();
        counters.connections_total.add(1);
        let open = OpenConnection {
            live: Arc::clone(&self.live),
            worker: self.worker,
            _slot: slot,
        };
        Ok(Connection {
            sender,
            driver: Some(Box::pin(driver)),
            reused: false,
            _open: open,
        })
    }

    /// Keeps a connection for the next request, when it is fit for one and there is room.
    pub(super) fn release(&self, connection: Connection) {
        if !connection.is_ready() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.most_idle {
            idle.push(IdleConnection {
                connection,
                sweeps: 0,
            });
        }
    }

    /// Closes the unused connections that the server has closed, or that nobody used for `most_sweeps` calls.
    pub(super) fn sweep(&self, most_sweeps: u32) {
        let mut cx = Context::from_waker(Waker::noop());
        self.idle.borrow_mut().retain_mut(|idle| {
            idle.sweeps += 1;
            idle.sweeps <= most_sweeps && idle.connection.is_fit(&mut cx)
        });
    }

    /// Closes all unused connections.
    pub(super) fn close_idle(&self) {
        self.idle.borrow_mut().clear();
    }
}

impl Connection {
    /// Moves what can be moved, in both directions.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        let Some(driver) = &mut self.driver else {
            return;
        };
        // How it ended is told by the answer or by its body, not here.
        if driver.as_mut().poll(cx).is_ready() {
            self.driver = None;
        }
    }

    fn is_ready(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    fn is_fit(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx);
        self.is_ready()
    }

    /// Sends a request and waits for the head of the answer. `watch` is polled while it waits: what it
    /// returns ends the wait.
    pub(super) async fn send<W>(
        &mut self,
        request: Request<RequestBody>,
        mut watch: impl FnMut(&mut Context<'_>) -> Poll<W>,
    ) -> Sent<W> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            if let Some(driver) = &mut self.driver
                && driver.as_mut().poll(cx).is_ready()
            {
                self.driver = None;
            }
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(match answer {
                    Ok(answer) => Sent::Answered(answer),
                    Err(error) => Sent::Failed(Box::new(error)),
                });
            }
            watch(cx).map(Sent::Interrupted)
        })
        .await
    }
}

/// How sending a request ended.
pub(super) enum Sent<W> {
    /// With the head of an answer.
    Answered(Response<Incoming>),
    /// With an error of the connection.
    Failed(Box<TrySendError<Request<RequestBody>>>),
    /// The watch ended it.
    Interrupted(W),
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.live.shards.of(self.worker).connections.fall();
    }
}
