//! The layout of the database.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format` | a number |
//! | `node` | `identity` | JSON |
//! | `node` | `vote`, `committed`, `purged`, `snapshot` | the messages of `raft.proto` |
//! | `log` | index | an `Entry` of `raft.proto` |
//! | `snapshot` | `state` | JSON |
//!
//! The values have no checksums of their own: the database keeps a checksum of each page, and all of them are verified
//! at each start.

use std::collections::BTreeMap;

use prost::Message;
use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};
use weldr_proto::raft::v1;

use crate::cluster::{
    error::{Damage, StoreError},
    log::{convert, types::Entry},
};

use super::persistent_state::{Identity, PersistentState, StorageChange, StoredSnapshot};

/// The version of the layout. A change that older versions would misread needs a new number.
pub(in crate::cluster) const FORMAT: u64 = 2;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const NODE: TableDefinition<&str, &[u8]> = TableDefinition::new("node");
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const SNAPSHOT: TableDefinition<&str, &[u8]> = TableDefinition::new("snapshot");

const FORMAT_KEY: &str = "format";
const IDENTITY_KEY: &str = "identity";
const VOTE_KEY: &str = "vote";
const COMMITTED_KEY: &str = "committed";
const PURGED_KEY: &str = "purged";
const SNAPSHOT_KEY: &str = "snapshot";
const STATE_KEY: &str = "state";

/// Why the rows cannot be read.
#[derive(Debug)]
pub(in crate::cluster) enum ReadError {
    Database(redb::Error),
    Damaged(Damage),
    OlderFormat,
    NewerFormat(u64),
}

impl<E: Into<redb::Error>> From<E> for ReadError {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

/// Writes `changes` in their order.
pub(in crate::cluster) fn write_changes<'a>(
    transaction: &WriteTransaction,
    changes: impl IntoIterator<Item = &'a StorageChange>,
) -> Result<(), StoreError> {
    for change in changes {
        write_change(transaction, change)?;
    }
    Ok(())
}

fn write_change(transaction: &WriteTransaction, change: &StorageChange) -> Result<(), StoreError> {
    match change {
        StorageChange::Identity(identity) => write_identity(transaction, identity),
        StorageChange::Vote(vote) => write_node(transaction, VOTE_KEY, &convert::vote(vote)),
        StorageChange::Committed(Some(committed)) => {
            write_node(transaction, COMMITTED_KEY, &convert::log_id(*committed))
        }
        StorageChange::Committed(None) => Ok(()),
        StorageChange::Append(entries) => write_entries(transaction, entries),
        StorageChange::TruncateAfter(last) => {
            let first = last.map_or(0, |last| last.saturating_add(1));
            remove_entries(transaction, first..=u64::MAX)
        }
        StorageChange::Purge(upto) => {
            write_node(transaction, PURGED_KEY, &convert::log_id(*upto))?;
            remove_entries(transaction, 0..=upto.index)
        }
        StorageChange::Snapshot(snapshot) => write_snapshot(transaction, snapshot),
    }
}

/// Replaces all rows by those of `persistent`.
pub(in crate::cluster) fn write_whole(
    transaction: &WriteTransaction,
    persistent: &PersistentState,
) -> Result<(), StoreError> {
    delete_tables(transaction)?;
    let mut meta = transaction.open_table(META).map_err(redb::Error::from)?;
    meta.insert(FORMAT_KEY, FORMAT).map_err(redb::Error::from)?;
    transaction.open_table(LOG).map_err(redb::Error::from)?;
    transaction
        .open_table(SNAPSHOT)
        .map_err(redb::Error::from)?;
    write_identity(transaction, &persistent.identity)?;
    if let Some(vote) = &persistent.vote {
        write_node(transaction, VOTE_KEY, &convert::vote(vote))?;
    }
    if let Some(committed) = persistent.committed {
        write_node(transaction, COMMITTED_KEY, &convert::log_id(committed))?;
    }
    if let Some(purged) = persistent.purged {
        write_node(transaction, PURGED_KEY, &convert::log_id(purged))?;
    }
    if let Some(snapshot) = &persistent.snapshot {
        write_snapshot(transaction, snapshot)?;
    }
    write_entries(transaction, persistent.entries.values())
}

