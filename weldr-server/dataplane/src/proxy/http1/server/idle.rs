//! A client connection between two requests.

use std::{
    net::SocketAddr,
    task::{Context, Poll},
    time::Instant,
};

use crate::buffer::Buffer;

use crate::proxy::{
    client::ClientSlot, deadline::Deadline, flow::poll_fill, idle_clients::IdleEntry,
    transport::Transport,
};

/// A client connection that waits for a request.
pub(super) struct IdleClient {
    pub(super) transport: Transport,
    /// The client's address.
    pub(super) address: SocketAddr,
    pub(super) deadline: Deadline,
    pub(super) slot: ClientSlot,
    /// Its place in the queue of idle connections, once a read found no bytes.
    pub(super) entry: Option<IdleEntry>,
}

impl IdleClient {
    /// Waits for bytes, and returns the first ones. `None` when the client has closed, or the connection must close.
    ///
    /// Only an idle connection is closed while waiting: right after a response, the next request may already be on its way,
    /// and closing the connection would lose it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Buffer>> {
        let listener = &self.slot.listener;
        let context = &listener.context;
        let mut buffer = Buffer::default();
        if let Poll::Ready(read) = poll_fill(cx, &mut self.transport, &mut buffer, &context.buffers)
        {
            self.entry = None;
            let came = matches!(read, Ok(1..));
            if !came {
                context.buffers.take_back(&mut buffer);
            }
            return Poll::Ready(came.then_some(buffer));
        }
        if listener.closes_idle() {
            return Poll::Ready(None);
        }
        if self.entry.is_none() {
            let idle = context.admission.idle();
            self.entry = Some(idle.enter(self.deadline.expiry_key(), Instant::now()));
        }
        if self.deadline.poll(cx).is_pending() {
            return Poll::Pending;
        }
        if self.transport.is_idle_in_kernel() {
            return Poll::Ready(None);
        }
        // Bytes have arrived, and the runtime will report them.
        self.entry = None;
        self.deadline.arm(listener.client_idle());
        self.deadline.poll(cx).map(|_| None)
    }
}
