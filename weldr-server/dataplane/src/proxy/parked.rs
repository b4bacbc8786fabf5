//! The task of a client's connection, from its first byte to its last.
//!
//! Most connections wait most of the time. So one that waits is a socket, an address and a deadline, and no more:
//! what serving takes is made when a byte comes, and given back when nothing has come for a while.

use std::{
    mem,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{
    buffer::Buffer,
    connection::{Parked, serve},
    flow::poll_fill,
    socket::Socket,
    worker::OpenConnection,
};

/// A connection of a client, for as long as it is open.
pub(super) struct ClientConnection(State);

enum State {
    Waits(Parked),
    Serves(Pin<Box<dyn Future<Output = Option<Parked>>>>),
    Over,
}

impl ClientConnection {
    /// Begins with a connection that has not been read from.
    pub(super) fn new(stream: Socket, address: SocketAddr, open: OpenConnection) -> Self {
        let worker = &open.worker;
        let deadline = worker.deadlines.register();
        deadline.arm(worker.timeouts.client_idle);
        Self(State::Waits(Parked {
            stream,
            address,
            deadline,
            open,
        }))
    }
}

impl Future for ClientConnection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let next = match &mut self.0 {
                State::Serves(serving) => match ready!(serving.as_mut().poll(cx)) {
                    Some(parked) => State::Waits(parked),
                    None => State::Over,
                },
                State::Waits(parked) => {
                    let came = ready!(parked.poll(cx));
                    match (mem::replace(&mut self.0, State::Over), came) {
                        (State::Waits(parked), Some(buffer)) => {
                            State::Serves(Box::pin(serve(parked, buffer)))
                        }
                        _ => State::Over,
                    }
                }
                State::Over => return Poll::Ready(()),
            };
            self.0 = next;
        }
    }
}

impl Parked {
    /// Waits for bytes, and says which. `None` when none will come, or none is to be waited for.
    ///
    /// Only a connection that is parked is closed for want of a request: one that had a request a moment ago may have the
    /// next one under way, and closing it would lose that.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Buffer>> {
        let worker = &self.open.worker;
        let mut buffer = Buffer::default();
        if let Poll::Ready(read) = poll_fill(cx, &mut self.stream, &mut buffer, &worker.buffers) {
            let came = matches!(read, Ok(1..));
            if !came {
                worker.buffers.take_back(&mut buffer);
            }
            return Poll::Ready(came.then_some(buffer));
        }
        if worker.closes_idle() {
            return Poll::Ready(None);
        }
        self.deadline.poll(cx).map(|_| None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With what tokio has around it, a task of so many bytes takes 256 of memory, and of more twice that.
    #[test]
    fn a_connection_that_waits_is_small() {
        assert!(size_of::<ClientConnection>() <= 144);
    }
}
