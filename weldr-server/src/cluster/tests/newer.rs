//! A log that a newer version of Weldr wrote.

use super::*;
use crate::cluster::{
    log::{
        proposal::{RECORD_VERSION, Record},
        types::Entry,
    },
    storage::persistent_state::StorageChange,
    storage::store::{OpenedStore, Store},
};

/// The version of the record that this version of Weldr does not know.
pub(crate) const VERSION: u32 = RECORD_VERSION + 1;

/// A directory whose log adds `server` and ends with a record that this version does not know.
pub(crate) async fn directory(server: SocketAddr) -> TempDir {
    let directory = tempdir().unwrap();
    let Opened { handle, log, .. } = open_in(directory.path());
    let add = Command::AddServer {
        pool: PoolName::default(),
        address: server,
        spec: ServerSpec::default(),
        expected: None,
        at: Timestamp(1),
    };
    handle.propose(add).await.unwrap();
    log.stop().await;
    let OpenedStore {
        mut store,
        persistent,
    } = Store::open(directory.path()).unwrap();
    let mut log_id = persistent.last().unwrap();
    log_id.index += 1;
    let newer = Record {
        version: VERSION,
        proposal: b"{\"teleport\":{}}".as_slice().into(),
        id: 1,
        validated: true,
    };
    let entry = Entry {
        log_id,
        payload: EntryPayload::Normal(newer),
    };
    store
        .write(&persistent, &[StorageChange::Append(vec![entry])])
        .unwrap();
    store.close().unwrap();
    directory
}
