//! Makes a cluster of one node from what the node has, after the majority of its cluster was lost. Pure.

use std::collections::{BTreeMap, BTreeSet};

use openraft::EntryPayload;
use uuid::Uuid;

use crate::{
    cluster::{
        error::{RecoveryError, StoreError},
        log::{
            replica::{self, Replica},
            types::{Member, Membership, SnapshotMeta, StoredMembership},
        },
    },
    model::Revision,
};

use super::persistent_state::{PersistentState, StorageChange, StoredSnapshot};

/// What a recovery changes.
#[derive(Debug)]
pub(in crate::cluster) struct Recovery {
    /// To be written together.
    pub(in crate::cluster) changes: Vec<StorageChange>,
    /// The revision of the desired state that the node has.
    pub(in crate::cluster) revision: Revision,
    /// The nodes that are no members any more.
    pub(in crate::cluster) lost: Vec<Member>,
}

/// The last membership in the log.
pub(in crate::cluster) fn membership(persistent: &PersistentState) -> StoredMembership {
    let in_log = persistent.entries.values().rev().find_map(|entry| {
        let EntryPayload::Membership(membership) = &entry.payload else {
            return None;
        };
        Some(StoredMembership::new(
            Some(entry.log_id),
            membership.clone(),
        ))
    });
    let in_snapshot = persistent.snapshot.as_ref();
    in_log
        .or_else(|| in_snapshot.map(|snapshot| snapshot.meta.last_membership.clone()))
        .unwrap_or_default()
}

/// Makes `member`, whose state is `persistent`, the only node of the cluster with the new id `cluster`. All of its log is
/// applied, also what may never have been committed.
pub(in crate::cluster) fn plan(
    persistent: &PersistentState,
    member: &Member,
    cluster: Uuid,
) -> Result<Recovery, RecoveryError> {
    let id = persistent.identity.node;
    let before = membership(persistent);
    let last = persistent.last().ok_or(RecoveryError::Nothing)?;
    if before.voter_ids().eq([id]) {
        return Err(RecoveryError::Alone);
    }
    let mut replica = match &persistent.snapshot {
        Some(snapshot) => replica::decode(&snapshot.state).map_err(RecoveryError::Snapshot)?,
        None => Replica::default(),
    };
    for entry in persistent.entries.values() {
        if let EntryPayload::Normal(record) = &entry.payload {
            let applied = replica.apply(record);
            applied.map_err(|unknown| RecoveryError::Outdated(unknown.to_string()))?;
        }
    }
    if !replica.begun {
        return Err(RecoveryError::Nothing);
    }
    let nodes = BTreeMap::from([(id, member.clone())]);
    let alone = Membership::new(vec![BTreeSet::from([id])], nodes);
    let alone = alone.map_err(|_| RecoveryError::Nothing)?;
    let after = StoredMembership::new(Some(last), alone);
    let revision = replica.state.revision;
    replica.members.record(&before, &after, revision);
    let state = replica::encode(&replica).map_err(StoreError::Encode)?;
    let mut identity = persistent.identity;
    identity.cluster = Some(cluster);
    let snapshot = StoredSnapshot {
        meta: SnapshotMeta {
            last_log_id: Some(last),
            last_membership: after,
        },
        state: state.into(),
    };
    let others = before.nodes().filter(|(other, _)| **other != id);
    Ok(Recovery {
        changes: vec![
            StorageChange::Identity(identity),
            StorageChange::Snapshot(snapshot),
            StorageChange::Purge(last),
            StorageChange::Committed(Some(last)),
        ],
        revision,
        lost: others.map(|(_, member)| member.clone()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use openraft::entry::RaftEntry as _;
    use weldr_proto::raft::v1;

    use super::*;
    use crate::{
        cluster::{
            log::{
                convert,
                proposal::{Proposal, Record},
                types::Entry,
            },
            storage::persistent_state::Identity,
        },
        model::{Command, PoolName, PoolSettings, ServerSpec, Timestamp},
    };

    const OTHER: u64 = 2;

    fn entry(index: u64, payload: EntryPayload<Record, u64, Member>) -> Entry {
        Entry::new(convert::from_log_id(v1::LogId { term: 1, index }), payload)
    }

    /// A member of a cluster of two, with one server in its log.
    fn member_of_two() -> PersistentState {
        let mut persistent = PersistentState::new(Identity::random());
        let id = persistent.identity.node;
        persistent.identity.cluster = Some(Uuid::new_v4());
        let nodes = BTreeMap::from([(id, Member::default()), (OTHER, Member::default())]);
        let two = Membership::new(vec![BTreeSet::from([id, OTHER])], nodes).unwrap();
        let begin = Proposal::Begin {
            settings: PoolSettings::default(),
        };
        let add = Proposal::Change {
            command: Command::AddServer {
                pool: PoolName::default(),
                address: ([127, 0, 0, 1], 80).into(),
                spec: ServerSpec::default(),
                expected: None,
                at: Timestamp(0),
            },
            at: Timestamp(0),
            from: String::new(),
        };
        persistent.apply(&StorageChange::Append(vec![
            entry(0, EntryPayload::Membership(two)),
            entry(1, EntryPayload::Normal(Record::of(&begin))),
            entry(2, EntryPayload::Normal(Record::of(&add))),
        ]));
        persistent
    }

    #[test]
    fn a_node_becomes_the_only_one_with_all_that_it_has() {
        let before = member_of_two();
        let cluster = Uuid::new_v4();
        let recovery = plan(&before, &Member::default(), cluster).unwrap();
        assert_eq!((recovery.revision.0, recovery.lost.len()), (1, 1));
        let mut after = before.clone();
        for change in &recovery.changes {
            after.apply(change);
        }
        assert_eq!(after.identity.cluster, Some(cluster));
        assert_eq!(after.identity.node, before.identity.node);
        assert_eq!(after.last(), before.last());
        assert!(membership(&after).voter_ids().eq([before.identity.node]));
        let replica = replica::decode(&after.snapshot.as_ref().unwrap().state).unwrap();
        assert_eq!(replica.state.revision, recovery.revision);
        assert!(replica.members.is_removed(OTHER));
        let again = plan(&after, &Member::default(), cluster);
        assert!(matches!(again, Err(RecoveryError::Alone)), "{again:?}");
    }

    #[test]
    fn a_node_without_a_state_recovers_nothing() {
        let empty = PersistentState::new(Identity::random());
        let refused = plan(&empty, &Member::default(), Uuid::new_v4());
        assert!(
            matches!(refused, Err(RecoveryError::Nothing)),
            "{refused:?}"
        );
    }

    #[test]
    fn a_log_of_a_newer_version_is_not_recovered() {
        let mut newer = member_of_two();
        let record = Record {
            version: u32::MAX,
            ..Record::default()
        };
        let unknown = entry(3, EntryPayload::Normal(record));
        newer.apply(&StorageChange::Append(vec![unknown]));
        let refused = plan(&newer, &Member::default(), Uuid::new_v4());
        assert!(
            matches!(refused, Err(RecoveryError::Outdated(_))),
            "{refused:?}"
        );
    }
}
