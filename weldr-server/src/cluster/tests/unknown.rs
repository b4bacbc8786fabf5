//! A record of a newer weldr in the log.

use super::*;
use crate::cluster::{
    ProposeError,
    kept::Change,
    store::{OpenedStore, Store},
    types::{Entry, RECORD_VERSION, Record},
};

/// A directory whose log ends with what a newer weldr has written.
async fn with_a_newer_record() -> TempDir {
    let directory = tempdir().unwrap();
    let Opened { handle, log, .. } = open_in(directory.path());
    handle.propose(add(1)).await.unwrap();
    log.stop().await;
    let OpenedStore { mut store, kept } = Store::open(directory.path()).unwrap();
    let mut log_id = kept.last().unwrap();
    log_id.index += 1;
    let newer = Record {
        version: RECORD_VERSION + 1,
        order: b"{\"teleport\":{}}".as_slice().into(),
        id: 1,
    };
    let entry = Entry {
        log_id,
        payload: EntryPayload::Normal(newer),
    };
    store.write(&kept, &[Change::Append(vec![entry])]).unwrap();
    store.close().unwrap();
    directory
}

/// It stops applying, says so, and serves what it has; nothing of the log is lost.
#[tokio::test]
async fn a_node_that_does_not_know_a_record_serves_what_it_has() {
    let directory = with_a_newer_record().await;
    let Opened { handle, log, .. } = open_in(directory.path());
    let mut stopped = handle.stopped();
    let reason = stopped
        .wait_for(Option::is_some)
        .await
        .unwrap()
        .clone()
        .unwrap();
    assert!(reason.to_string().contains("it has version 2"), "{reason}");
    assert_eq!(handle.current().revision, revision(1));
    let refused = handle.propose(add(2)).await.unwrap_err();
    assert!(
        matches!(refused, ProposeError::NoQuorum { .. }),
        "{refused:?}"
    );
    assert_eq!(handle.current().revision, revision(1));
    log.stop().await;
    let kept = Store::open(directory.path()).unwrap().kept;
    let newer = kept.entries.values().any(|entry| match &entry.payload {
        EntryPayload::Normal(record) => record.version == RECORD_VERSION + 1,
        _ => false,
    });
    assert!(newer, "the record is kept for a newer weldr");
}
