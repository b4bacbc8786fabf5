//! What is in the database, as rows.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format`, `revision` | a number |
//! | `pools` | name | JSON: the settings, and the revisions of the settings and of the servers |
//! | `servers` | pool, `ip:port` | JSON: [`Server`] |
//!
//! The values carry no checksums of their own: the database keeps one of each page, and all of them are
//! verified at each start.

use std::{fmt, net::SocketAddr, sync::Arc};

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    batch::Changes,
    error::{Damage, StoreError},
};
use crate::model::{DesiredState, Pool, PoolName, PoolSettings, Revision, Server};

/// The layout of the tables. A change that older versions would misread gets a new number.
pub(super) const FORMAT: u64 = 1;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const POOLS: TableDefinition<&str, &[u8]> = TableDefinition::new("pools");
const SERVERS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("servers");

const FORMAT_KEY: &str = "format";
const REVISION_KEY: &str = "revision";

#[derive(Serialize, Deserialize)]
struct PoolRow {
    settings: PoolSettings,
    settings_revision: Revision,
    servers_revision: Revision,
}

impl PoolRow {
    fn of(pool: &Pool) -> Self {
        Self {
            settings: pool.settings.clone(),
            settings_revision: pool.settings_revision,
            servers_revision: pool.servers_revision,
        }
    }
}

/// Why the rows do not make a state.
#[derive(Debug)]
pub(super) enum ReadError {
    Database(redb::Error),
    Damaged(Damage),
    NewerFormat(u64),
}

impl<E: Into<redb::Error>> From<E> for ReadError {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

/// Writes the rows that `changes` names as they are in `state`; a server that is not there loses its row.
pub(super) fn write_changes(
    transaction: &WriteTransaction,
    state: &DesiredState,
    changes: &Changes,
) -> Result<(), StoreError> {
    write_meta(transaction, state)?;
    let mut pools = transaction.open_table(POOLS).map_err(redb::Error::from)?;
    for name in &changes.pools {
        if let Some(pool) = state.pools.get(name) {
            write_pool(&mut pools, name, pool)?;
        }
    }
    let mut servers = transaction.open_table(SERVERS).map_err(redb::Error::from)?;
    for (name, address) in &changes.servers {
        match state.server(name, *address) {
            Ok(server) => write_server(&mut servers, name, server)?,
            Err(_gone) => {
                let key = address.to_string();
                servers
                    .remove((name.as_str(), key.as_str()))
                    .map_err(redb::Error::from)?;
            }
        }
    }
    Ok(())
}

/// Replaces all rows by those of `state`.
pub(super) fn write_whole(
    transaction: &WriteTransaction,
    state: &DesiredState,
) -> Result<(), StoreError> {
    transaction.delete_table(POOLS).map_err(redb::Error::from)?;
    transaction
        .delete_table(SERVERS)
        .map_err(redb::Error::from)?;
    write_meta(transaction, state)?;
    let mut pools = transaction.open_table(POOLS).map_err(redb::Error::from)?;
    let mut servers = transaction.open_table(SERVERS).map_err(redb::Error::from)?;
    for (name, pool) in &state.pools {
        write_pool(&mut pools, name, pool)?;
        for server in pool.servers.values() {
            write_server(&mut servers, name, server)?;
        }
    }
    Ok(())
}

fn write_meta(transaction: &WriteTransaction, state: &DesiredState) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    meta.insert(FORMAT_KEY, FORMAT)?;
    meta.insert(REVISION_KEY, state.revision.0)?;
    Ok(())
}

fn write_pool(
    table: &mut Table<&'static str, &'static [u8]>,
    name: &PoolName,
    pool: &Pool,
) -> Result<(), StoreError> {
    let value = serde_json::to_vec(&PoolRow::of(pool))?;
    let inserted = table.insert(name.as_str(), value.as_slice());
    inserted.map_err(redb::Error::from)?;
    Ok(())
}

fn write_server(
    table: &mut Table<(&'static str, &'static str), &'static [u8]>,
    pool: &PoolName,
    server: &Server,
) -> Result<(), StoreError> {
    let (key, value) = (server.address.to_string(), serde_json::to_vec(server)?);
    let inserted = table.insert((pool.as_str(), key.as_str()), value.as_slice());
    inserted.map_err(redb::Error::from)?;
    Ok(())
}

