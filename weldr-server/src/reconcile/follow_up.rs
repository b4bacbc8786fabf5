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

use super::local_votes::{LocalVote, LocalVotes};

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
pub(super) struct RunningFollowUp {
    follow_up: FollowUp,
    server: ServerId,
    local_votes: LocalVotes,
    holds: Arc<AtomicBool>,
    task: AbortHandle,
}

impl RunningFollowUp {
    pub(super) fn follow_up(&self) -> FollowUp {
        self.follow_up
    }
}

impl Drop for RunningFollowUp {
    fn drop(&mut self) {
        self.task.abort();
        // It may be past the point where it can be stopped.
        self.holds.store(false, Ordering::SeqCst);
        self.local_votes.withdraw(self.server);
    }
}

/// What follow-ups need.
#[derive(Debug, Clone)]
pub(super) struct FollowUps {
    local_votes: LocalVotes,
    snapshots: Snapshots,
}

impl FollowUps {
    pub(super) fn new(local_votes: LocalVotes, snapshots: Snapshots) -> Self {
        Self {
            local_votes,
            snapshots,
        }
    }

    /// Begins what is due for a server, which snapshot `version` shows as it is.
    pub(super) fn begin(
        &self,
        due: FollowUp,
        server: &Arc<ServerView>,
        version: u64,
    ) -> RunningFollowUp {
        let (this, view) = (self.clone(), Arc::clone(server));
        let holds = Arc::new(AtomicBool::new(true));
        let still_holds = Arc::clone(&holds);
        let task = tokio::spawn(async move {
            let vote = match due {
                FollowUp::EndRemoval => this.finished(&view, version).await,
                FollowUp::Deregister { at } => {
                    time::sleep_until(at).await;
                    LocalVote::Overdue
                }
            };
            this.local_votes.add(view.desired.id, vote, &still_holds);
        });
        RunningFollowUp {
            follow_up: due,
            server: server.desired.id,
            local_votes: self.local_votes.clone(),
            holds,
            task: task.abort_handle(),
        }
    }

    async fn finished(&self, server: &ServerView, version: u64) -> LocalVote {
        // Until then, a worker may be choosing it by an older snapshot.
        self.snapshots.seen_by_all_workers(version).await;
        while server.live.in_flight() > 0 {
            time::sleep(LOOK).await;
        }
        LocalVote::Finished
    }
}
