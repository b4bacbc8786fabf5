//! Starts the rotation of the secrets of TLS session tickets and of sticky cookies.

use tokio_util::sync::CancellationToken;

use crate::{
    cluster::Handle, config::Config, epochs, liveness::Tasks, model::SecretSeries,
    tls::TicketSecrets,
};

/// Rotates them, and gives those of tickets to the listeners of this node, until the node stops. Those of cookies are in the
/// snapshots.
pub(super) fn start(
    config: &Config,
    cluster: &Handle,
    tickets: TicketSecrets,
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    // The listener of this option is in no desired state.
    let serves_tls = !config.listen_https.is_empty();
    for (series, task) in [
        (SecretSeries::Tickets, "rotation of session tickets"),
        (SecretSeries::Stickiness, "rotation of sticky cookies"),
    ] {
        let is_needed = serves_tls && series == SecretSeries::Tickets;
        let wants = move |state: &_| is_needed || series.is_wanted(state);
        let tick = tasks.register_slow(task, epochs::LONGEST_STEP);
        let rotate = epochs::rotate(cluster.clone(), series, wants, tick.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(tick.watch(rotate)));
    }
    let tick = tasks.register_silent("secrets of session tickets");
    let follow = epochs::follow(cluster.clone(), tickets);
    tokio::spawn(stop.clone().run_until_cancelled_owned(tick.watch(follow)));
}
