//! Starts the consensus engine on the persistent state, and restarts it after a disk failure.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

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
        let settings = settings(self.timing, is_alone).map_err(OpenError::engine)?;
        let has_voted = self.log.persistent().vote.is_some();
        let is_outdated = self.log.has_committed_unknown();
        self.voting_rights
            .engine_starts(Instant::now(), self.timing.lease, has_voted, is_outdated);
        let config = Config {
            // `update_elections` permits them later.
            enable_elect: !has_voted && !is_outdated,
            ..settings
        };
        let network = Network(self.peers.clone());
        let (log, machine) = (self.log.clone(), self.machine.clone());
        let raft = Raft::new(self.local_id(), Arc::new(config), network, log, machine).await;
        self.raft
            .send_replace(Some(raft.map_err(OpenError::engine)?));
        Ok(())
    }

    /// Tells the engine whether it may ask for votes. A single node continues while it leaves, because no other node could
    /// lead.
    pub(in crate::cluster) fn update_elections(&self) {
        let Some((raft, metrics)) = self.raft().zip(self.metrics()) else {
            return;
        };
        let leaves = self.is_leaving() && self.has_other_voters(&metrics);
        let permitted = self.voting_rights.permit_candidacy(Instant::now());
        raft.runtime_config()
            .elect(permitted && !leaves && !self.has_stopped() && !self.is_removed());
    }

    /// Ends the engine, if there is one, and returns when it has ended.
    pub(in crate::cluster) async fn end_engine(&self) {
        let ended = self.raft.send_replace(None);
        if let Some(raft) = ended {
            // An error means that the engine panicked, which the panic hook reported.
            let _ = raft.shutdown().await;
        }
    }

    /// Goes back to what is on disk and starts the engine on it, unless the node stops.
    pub(in crate::cluster) async fn restart(&self) -> Result<(), OpenError> {
        if let Some(disk) = self.log.disk() {
            let persistent = disk.recover().await;
            let persistent = persistent.map_err(OpenError::engine)?;
            *self.log.persistent() = persistent;
        }
        self.start_engine().await?;
        if self.stop.is_cancelled() {
            // The stop of the node may have looked for an engine before this one was there.
            self.end_engine().await;
            return Ok(());
        }
        if let Some(raft) = self.raft()
            && self.is_only_voter(&raft).await
        {
            let _ = raft.trigger().elect(false).await;
        }
        Ok(())
    }
}

/// Restarts the engine each time that its disk has failed, as soon as the disk works again. Returns when the node
/// stops.
pub(in crate::cluster) async fn supervise(core: Arc<Core>, tick: Tick) {
    loop {
        let ended = core.stop.run_until_cancelled(engine_end(&core, &tick));
        // An engine that the stop of the node has ended may be seen before the stop is.
        if ended.await.is_none() || core.stop.is_cancelled() {
            return;
        }
        core.end_engine().await;
        loop {
            tick.tick();
            if core.stop.is_cancelled() {
                return;
            }
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
