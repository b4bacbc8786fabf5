//! The consensus engine's own test suite for storage.

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::cluster::{
    log::types::Types,
    storage::disk::Disk,
    storage::log_store::LogStore,
    storage::persistent_state::Identity,
    storage::state_machine::StateMachine,
    storage::store::{OpenedStore, Store},
};

struct OnDisk;

impl StoreBuilder<Types, LogStore, StateMachine, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<Types>> {
        let directory = tempdir().unwrap();
        let OpenedStore { store, persistent } = Store::open(directory.path()).unwrap();
        let disk = Disk::start(store, persistent.clone()).unwrap();
        let log = LogStore::new(persistent, Some(disk));
        let machine = StateMachine::new(log.clone(), CancellationToken::new());
        Ok((directory, log, machine))
    }
}

struct InMemory;

impl StoreBuilder<Types, LogStore, StateMachine, ()> for InMemory {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError<Types>> {
        let log = LogStore::new(PersistentState::new(Identity::random()), None);
        let machine = StateMachine::new(log.clone(), CancellationToken::new());
        Ok(((), log, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_on_disk_is_what_the_engine_expects() {
    Suite::test_all(OnDisk).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_in_memory_is_what_the_engine_expects() {
    Suite::test_all(InMemory).await.unwrap();
}
