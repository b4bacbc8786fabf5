//! A record of a newer weldr in the log.

use super::*;
use crate::cluster::{ProposeError, store::Store, types::RECORD_VERSION};

/// It stops applying, says so, and serves what it has; nothing of the log is lost.
#[tokio::test]
async fn a_node_that_does_not_know_a_record_serves_what_it_has() {
    let directory = newer::directory(address(1)).await;
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
    assert!(matches!(refused, ProposeError::Outdated(_)), "{refused:?}");
    assert_eq!(handle.current().revision, revision(1));
    log.stop().await;
    let kept = Store::open(directory.path()).unwrap().kept;
    let newer = kept.entries.values().any(|entry| match &entry.payload {
        EntryPayload::Normal(record) => record.version == RECORD_VERSION + 1,
        _ => false,
    });
    assert!(newer, "the record is kept for a newer weldr");
}