fn delete_tables(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.delete_table(NODE)?;
    transaction.delete_table(LOG)?;
    transaction.delete_table(SNAPSHOT)?;
    Ok(())
}

fn write_identity(transaction: &WriteTransaction, identity: &Identity) -> Result<(), StoreError> {
    let value = serde_json::to_vec(identity)?;
    insert(transaction, NODE, IDENTITY_KEY, &value)
}

fn write_node(
    transaction: &WriteTransaction,
    key: &str,
    value: &impl Message,
) -> Result<(), StoreError> {
    insert(transaction, NODE, key, &value.encode_to_vec())
}

fn write_snapshot(
    transaction: &WriteTransaction,
    snapshot: &StoredSnapshot,
) -> Result<(), StoreError> {
    let meta = convert::snapshot_meta(&snapshot.meta);
    write_node(transaction, SNAPSHOT_KEY, &meta)?;
    insert(transaction, SNAPSHOT, STATE_KEY, &snapshot.state)
}

fn insert(
    transaction: &WriteTransaction,
    table: TableDefinition<&'static str, &'static [u8]>,
    key: &str,
    value: &[u8],
) -> Result<(), StoreError> {
    let mut table = transaction.open_table(table).map_err(redb::Error::from)?;
    table.insert(key, value).map_err(redb::Error::from)?;
    Ok(())
}

fn write_entries<'a>(
    transaction: &WriteTransaction,
    entries: impl IntoIterator<Item = &'a Entry>,
) -> Result<(), StoreError> {
    let mut log = transaction.open_table(LOG).map_err(redb::Error::from)?;
    for entry in entries {
        let value = convert::entry(entry).encode_to_vec();
        let inserted = log.insert(entry.log_id.index, value.as_slice());
        inserted.map_err(redb::Error::from)?;
    }
    Ok(())
}

fn remove_entries(
    transaction: &WriteTransaction,
    range: std::ops::RangeInclusive<u64>,
) -> Result<(), StoreError> {
    let mut log = transaction.open_table(LOG).map_err(redb::Error::from)?;
    log.retain_in(range, |_, _| false)
        .map_err(redb::Error::from)?;
    Ok(())
}

/// Reads the persistent state. The format is read first, because other formats cannot be read.
pub(in crate::cluster) fn read(
    transaction: &ReadTransaction,
) -> Result<PersistentState, ReadError> {
    read_format(transaction)?;
    let node = table_in("node", transaction.open_table(NODE))?;
    let Some(identity) = node.get(IDENTITY_KEY)? else {
        return Err(contradiction("node/identity", "is missing"));
    };
    let identity: Identity = serde_json::from_slice(identity.value())
        .map_err(|source| unreadable("node/identity", Box::new(source)))?;
    let mut persistent = PersistentState::new(identity);
    persistent.vote = message::<v1::Vote>(&node, VOTE_KEY)?.map(convert::from_vote);
    persistent.committed = message::<v1::LogId>(&node, COMMITTED_KEY)?.map(convert::from_log_id);
    persistent.purged = message::<v1::LogId>(&node, PURGED_KEY)?.map(convert::from_log_id);
    let meta = message::<v1::SnapshotMeta>(&node, SNAPSHOT_KEY)?;
    let state = table_in("snapshot", transaction.open_table(SNAPSHOT))?;
    let state = state
        .get(STATE_KEY)?
        .map(|state| state.value().to_vec().into());
    persistent.snapshot = match (meta, state) {
        (Some(meta), Some(state)) => {
            let meta = convert::from_snapshot_meta(meta)
                .map_err(|source| unreadable("node/snapshot", Box::new(source)))?;
            Some(StoredSnapshot { meta, state })
        }
        (None, None) => None,
        _ => {
            return Err(contradiction(
                "snapshot/state",
                "and node/snapshot do not match",
            ));
        }
    };
    persistent.entries = read_log(transaction)?;
    verify(&persistent)?;
    Ok(persistent)
}

