//! The virtual addresses of the node, wired to the cluster and to the data path.

use std::{net::IpAddr, sync::Arc};

use tokio::sync::watch;

use super::client_drain::{ClientDrain, is_here};
use crate::{
    cluster::Handle,
    config::Config,
    liveness::Tasks,
    proxy::HandOver,
    stats::{ClientShard, Sharded},
    vip::{self, Vip},
};

/// Holds the virtual addresses while this node is the leader and the returned sender says that the data path serves.
pub(super) async fn hold_addresses(
    config: &Config,
    cluster: &Handle,
    hand_over: watch::Sender<HandOver>,
    clients: &Arc<Sharded<ClientShard>>,
    tasks: &Tasks,
) -> Result<(Option<Vip>, watch::Sender<bool>), vip::VipStartError> {
    let serving = watch::Sender::new(false);
    let Some(addresses) = config.vip.clone() else {
        return Ok((None, serving));
    };
    let inputs = vip::Inputs {
        lease: cluster.leadership(),
        serving: serving.subscribe(),
        led_last: cluster.led_last(),
        last_words: cluster.last_words(),
    };
    let vip = Vip::start(addresses, inputs, tasks).await?;
    cluster.set_step_down_hook(Arc::new(ClientDrain {
        hand_over,
        clients: Arc::clone(clients),
        addresses: vip.status(),
        guard: vip.guard(),
        conflicts: vip.conflicts(),
        linked: vip.observed_link(),
        release: vip.longest_release(),
    }));
    Ok((Some(vip), serving))
}

pub(super) fn virtual_addresses(config: &Config) -> Arc<[IpAddr]> {
    let addresses = config.vip.iter().flat_map(|vip| &vip.addresses);
    addresses.map(|address| address.ip()).collect()
}

/// The interface of the virtual addresses, and whether it has a link.
pub(super) fn link(config: &Config, vip: Option<&Vip>) -> Option<(String, watch::Receiver<bool>)> {
    let interface = config.vip.as_ref()?.interface.clone();
    Some((interface, vip?.linked()))
}

pub(super) fn holds_an_address(vip: &Vip) -> bool {
    vip.status().borrow().iter().any(is_here)
}
