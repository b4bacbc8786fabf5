//! The task of a client connection, from its first byte to its last.
//!
//! Most connections are idle most of the time. So an idle connection holds only a socket, an address and a deadline. The
//! state for serving is allocated when a byte arrives, and freed when the connection has been idle for a while.

use std::{
    mem,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use crate::{
    proxy::{
        accept::{named_client, secure},
        client::ClientSlot,
        transport::Transport,
    },
    tls::ServerTls,
};

use super::{idle::IdleClient, requests::serve};

/// A client connection, for as long as it is open.
pub(in crate::proxy) struct ClientConnection(ConnectionState);

enum ConnectionState {
    Idle(IdleClient),
    /// It is in a handshake, or serves requests.
    Works(Pin<Box<dyn Future<Output = Option<IdleClient>>>>),
    Over,
}

impl ClientConnection {
    /// Starts with a connection from which nothing was read.
    pub(in crate::proxy) fn new(
        transport: Transport,
        address: SocketAddr,
        slot: ClientSlot,
    ) -> Self {
        let deadline = slot.listener.context.deadlines.register();
        deadline.arm(slot.listener.client_idle());
        Self(ConnectionState::Idle(IdleClient {
            transport,
            address,
            deadline,
            slot,
            entry: None,
        }))
    }

    /// Starts with the handshake of a connection from which nothing was read.
    pub(in crate::proxy) fn secured(
        transport: Transport,
        address: SocketAddr,
        slot: ClientSlot,
        tls: Arc<ServerTls>,
    ) -> Self {
        Self(ConnectionState::Works(Box::pin(async move {
            let deadline = slot.listener.context.deadlines.register();
            let transport = secure(transport, &slot.listener, &tls, &deadline).await?;
            deadline.arm(slot.listener.client_idle());
            Some(IdleClient {
                transport,
                address,
                deadline,
                slot,
                entry: None,
            })
        })))
    }

    /// Starts with the header of the PROXY protocol on a connection of `proxy` from which nothing was read. `tls`: a handshake
    /// follows.
    pub(in crate::proxy) fn of_proxy(
        mut transport: Transport,
        proxy: SocketAddr,
        mut slot: ClientSlot,
        tls: Option<Arc<ServerTls>>,
    ) -> Self {
        Self(ConnectionState::Works(Box::pin(async move {
            let deadline = slot.listener.context.deadlines.register();
            let named = named_client(&mut transport, proxy, &slot.listener, &deadline).await?;
            slot.name_client(named).ok()?;
            if let Some(tls) = tls {
                transport = secure(transport, &slot.listener, &tls, &deadline).await?;
            }
            deadline.arm(slot.listener.client_idle());
            Some(IdleClient {
                transport,
                address: named.address,
                deadline,
                slot,
                entry: None,
            })
        })))
    }
}

impl Future for ClientConnection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let next = match &mut self.0 {
                ConnectionState::Works(working) => match ready!(working.as_mut().poll(cx)) {
                    Some(idle) => ConnectionState::Idle(idle),
                    None => ConnectionState::Over,
                },
                ConnectionState::Idle(idle) => {
                    let came = ready!(idle.poll(cx));
                    match (mem::replace(&mut self.0, ConnectionState::Over), came) {
                        (ConnectionState::Idle(idle), Some(buffer)) => {
                            ConnectionState::Works(Box::pin(serve(idle, buffer)))
                        }
                        _ => ConnectionState::Over,
                    }
                }
                ConnectionState::Over => return Poll::Ready(()),
            };
            self.0 = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With tokio's own fields, a task of this size fits an allocation of 256 bytes; a larger one takes twice that.
    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<ClientConnection>() <= 144);
    }
}
