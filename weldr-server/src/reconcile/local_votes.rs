//! What this node has to say of servers that are on their way out, for whoever leads the cluster.

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

/// A verdict of this node; others hear of it with its next report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LocalVote {
    /// Nothing runs on the server any more, and nothing will.
    Finished,
    /// It is unhealthy for longer than it may be.
    Overdue,
}

/// The verdicts that hold. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct LocalVotes {
    cluster: Handle,
    report: Arc<Mutex<DrainReport>>,
    changed: Arc<Notify>,
}

impl LocalVotes {
    pub(super) fn new(cluster: Handle) -> Self {
        Self {
            cluster,
            report: Arc::default(),
            changed: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, DrainReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The verdicts of this node.
    pub(super) fn report(&self) -> DrainReport {
        self.lock().clone()
    }

    /// Returns when a verdict was added since the last call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Adds a verdict while `holds` says that it still does.
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

    /// The server is gone, or as it should be.
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
