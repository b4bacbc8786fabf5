//! Starts the rotation of the secrets of TLS session tickets.

use tokio_util::sync::CancellationToken;

use crate::{
    cluster::Handle, config::Config, liveness::Tasks, model::wants_tickets, tickets,
    tls::TicketSecrets,
};

/// Rotates them, and gives them to the listeners of this node, until the node stops.
pub(super) fn start(
    config: &Config,
    cluster: &Handle,
    secrets: TicketSecrets,
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    // The listener of this option is in no desired state.
    let serves_tls = !config.listen_https.is_empty();
    let tick = tasks.register_slow("rotation of session tickets", tickets::LONGEST_STEP);
    let wants = move |state: &_| serves_tls || wants_tickets(state);
    let rotate = tickets::rotate(cluster.clone(), wants, tick.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(tick.watch(rotate)));
    let tick = tasks.register_silent("secrets of session tickets");
    let follow = tickets::follow(cluster.clone(), secrets);
    tokio::spawn(stop.clone().run_until_cancelled_owned(tick.watch(follow)));
}
