//! Starts the rotation of the secrets of TLS session tickets.

use tokio_util::sync::CancellationToken;

use crate::{cluster::Handle, liveness::Tasks, model::wants_tickets, tickets};

/// Rotates them until the node stops.
pub(super) fn start(cluster: &Handle, tasks: &Tasks, stop: &CancellationToken) {
    let tick = tasks.register_slow("rotation of session tickets", tickets::LONGEST_STEP);
    let rotate = tickets::rotate(cluster.clone(), wants_tickets, tick.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(tick.watch(rotate)));
}
