//! What happens to a server by the passing of time: the end of its removal, and the removal of one that
//! stays unhealthy.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::AbortHandle,
    time::{self, Instant},
};

use crate::{
    cluster::{Handle, ProposeError},
    model::{Command, PoolName, Timestamp},
    snapshot::{ServerView, Snapshots},
};

/// How often a draining server is asked whether something still runs on it. The data path tells nobody when
/// a request ends, so that requests of all other servers do not pay for it.
const LOOK: Duration = Duration::from_millis(5);
/// How long to wait before a command that could not be carried out is proposed again.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to happen, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FollowUp {
    /// The server is gone when nothing runs on it, or at the deadline.
    EndRemoval {
        /// When running requests are cut.
        deadline: Timestamp,
    },
    /// The server is removed, unless it becomes healthy before.
    Deregister {
        /// When it has been unhealthy for too long.
        at: Instant,
    },
}

/// A follow-up that is under way; called off when dropped.
#[derive(Debug)]
pub(super) struct Running {
    follow_up: FollowUp,
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
    }
}

/// What follow-ups need.
#[derive(Debug, Clone)]
pub(super) struct FollowUps {
    cluster: Handle,
    snapshots: Snapshots,
}

impl FollowUps {
    pub(super) fn new(cluster: Handle, snapshots: Snapshots) -> Self {
        Self { cluster, snapshots }
    }

    /// Begins what is due for a server, which snapshot `version` shows as it is.
    pub(super) fn begin(&self, due: FollowUp, server: &Arc<ServerView>, version: u64) -> Running {
        let (this, server) = (self.clone(), Arc::clone(server));
        let task = match due {
            FollowUp::EndRemoval { deadline } => {
                tokio::spawn(async move { this.end_removal(&server, deadline, version).await })
            }
            FollowUp::Deregister { at } => {
                tokio::spawn(async move { this.deregister(&server, at).await })
            }
        };
        Running {
            follow_up: due,
            task: task.abort_handle(),
        }
    }

    async fn end_removal(self, server: &ServerView, deadline: Timestamp, version: u64) {
        let finished = async {
            // Until then, a worker may be choosing it by an older snapshot.
            self.snapshots.seen_by_all_workers(version).await;
            while server.live.in_flight() > 0 {
                time::sleep(LOOK).await;
            }
        };
        let patience = deadline.remaining(Timestamp::now());
        let cut = time::timeout(patience, finished).await.is_err();
        let in_flight = server.live.in_flight();
        let desired = &server.desired;
        // Said first: the end of the removal is the end of this task.
        tracing::info!(server = %desired.address, id = %desired.id, cut, in_flight, "server leaves the pool");
        self.insist(Command::EndRemoval {
            pool: PoolName::default(),
            address: desired.address,
            id: desired.id,
        })
        .await;
    }

    async fn deregister(self, server: &ServerView, at: Instant) {
        time::sleep_until(at).await;
        let desired = &server.desired;
        tracing::warn!(
            server = %desired.address,
            id = %desired.id,
            reason = server.health.reason.as_str(),
            description = %server.health.description,
            "server is removed: it was unhealthy for longer than deregister_after"
        );
        self.insist(Command::BeginRemoval {
            pool: PoolName::default(),
            address: desired.address,
            id: Some(desired.id),
            deadline: None,
            expected: None,
            at: Timestamp::now(),
        })
        .await;
    }

    /// Proposes until it is carried out or refused.
    async fn insist(&self, command: Command) {
        loop {
            let error = match self.cluster.propose(command.clone()).await {
                Ok(_) | Err(ProposeError::Rejected(_) | ProposeError::ShuttingDown) => return,
                Err(
                    error @ (ProposeError::NotDurable(_)
                    | ProposeError::NoQuorum { .. }
                    | ProposeError::Unknown { .. }),
                ) => error,
            };
            let error = &error as &(dyn std::error::Error + Sync);
            tracing::error!(%error, "a server cannot be removed; trying again");
            time::sleep(PAUSE).await;
        }
    }
}
