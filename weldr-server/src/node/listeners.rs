//! Opens and closes the listeners that operators want.

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    liveness::Tasks,
    model::ListenerName,
    proxy::Workers,
    snapshot::{BindState, Snapshots},
};

/// Opens the listeners of the snapshots from now on, and says where the default one is.
pub(super) fn open_listeners(
    config: &Config,
    workers: &Workers,
    snapshots: &Snapshots,
    tasks: &Tasks,
    proxy_addresses: &[SocketAddr],
    stop: &CancellationToken,
) {
    let default = ListenerName::default();
    if let Some(view) = snapshots.current().listeners.get(&default) {
        let state = if config.is_witness() {
            BindState::NotServed
        } else {
            BindState::Bound
        };
        let address = proxy_addresses.first().copied();
        view.live.set_binding(address, state, String::new());
    }
    let addresses = config.listener_addresses.clone();
    let binder = workers.binder(snapshots.clone(), addresses);
    let tick = tasks.register("listeners");
    let run = binder.run(stop.clone(), tick.clone());
    tokio::spawn(tick.watch(run));
}
