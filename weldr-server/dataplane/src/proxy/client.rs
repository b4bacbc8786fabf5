//! A client connection, whatever it is doing.

use std::{future::poll_fn, io, net::SocketAddr, rc::Rc, task::Poll};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    accept::NamedClient,
    admission::WaitingQueue,
    client_addresses::AddressSlot,
    context::WorkerContext,
    deadline::Deadline,
    headers::Peer,
    served_listener::{AtLimit, ListenerContext, ServedListener},
    transport::{Cork, SecuredFacts, Transport},
};
use crate::buffer::Buffer;

/// The client of a connection, while its requests are served.
pub(super) struct Client {
    pub(super) transport: Transport,
    /// Bytes that the client sent and that no request has consumed.
    pub(super) buffer: Buffer,
    pub(super) peer: Peer,
    /// The address that the client connected to, if a proxy has named it.
    pub(super) destination: Option<SocketAddr>,
    pub(super) served: Rc<ServedListener>,
    /// The listener as it was when the last request began.
    pub(super) listener: Rc<ListenerContext>,
    /// Whether the client has ended its side of the connection.
    pub(super) half_closed: bool,
    pub(super) deadline: Deadline,
}

/// The other end of a client's connection, as the log shows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientEnd<'c> {
    pub(super) address: SocketAddr,
    /// What the TLS handshake agreed on, if there was one.
    pub(super) tls: Option<&'c SecuredFacts>,
}

impl Client {
    /// Follows the newest snapshot: changes of the listener take effect with the next request.
    pub(super) fn follow_listener(&mut self) {
        if let Some(newer) = self.served.newer(&self.listener) {
            self.peer = newer.peer(self.peer.address, &self.transport);
            self.listener = newer;
        }
    }

    /// The other end of the connection, for the log.
    pub(super) fn end(&self) -> ClientEnd<'_> {
        ClientEnd {
            address: self.peer.address,
            tls: self.transport.secured_facts(),
        }
    }

    /// Whether the client has sent something after its last request, as far as this thread has been told.
    pub(super) fn has_sent_more(&mut self) -> bool {
        !self.buffer.is_empty() || matches!(self.transport.read(&mut [0]), Ok(1..))
    }

    /// Writes all of `bytes`. Fails when the client takes nothing for as long as a body may stand still.
    pub(super) async fn write_all(
        &mut self,
        context: &WorkerContext,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.deadline.arm(context.timeouts.stream_idle);
        let mut written = 0;
        poll_fn(|cx| {
            while written < bytes.len() {
                let rest = &bytes[written..];
                match self.transport.poll_write(cx, rest, Cork::Off) {
                    Poll::Ready(Ok(more)) if more > 0 => written += more,
                    Poll::Ready(Ok(_)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        let expired = self.deadline.poll(cx);
                        return expired.map(|_| Err(io::ErrorKind::TimedOut.into()));
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }
}

/// Counts a client connection for as long as it is open.
pub(super) struct ClientSlot {
    pub(super) listener: Rc<ServedListener>,
    _permit: OwnedSemaphorePermit,
    particulars: Option<Box<Particulars>>,
}

/// What few connections have.
struct Particulars {
    /// Counts the connection for its client.
    _address: Option<AddressSlot>,
    /// The address that the client connected to, if a proxy has named it.
    destination: Option<SocketAddr>,
}

impl ClientSlot {
    /// Waits until one more connection, the first of `queue`, may be open. `None` when none may be any more.
    pub(super) async fn acquire(
        listener: &Rc<ServedListener>,
        address: Option<AddressSlot>,
        queue: &mut WaitingQueue,
    ) -> Option<Self> {
        let context = &listener.context;
        let permit = context.admission.admit(queue).await?;
        context.counters().connections.rise();
        context.counters().connections_total.add(1);
        context.admission.opened();
        listener.opened();
        Some(Self {
            listener: Rc::clone(listener),
            _permit: permit,
            particulars: address.map(|address| Particulars::boxed(Some(address), None)),
        })
    }

    /// Counts the connection for the client that a proxy has named.
    pub(super) fn name_client(&mut self, client: NamedClient) -> Result<(), AtLimit> {
        let listener = self.listener.current();
        let address = self.listener.admit(&listener, client.address.ip())?;
        self.particulars = Some(Particulars::boxed(address, client.destination));
        Ok(())
    }

    /// The address that the client connected to, if a proxy has named it.
    pub(super) fn destination(&self) -> Option<SocketAddr> {
        self.particulars.as_ref()?.destination
    }
}

impl Particulars {
    fn boxed(address: Option<AddressSlot>, destination: Option<SocketAddr>) -> Box<Self> {
        Box::new(Self {
            _address: address,
            destination,
        })
    }
}

impl Drop for ClientSlot {
    fn drop(&mut self) {
        let context = &self.listener.context;
        context.counters().connections.fall();
        context.admission.closed();
        self.listener.closed();
    }
}
