//! Tests of the whole cluster part through its interface, with failing disks and killed processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod damage;
mod durability;
mod earlier;
mod failing_disk;
mod hand_over;
mod kill;
pub(crate) mod newer;
mod objects;
mod refused;
mod simulation;
mod suite;
mod unknown;

use std::{io, net::SocketAddr, path::Path};

use tempfile::TempDir;

use openraft::EntryPayload;

use super::{Opened, StoreOptions, log::replica, open, storage::persistent_state::PersistentState};
use crate::model::{
    Command, DesiredState, PoolName, PoolSettings, Revision, ServerPatch, ServerSpec, Timestamp,
    Weight,
};

/// A directory in memory if possible: the tests harm processes and bytes, and thousands of syncs of a real disk would
/// take a minute.
fn tempdir() -> io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        return TempDir::new_in(memory);
    }
    TempDir::new()
}

fn options(directory: &Path) -> StoreOptions {
    StoreOptions {
        data_dir: Some(directory.to_owned()),
        name: "test".to_owned(),
        ..StoreOptions::default()
    }
}

fn open_in(directory: &Path) -> Opened {
    open(options(directory)).unwrap()
}

/// The state that a new process would find.
async fn reopened(directory: &Path) -> DesiredState {
    let Opened { handle, log, .. } = open_in(directory);
    let state = DesiredState::clone(&handle.current());
    log.stop().await;
    state
}

/// The state after all entries of the log, as if they were all committed, as with one voter.
fn state_of(persistent: &PersistentState) -> DesiredState {
    let mut replica = persistent
        .snapshot
        .as_ref()
        .map_or_else(Default::default, |snapshot| {
            replica::decode(&snapshot.state).unwrap()
        });
    for entry in persistent.entries.values() {
        if let EntryPayload::Normal(record) = &entry.payload {
            replica.apply(record).unwrap();
        }
    }
    replica.state
}

fn address(n: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 10_000 + n))
}

fn add(n: u16) -> Command {
    Command::AddServer {
        pool: PoolName::default(),
        address: address(n),
        spec: ServerSpec::default(),
        expected: None,
        at: Timestamp(u64::from(n)),
    }
}

fn weigh(n: u16, weight: u32) -> Command {
    Command::UpdateServer {
        pool: PoolName::default(),
        address: address(n),
        patch: ServerPatch {
            weight: Some(Weight::new(weight).unwrap()),
            ..ServerPatch::default()
        },
        expected: None,
        at: Timestamp(1_000),
    }
}

fn remove_now(n: u16) -> Command {
    Command::BeginRemoval {
        pool: PoolName::default(),
        address: address(n),
        id: None,
        deadline: Some(std::time::Duration::ZERO),
        expected: None,
        at: Timestamp(2_000),
    }
}

fn revision(n: u64) -> Revision {
    Revision(n)
}
