//! Measures request rates.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::{
    liveness::{Tasks, Tick},
    snapshot::Snapshots,
    stats::{ClientShard, Rates, Sharded, Totals},
};

/// The interval at which rates are measured.
const RATE_SAMPLE: Duration = Duration::from_secs(1);

pub(super) fn measure_rates(
    clients: &Arc<Sharded<ClientShard>>,
    snapshots: &Snapshots,
    stop: &CancellationToken,
    tasks: &Tasks,
) -> Arc<Rates> {
    let rates = Arc::new(Rates::default());
    let tick = tasks.register("request rates");
    let sample = sample_rates(
        Arc::clone(&rates),
        Arc::clone(clients),
        snapshots.clone(),
        tick.clone(),
    );
    let sample = tick.watch(sample);
    tokio::spawn(stop.clone().run_until_cancelled_owned(sample));
    rates
}

async fn sample_rates(
    rates: Arc<Rates>,
    clients: Arc<Sharded<ClientShard>>,
    snapshots: Snapshots,
    tick: Tick,
) {
    let mut samples = time::interval(RATE_SAMPLE);
    loop {
        samples.tick().await;
        tick.tick();
        let client = Totals::sum(&clients).client;
        let snapshot = snapshots.current();
        let servers = snapshot.pools.iter().flat_map(|pool| pool.servers.iter());
        let servers = servers.map(|server| {
            let outcomes = server.live.outcomes();
            (server.desired.id, outcomes.success + outcomes.failed)
        });
        rates.sample(Instant::now(), client.success + client.failed, servers);
    }
}
