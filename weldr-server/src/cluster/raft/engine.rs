//! Starts the consensus engine on the persistent state, and restarts it after a disk failure.

use std::{sync::Arc, time::Duration};

use openraft::{Config, async_runtime::watch::WatchReceiver as _};
use tokio::time;

use crate::{
    cluster::{error::OpenError, network::calls::Network},
    liveness::Tick,
};

use super::{
    core::{Core, Raft},
    settings::settings,
};

/// The pause between two attempts to use a disk that failed.
const DISK_PAUSE: Duration = Duration::from_millis(100);

impl Core {
    /// Starts the engine on the persistent state.
    pub(in crate::cluster) async fn start_engine(&self) -> Result<(), OpenError> {
        let is_alone = self.member.address.is_empty();
        let settings = settings(is_alone).map_err(OpenError::engine)?;
        let config = Config {
            enable_elect: !self.log.has_committed_unknown(),
            ..settings
        };
        let network = Network(self.peers.clone());
        let (log, machine) = (self.log.clone(), self.machine.clone());
        let raft = Raft::new(self.local_id(), Arc::new(config), network, log, machine).await;
        self.raft
            .send_replace(Some(raft.map_err(OpenError::engine)?));
        Ok(())
    }

    async fn restart(&self) -> Result<(), OpenError> {
        if let Some(disk) = self.log.disk() {
            let persistent = disk.recover().await;
            let persistent = persistent.map_err(OpenError::engine)?;
            *self.log.persistent() = persistent;
        }
        self.start_engine().await?;
        let alone = self
            .metrics()
            .is_some_and(|metrics| self.is_alone(&metrics));
        if let Some(raft) = self.raft().filter(|_| alone) {
            let _ = raft.trigger().elect(false).await;
        }
        Ok(())
    }
}

/// Restarts the engine each time that its disk has failed, as soon as the disk works again. Returns when the node
/// stops.
pub(in crate::cluster) async fn supervise(core: Arc<Core>, tick: Tick) {
    while core
        .stop
        .run_until_cancelled(engine_end(&core, &tick))
        .await
        .is_some()
    {
        let ended = core.raft.send_replace(None);
        if let Some(raft) = ended {
            let _ = raft.shutdown().await;
        }
        loop {
            tick.tick();
            match core.restart().await {
                Ok(()) => break,
                Err(error) => tracing::debug!(%error, "the engine cannot start yet"),
            }
            let pause = time::sleep(DISK_PAUSE);
            if core.stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }
}

/// Returns when the engine has stopped with an error.
async fn engine_end(core: &Core, tick: &Tick) {
    let Some(raft) = core.raft.borrow().clone() else {
        return;
    };
    let mut metrics = raft.metrics();
    loop {
        if let Err(fatal) = &metrics.borrow_watched().running_state {
            tracing::debug!(error = %fatal, "the engine has ended");
            return;
        }
        tick.tick();
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() {
                return;
            },
            () = Tick::due() => {}
        }
    }
}
