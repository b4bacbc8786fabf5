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
    cluster::{Handle, Verdicts},
    model::ServerId,
};

/// A verdict of this node; others hear of it with its next report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing runs on the server any more, and nothing will.
    Finished,
    /// It is unhealthy for longer than it may be.
    Overdue,
}

/// The verdicts that hold. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Board {
    cluster: Handle,
    verdicts: Arc<Mutex<Verdicts>>,
    changed: Arc<Notify>,
}

impl Board {
    pub(super) fn new(cluster: Handle) -> Self {
        Self {
            cluster,
            verdicts: Arc::default(),
            changed: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Verdicts> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The verdicts of this node.
    pub(super) fn verdicts(&self) -> Verdicts {
        self.lock().clone()
    }

    /// Returns when a verdict was added since the last call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Adds a verdict while `holds` says that it still does.
    pub(super) fn add(&self, server: ServerId, verdict: Verdict, holds: &AtomicBool) {
        let verdicts = {
            let mut verdicts = self.lock();
            if !holds.load(Ordering::SeqCst) {
                return;
            }
            set(&mut verdicts, verdict).insert(server.0);
            verdicts.clone()
        };
        self.cluster.tell(verdicts);
        self.changed.notify_one();
    }

    /// The server is gone, or as it should be.
    pub(super) fn withdraw(&self, server: ServerId) {
        let verdicts = {
            let mut verdicts = self.lock();
            let finished = verdicts.finished.remove(&server.0);
            if !verdicts.overdue.remove(&server.0) && !finished {
                return;
            }
            verdicts.clone()
        };
        self.cluster.tell(verdicts);
    }
}

fn set(verdicts: &mut Verdicts, verdict: Verdict) -> &mut BTreeSet<u64> {
    match verdict {
        Verdict::Finished => &mut verdicts.finished,
        Verdict::Overdue => &mut verdicts.overdue,
    }
}
