//! This node's votes to remove servers, which it reports to the leader of the cluster.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

use crate::{
    cluster::{DrainReport, Handle},
    model::ServerId,
};

/// A vote of this node about a server. Other nodes receive it with the next report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LocalVote {
    /// No request is left on the server, and no new one will start.
    Finished,
    /// The server has been unhealthy for longer than `deregister_after`.
    Overdue,
}

/// The current votes of this node. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct LocalVotes {
    cluster: Handle,
    report: Arc<Mutex<DrainReport>>,
    changed: Arc<Notify>,
}

impl LocalVotes {
    pub(super) fn new(cluster: Handle) -> Self {
        let report = DrainReport {
            abstains: cluster.is_witness(),
            ..DrainReport::default()
        };
        Self {
            cluster,
            report: Arc::new(Mutex::new(report)),
            changed: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, DrainReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current votes as a report.
    pub(super) fn report(&self) -> DrainReport {
        self.lock().clone()
    }

    /// Returns when a vote was added since the last call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Adds a vote, unless `holds` was set to false in the meantime.
    pub(super) fn add(&self, server: ServerId, vote: LocalVote, holds: &AtomicBool) {
        let report = {
            let mut report = self.lock();
            if !holds.load(Ordering::SeqCst) {
                return;
            }
            set(&mut report, vote).insert(server.0);
            report.clone()
        };
        self.cluster.set_drain_report(report);
        self.changed.notify_one();
    }

    /// Removes the votes about a server.
    pub(super) fn withdraw(&self, server: ServerId) {
        let report = {
            let mut report = self.lock();
            let finished = report.finished.remove(&server.0);
            if !report.overdue.remove(&server.0) && !finished {
                return;
            }
            report.clone()
        };
        self.cluster.set_drain_report(report);
    }
}

fn set(report: &mut DrainReport, vote: LocalVote) -> &mut BTreeSet<u64> {
    match vote {
        LocalVote::Finished => &mut report.finished,
        LocalVote::Overdue => &mut report.overdue,
    }
}
