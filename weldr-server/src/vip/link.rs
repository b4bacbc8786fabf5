//! Watches the interface of the addresses. An address on an interface without a link is reached by nobody, and a node that
//! holds it keeps it from the others.

use futures_util::StreamExt as _;
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::sync::watch;

use super::{interface::Interface, status::AddressStatus};
use crate::liveness::Tick;

/// Publishes in `linked` whether `interface` has a link, until the sender of `statuses` is dropped. The kernel tells of
/// changes; because it may lose a message, the interface is also looked at once a second.
pub(super) async fn watch(
    interface: String,
    linked: &watch::Sender<bool>,
    mut statuses: watch::Receiver<Vec<AddressStatus>>,
    tick: Tick,
) {
    let opened = new_multicast_connection(&[MulticastGroup::Link]);
    let (_connection, mut messages) = match opened {
        Ok((connection, _, messages)) => (
            Some(Connection(tokio::spawn(connection))),
            messages.left_stream(),
        ),
        Err(error) => {
            tracing::debug!(%error, "the kernel does not tell of links; looking once a second");
            (None, futures_util::stream::pending().right_stream())
        }
    };
    loop {
        tick.tick();
        publish(&interface, linked);
        tokio::select! {
            Some(_) = messages.next() => {}
            () = Tick::due() => {}
            changed = statuses.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

fn publish(interface: &str, linked: &watch::Sender<bool>) {
    let Ok(found) = Interface::look_up(interface) else {
        // Without descriptors nothing is known, and the readiness says so.
        return;
    };
    let is_linked = found.is_some_and(|found| found.is_linked);
    if linked.send_replace(is_linked) == is_linked {
        return;
    }
    if is_linked {
        tracing::info!(%interface, "the interface of the virtual addresses has a link again");
    } else {
        tracing::warn!(%interface, "the interface of the virtual addresses has no link: they are given up");
    }
}

/// The task of a netlink connection, which ends with its owner.
struct Connection(tokio::task::JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}
