//! The requests of a client connection, one after another.

use std::{future::poll_fn, pin::pin, rc::Rc, task::Poll};

use crate::{
    buffer::Buffer,
    proxy::{client::Client, context::WorkerContext, served_listener::ServedListener},
};

use super::{
    after::After,
    closing::close,
    head::{Awaited, next_head},
    idle::IdleClient,
    request,
};

/// Serves the requests of a connection; `buffer` holds the first bytes of the first. Returns the connection when it has
/// been idle for a while, and `None` when it has ended.
pub(super) async fn serve(idle: IdleClient, buffer: Buffer) -> Option<IdleClient> {
    let IdleClient {
        transport,
        address,
        deadline,
        slot,
        entry: _,
    } = idle;
    let served = Rc::clone(&slot.listener);
    let (context, listener) = (&served.context, served.current());
    let mut client = Client {
        peer: listener.peer(address, &transport),
        transport,
        buffer,
        destination: slot.destination(),
        served: Rc::clone(&served),
        listener,
        half_closed: false,
        deadline,
    };
    // A connection to another address does not pay for the question whether it must be reset.
    let is_virtual = context.is_to_virtual_address(&client.transport);
    let after = if is_virtual || served.is_removable {
        Box::pin(serve_until_reset(&served, is_virtual, &mut client)).await
    } else {
        serve_until_idle(context, &mut client).await
    };
    if let Some(after) = after {
        close(context, &mut client, after).await;
    }
    context.buffers.take_back(&mut client.buffer);
    let Client {
        transport,
        deadline,
        ..
    } = client;
    if after.is_some() {
        return None;
    }
    deadline.arm(served.client_idle());
    Some(IdleClient {
        transport,
        address,
        deadline,
        slot,
        entry: None,
    })
}

/// Serves requests as [`serve_until_idle`] does, or until the address of the connection leaves this machine, or the drain
/// of its listener is over.
async fn serve_until_reset(
    served: &ServedListener,
    is_virtual: bool,
    client: &mut Client,
) -> Option<After> {
    let context = &served.context;
    let mut serving = pin!(serve_until_idle(context, client));
    poll_fn(|cx| {
        // Whoever changes it wakes all tasks.
        if served.resets() || (is_virtual && context.resets()) {
            return Poll::Ready(Some(After::Reset));
        }
        serving.as_mut().poll(cx)
    })
    .await
}

/// Serves requests for as long as they come. Returns `None` when none arrived for a while.
async fn serve_until_idle(context: &Rc<WorkerContext>, client: &mut Client) -> Option<After> {
    loop {
        let after = match next_head(context, client).await {
            Awaited::Head(length) => request::serve(context, client, length).await,
            Awaited::Nothing => return None,
            Awaited::End => After::Cut,
            Awaited::Failed(error) => request::refuse(context, client, error).await,
        };
        if after != After::Keep {
            return Some(after);
        }
    }
}