fn read_format(transaction: &ReadTransaction) -> Result<(), ReadError> {
    let meta = table_in("meta", transaction.open_table(META))?;
    let format = meta.get(FORMAT_KEY)?.map(|value| value.value());
    match format {
        Some(FORMAT) => Ok(()),
        Some(1) => Err(ReadError::OlderFormat),
        Some(newer) if newer > FORMAT => Err(ReadError::NewerFormat(newer)),
        Some(_) => Err(contradiction("meta/format", "names an unknown format")),
        None => Err(contradiction("meta/format", "is missing")),
    }
}

fn message<M: Message + Default>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<M>, ReadError> {
    let Some(value) = table.get(key)? else {
        return Ok(None);
    };
    M::decode(value.value())
        .map(Some)
        .map_err(|source| unreadable(&format!("node/{key}"), Box::new(source)))
}

fn read_log(transaction: &ReadTransaction) -> Result<BTreeMap<u64, Entry>, ReadError> {
    let table = table_in("log", transaction.open_table(LOG))?;
    let mut entries = BTreeMap::new();
    for row in table.iter()? {
        let (key, value) = row?;
        let index = key.value();
        let name = || format!("log/{index}");
        let entry = v1::Entry::decode(value.value())
            .map_err(|source| unreadable(&name(), Box::new(source)))?;
        let entry =
            convert::from_entry(entry).map_err(|source| unreadable(&name(), Box::new(source)))?;
        if entry.log_id.index != index {
            return Err(contradiction(&name(), "holds an entry with another index"));
        }
        entries.insert(index, entry);
    }
    Ok(entries)
}

/// Checks what complete writes guarantee.
fn verify(persistent: &PersistentState) -> Result<(), ReadError> {
    let first = persistent.purged.map_or(0, |purged| purged.index + 1);
    let mut term = persistent.purged.map_or(0, |purged| purged.leader_id.term);
    for (expected, (index, entry)) in (first..).zip(&persistent.entries) {
        if *index != expected {
            return Err(contradiction(&format!("log/{expected}"), "is missing"));
        }
        if entry.log_id.leader_id.term < term {
            let row = format!("log/{index}");
            return Err(contradiction(
                &row,
                "is of an earlier term than the one before it",
            ));
        }
        term = entry.log_id.leader_id.term;
    }
    let snapshot = persistent
        .snapshot
        .as_ref()
        .and_then(|snapshot| snapshot.meta.last_log_id);
    if persistent.purged > snapshot {
        return Err(contradiction(
            "node/snapshot",
            "does not hold what was removed from the log",
        ));
    }
    if persistent.vote.map_or(0, |vote| vote.leader_id.term) < term {
        return Err(contradiction(
            "node/vote",
            "is of an earlier term than the log",
        ));
    }
    Ok(())
}

/// A table that was created with the database, so its absence is damage.
fn table_in<T>(name: &str, opened: Result<T, TableError>) -> Result<T, ReadError> {
    match opened {
        Ok(table) => Ok(table),
        Err(TableError::Storage(error)) => Err(error.into()),
        Err(_) => Err(contradiction(name, "has another type")),
    }
}

fn unreadable(row: &str, source: Box<dyn std::error::Error + Send + Sync>) -> ReadError {
    ReadError::Damaged(Damage::Row {
        row: row.to_owned(),
        source,
    })
}

fn contradiction(row: &str, contradiction: &'static str) -> ReadError {
    ReadError::Damaged(Damage::Contradiction {
        row: row.to_owned(),
        contradiction,
    })
}
