//! What happens to a server by the passing of time, as this node sees it: its removal comes to an end, or it stays
//! unhealthy for too long. What becomes of it is decided by the council.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::AbortHandle,
    time::{self, Instant},
};

use crate::{
    model::ServerId,
    snapshot::{ServerView, Snapshots},
};

use super::local_votes::{Board, Verdict};

/// How often a draining server is asked whether something still runs on it. The data path tells nobody when
/// a request ends, so that requests of all other servers do not pay for it.
const LOOK: Duration = Duration::from_millis(5);

/// What is to happen, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FollowUp {
    /// The server is gone when nothing runs on it.
    EndRemoval,
    /// The server is removed, unless it becomes healthy before.
    Deregister {
        /// When it has been unhealthy for too long.
        at: Instant,
    },
}

/// A follow-up that is under way; called off, and its verdict withdrawn, when dropped.
#[derive(Debug)]
pub(super) struct Running {
    follow_up: FollowUp,
    server: ServerId,
    board: Board,
    holds: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Running {
    pub(super) fn follow_up(&self) -> FollowUp {
        self.follow_up
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
        // It may be past the point where it can be stopped.
        self.holds.store(false, Ordering::SeqCst);
        self.board.withdraw(self.server);
    }
}

/// What follow-ups need.
#[derive(Debug, Clone)]
pub(super) struct FollowUps {
    board: Board,
    snapshots: Snapshots,
}

impl FollowUps {
    pub(super) fn new(board: Board, snapshots: Snapshots) -> Self {
        Self { board, snapshots }
    }

    /// Begins what is due for a server, which snapshot `version` shows as it is.
    pub(super) fn begin(&self, due: FollowUp, server: &Arc<ServerView>, version: u64) -> Running {
        let (this, view) = (self.clone(), Arc::clone(server));
        let holds = Arc::new(AtomicBool::new(true));
        let still_holds = Arc::clone(&holds);
        let task = tokio::spawn(async move {
            let verdict = match due {
                FollowUp::EndRemoval => this.finished(&view, version).await,
                FollowUp::Deregister { at } => {
                    time::sleep_until(at).await;
                    Verdict::Overdue
                }
            };
            this.board.add(view.desired.id, verdict, &still_holds);
        });
        Running {
            follow_up: due,
            server: server.desired.id,
            board: self.board.clone(),
            holds,
            task: task.abort_handle(),
        }
    }

    async fn finished(&self, server: &ServerView, version: u64) -> Verdict {
        // Until then, a worker may be choosing it by an older snapshot.
        self.snapshots.seen_by_all_workers(version).await;
        while server.live.in_flight() > 0 {
            time::sleep(LOOK).await;
        }
        Verdict::Finished
    }
}
