//! Applies the log, publishes each new state, and makes snapshots.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::{
    cluster::{
        error::Stopped,
        log::{
            history::{ChangedObjects, NotInHistory},
            invites::Invites,
            member_history::MemberHistory,
            proposal::{ProposalResult, Record, UnknownRecord},
            replica::{self, Replica},
            types::{Entry, LogId, RaftSnapshot, SnapshotMeta, StoredMembership, Types},
        },
    },
    model::{DesiredState, Revision},
};

use super::{log_store::LogStore, persistent_state::StoredSnapshot};

/// The state after the applied entries. Cheap to clone; survives a restart of the engine.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct StateMachine {
    applied: Arc<Mutex<AppliedState>>,
    published: Arc<watch::Sender<Arc<DesiredState>>>,
    /// Why this node stopped applying the log.
    stopped: Arc<watch::Sender<Option<Stopped>>>,
    log: LogStore,
    /// Ends the wait after an unknown record.
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct AppliedState {
    last: Option<LogId>,
    membership: StoredMembership,
    replica: Replica,
}

impl StateMachine {
    pub(in crate::cluster) fn new(log: LogStore, stop: CancellationToken) -> Self {
        let state = Arc::new(Replica::default().state);
        Self {
            applied: Arc::default(),
            published: Arc::new(watch::Sender::new(state)),
            stopped: Arc::new(watch::Sender::new(None)),
            log,
            stop,
        }
    }

    /// Ends the wait after an unknown record.
    pub(in crate::cluster) fn stop(&self) {
        self.stop.cancel();
    }

    /// The current state, and each later one.
    pub(in crate::cluster) fn states(&self) -> watch::Receiver<Arc<DesiredState>> {
        self.published.subscribe()
    }

    /// Why this node stopped applying the log; `None` if it did not.
    pub(in crate::cluster) fn stopped(&self) -> watch::Receiver<Option<Stopped>> {
        self.stopped.subscribe()
    }

    /// Whether the initial state was set.
    pub(in crate::cluster) fn has_begun(&self) -> bool {
        self.applied().replica.begun
    }

    /// The index of the last applied entry, and the replica at that index.
    pub(in crate::cluster) fn replica(&self) -> (Option<u64>, Replica) {
        let applied = self.applied();
        (applied.last.map(|last| last.index), applied.replica.clone())
    }

    /// The state at the last applied entry, and what has changed in it after the revision `after`.
    pub(in crate::cluster) fn changed_since(
        &self,
        after: Revision,
    ) -> Result<(DesiredState, ChangedObjects), NotInHistory> {
        let applied = self.applied();
        let Replica { state, history, .. } = &applied.replica;
        let changed = history.changed_since(after, state.revision)?;
        Ok((state.clone(), changed))
    }

    /// The members as of the last applied entry.
    pub(in crate::cluster) fn membership(&self) -> StoredMembership {
        self.applied().membership.clone()
    }

    /// Which invites there are.
    pub(in crate::cluster) fn invites(&self) -> Invites {
        self.applied().replica.invites.clone()
    }

    /// The last changes of the membership.
    pub(in crate::cluster) fn member_history(&self) -> MemberHistory {
        self.applied().replica.members.clone()
    }

    fn applied(&self) -> MutexGuard<'_, AppliedState> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes the newest state if it differs from the published one. Never publishes an older one.
    fn publish(&self) {
        let applied = self.applied();
        let newest = &applied.replica.state;
        self.published.send_if_modified(|shown| {
            let newer = newest.revision > shown.revision;
            // Revision 0 may be the default, or the initial state that the first proposal set.
            let other = newest.revision.0 == 0 && *newest != **shown;
            if newer || other {
                *shown = Arc::new(newest.clone());
            }
            newer || other
        });
    }

    /// Applies one entry.
    async fn apply_entry(&self, entry: Entry) -> io::Result<ProposalResult> {
        let log_id = entry.log_id;
        let result = match entry.payload {
            EntryPayload::Blank => ProposalResult::Nothing,
            EntryPayload::Membership(membership) => {
                let membership = StoredMembership::new(Some(log_id), membership);
                let applied = &mut *self.applied();
                let revision = applied.replica.state.revision;
                let members = &mut applied.replica.members;
                members.record(&applied.membership, &membership, revision);
                applied.membership = membership;
                ProposalResult::Nothing
            }
            EntryPayload::Normal(record) => {
                let result = self.applied().replica.apply(&record);
                match result {
                    Ok(result) => result,
                    Err(unknown) => {
                        return Err(self.wait_for_newer(log_id, &record, &unknown).await);
                    }
                }
            }
        };
        self.applied().last = Some(log_id);
        Ok(result)
    }

    /// Stops applying at a record that is not known, because nothing after it can be applied correctly. The engine
    /// continues to store the log and to vote, and the data path continues with the published state. Returns when the
    /// node stops.
    async fn wait_for_newer(
        &self,
        at: LogId,
        record: &Record,
        unknown: &UnknownRecord,
    ) -> io::Error {
        self.publish();
        let index = at.index;
        error!(
            index,
            version = record.version,
            reason = %unknown,
            "this weldr does not know a record of the log: it stops applying the log and serves the last state. \
             Start a newer version"
        );
        let reason = unknown.to_string();
        self.stopped.send_replace(Some(Stopped { index, reason }));
        self.stop.cancelled().await;
        io::Error::other("the node stops")
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let applied = self.applied();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut results = Vec::new();
        while let Some((entry, responder)) = entries.try_next().await? {
            let result = self.apply_entry(entry).await?;
            results.extend(responder.map(|responder| (responder, result)));
        }
        // Publish before the responses are sent, so that callers find the new state.
        self.publish();
        for (responder, result) in results {
            responder.send(result);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, state: Bytes) -> io::Result<()> {
        let replica = replica::decode(&state).map_err(io::Error::other)?;
        let snapshot = StoredSnapshot {
            meta: meta.clone(),
            state,
        };
        self.log.store_snapshot(snapshot).await?;
        *self.applied() = AppliedState {
            last: meta.last_log_id,
            membership: meta.last_membership.clone(),
            replica,
        };
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        let snapshot = self.log.snapshot();
        Ok(snapshot.map(|StoredSnapshot { meta, state }| RaftSnapshot {
            meta,
            snapshot: state,
        }))
    }
}

impl RaftSnapshotBuilder<Types> for StateMachine {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot> {
        let (meta, replica) = {
            let applied = self.applied();
            let meta = SnapshotMeta {
                last_log_id: applied.last,
                last_membership: applied.membership.clone(),
            };
            (meta, applied.replica.clone())
        };
        let encoded = tokio::task::spawn_blocking(move || replica::encode(&replica));
        let state: Bytes = encoded.await.map_err(io::Error::other)??.into();
        let snapshot = StoredSnapshot {
            meta: meta.clone(),
            state: state.clone(),
        };
        self.log.store_snapshot(snapshot).await?;
        Ok(RaftSnapshot {
            meta,
            snapshot: state,
        })
    }
}
