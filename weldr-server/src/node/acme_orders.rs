//! Starts what obtains certificates by ACME.

use tokio_util::sync::CancellationToken;

use crate::{acme, cluster::Handle, liveness::Tasks};

/// Obtains and renews certificates while this node leads, until it stops.
pub(super) fn start(cluster: &Handle, tasks: &Tasks, stop: &CancellationToken) {
    let tick = tasks.register("certificates by acme");
    let manage = acme::manage(cluster.clone(), tick.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(tick.watch(manage)));
}
