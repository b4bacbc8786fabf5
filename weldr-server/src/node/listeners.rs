//! Opens and closes the listeners that operators want.

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;
use weldr_proto::raft::v1::ListenerReport;

use super::{Shared, descriptors::warn_of_descriptors};
use crate::{
    budget::Budget,
    cluster::ListenerReporter,
    config::Config,
    model::{ListenerName, Timestamp},
    proxy::Workers,
    snapshot::{BindState, Snapshots},
};

/// Opens the listeners of the snapshots from now on, and says where the default one is.
pub(super) fn open_listeners(
    config: &Config,
    workers: &Workers,
    shared: &Shared,
    proxy_addresses: &[SocketAddr],
    stop: &CancellationToken,
) {
    let default = ListenerName::default();
    if let Some(view) = shared.snapshots.current().listeners.get(&default) {
        let state = if config.is_witness() {
            BindState::NotServed
        } else {
            BindState::Bound
        };
        let address = proxy_addresses.first().copied();
        view.live.set_binding(address, state, String::new());
    }
    log_listeners(config, proxy_addresses, &shared.budget);
    shared
        .cluster
        .report_listeners_with(listener_reporter(shared.snapshots.clone()));
    let addresses = config.listener_addresses.clone();
    // The budget has descriptors of their own for those that have an address here.
    let most = shared.budget.listeners + addresses.len();
    let binder = workers.binder(shared.snapshots.clone(), addresses, most);
    let tick = shared.tasks.register("listeners");
    let run = binder.run(stop.clone(), tick.clone());
    tokio::spawn(tick.watch(run));
}

/// Tells other nodes where this one listens.
fn listener_reporter(snapshots: Snapshots) -> ListenerReporter {
    ListenerReporter(Box::new(move || {
        let snapshot = snapshots.current();
        let listeners = snapshot.listeners.iter().map(|view| {
            // Read before the binding, which may only be newer.
            let followed = view.live.followed();
            let binding = view.live.binding();
            let address = binding.address.or(view.desired.spec.address);
            ListenerReport {
                name: view.name().to_string(),
                address: address
                    .map(|address| address.to_string())
                    .unwrap_or_default(),
                state: binding.state.as_str().to_owned(),
                reason: binding.description,
                since: Timestamp::from(binding.since).0,
                revision: followed.0,
            }
        });
        listeners.collect()
    }))
}

fn log_listeners(config: &Config, addresses: &[SocketAddr], budget: &Budget) {
    let workers = config.workers;
    for (index, address) in addresses.iter().enumerate() {
        if index < config.listen.len() {
            tracing::info!(%address, workers, "proxy listening");
        } else {
            tracing::info!(%address, workers, "proxy listening for HTTPS");
        }
    }
    warn_of_descriptors(config, budget);
}
