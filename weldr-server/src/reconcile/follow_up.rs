//! What becomes due for a server as time passes: the end of its removal, or its deregistration after being unhealthy
//! for too long. This node votes for it; the removal controller decides.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{self, Instant},
};

use crate::{
    clock,
    model::{Removal, ServerId},
    snapshot::{ServerView, Snapshots},
};

use super::local_votes::{LocalVote, LocalVotes};

/// The pause between two checks whether a draining server has requests left. The data path reports no ends of requests,
/// because that would cost time for every request.
const LOOK: Duration = Duration::from_millis(5);

/// The pause between two looks at how much is left of the time of a removal.
const MEASURE: Duration = Duration::from_millis(50);

/// What is due for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FollowUp {
    /// The sessions of a sticky pool are sent elsewhere when they had their part of the time of the removal.
    EndSessions {
        /// The removal.
        removal: Removal,
    },
    /// The removal ends when the server has no requests left.
    EndRemoval,
    /// The server is removed, unless it becomes healthy before.
    Deregister {
        /// When the server will have been unhealthy for `deregister_after`.
        at: Instant,
    },
}

/// A pending follow-up. Dropping it cancels it and withdraws its vote.
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
        // The task may be too far to be stopped.
        self.holds.store(false, Ordering::SeqCst);
        self.local_votes.withdraw(self.server);
    }
}

/// What follow-ups share.
#[derive(Debug, Clone)]
pub(super) struct FollowUps {
    local_votes: LocalVotes,
    snapshots: Snapshots,
    /// Takes the servers whose sessions had their time.
    ended_sessions: mpsc::Sender<ServerId>,
}

impl FollowUps {
    pub(super) fn new(
        local_votes: LocalVotes,
        snapshots: Snapshots,
        ended_sessions: mpsc::Sender<ServerId>,
    ) -> Self {
        Self {
            local_votes,
            snapshots,
            ended_sessions,
        }
    }

    /// Starts the follow-up `due` of a server, which snapshot `version` shows in its current state.
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
                FollowUp::EndSessions { removal } => {
                    sessions_had_their_time(&view, removal).await;
                    // Fails only when the node stops.
                    let _ = this.ended_sessions.send(view.desired.id).await;
                    return;
                }
                FollowUp::EndRemoval => this.finished(&view, version).await,
                FollowUp::Deregister { at } => {
                    // Checks see nothing while this process does not run.
                    clock::sleep(at.saturating_duration_since(Instant::now())).await;
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
        // Until then, a worker may choose the server by an older snapshot.
        self.snapshots.seen_by_all_workers(version).await;
        while server.live.in_flight() > 0 {
            time::sleep(LOOK).await;
        }
        LocalVote::Finished
    }
}

/// Waits until half of the time of a removal is over. The other half is for the requests that run then: if sessions stayed to the
/// end, requests that have just begun would be cut.
async fn sessions_had_their_time(server: &ServerView, removal: Removal) {
    while server.live.drain_left(removal) > removal.drain_deadline / 2 {
        time::sleep(MEASURE).await;
    }
}