/// The state that the rows make.
pub(super) fn read(transaction: &ReadTransaction) -> Result<DesiredState, ReadError> {
    let revision = read_meta(transaction)?;
    let mut state = DesiredState {
        revision,
        pools: std::collections::BTreeMap::new(),
    };
    read_pools(transaction, &mut state)?;
    read_servers(transaction, &mut state)?;
    if !state.pools.contains_key(&PoolName::default()) {
        let row = format!("pools/{}", PoolName::default());
        return Err(contradiction(row, "is missing"));
    }
    Ok(state)
}

/// The revision; the format first, because nothing else may be read of a newer one.
fn read_meta(transaction: &ReadTransaction) -> Result<Revision, ReadError> {
    let meta = table_in("meta", transaction.open_table(META))?;
    let number = |key: &str| -> Result<u64, ReadError> {
        let value = meta.get(key)?.map(|value| value.value());
        value.ok_or_else(|| contradiction(format!("meta/{key}"), "is missing"))
    };
    match number(FORMAT_KEY)? {
        FORMAT => Ok(Revision(number(REVISION_KEY)?)),
        newer if newer > FORMAT => Err(ReadError::NewerFormat(newer)),
        _ => Err(contradiction(
            format!("meta/{FORMAT_KEY}"),
            "names a format that never was",
        )),
    }
}

fn read_pools(transaction: &ReadTransaction, state: &mut DesiredState) -> Result<(), ReadError> {
    let table = table_in("pools", transaction.open_table(POOLS))?;
    for entry in table.iter()? {
        let (key, value) = entry?;
        let row = || format!("pools/{}", key.value());
        let name: PoolName = key
            .value()
            .parse()
            .map_err(|_| contradiction(row(), "has a key that names no pool"))?;
        let parsed: PoolRow = parse(row, value.value())?;
        if parsed.settings_revision.max(parsed.servers_revision) > state.revision {
            return Err(contradiction(row(), LATER_THAN_ALL));
        }
        let pool = Pool {
            settings_revision: parsed.settings_revision,
            servers_revision: parsed.servers_revision,
            ..Pool::new(parsed.settings)
        };
        state.pools.insert(name, pool);
    }
    Ok(())
}

fn read_servers(transaction: &ReadTransaction, state: &mut DesiredState) -> Result<(), ReadError> {
    let table = table_in("servers", transaction.open_table(SERVERS))?;
    for entry in table.iter()? {
        let (key, value) = entry?;
        let (pool, address) = key.value();
        let row = || format!("servers/{pool}/{address}");
        let server: Server = parse(row, value.value())?;
        if address.parse::<SocketAddr>() != Ok(server.address) {
            return Err(contradiction(row(), "holds a server with another address"));
        }
        let named = |(name, _): &(&PoolName, &mut Pool)| name.as_str() == pool;
        let Some((_, pool)) = state.pools.iter_mut().find(named) else {
            return Err(contradiction(row(), "belongs to no pool"));
        };
        if server.revision > pool.servers_revision || server.id.0 > server.revision.0 {
            return Err(contradiction(row(), LATER_THAN_ALL));
        }
        pool.servers.insert_mut(server.address, Arc::new(server));
    }
    Ok(())
}

const LATER_THAN_ALL: &str = "has a later revision than what contains it";

/// A table that was written at creation and cannot be gone.
fn table_in<T>(name: &str, opened: Result<T, TableError>) -> Result<T, ReadError> {
    match opened {
        Ok(table) => Ok(table),
        Err(TableError::Storage(error)) => Err(error.into()),
        Err(_) => Err(contradiction(name.to_owned(), "is not the table it was")),
    }
}

fn parse<T: DeserializeOwned>(row: impl Fn() -> String, value: &[u8]) -> Result<T, ReadError> {
    serde_json::from_slice(value)
        .map_err(|source| ReadError::Damaged(Damage::Row { row: row(), source }))
}

fn contradiction(row: impl fmt::Display, contradiction: &'static str) -> ReadError {
    ReadError::Damaged(Damage::Contradiction {
        row: row.to_string(),
        contradiction,
    })
}
