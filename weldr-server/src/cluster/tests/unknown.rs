//! A record of a newer version of Weldr in the log.

use openraft::{entry::RaftEntry as _, storage::RaftStateMachine as _};

use super::{hand_over::Three, *};
use crate::cluster::{
    Handle, ProposeError,
    log::{
        proposal::{RECORD_VERSION, Record},
        types::Entry,
    },
    storage::store::Store,
};

/// The node stops applying the log, says so, and serves its last state. Nothing in the log is lost.
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
    let version = format!("it has version {}", newer::VERSION);
    assert!(reason.to_string().contains(&version), "{reason}");
    assert_eq!(handle.current().revision, revision(1));
    let refused = handle.propose(add(2)).await.unwrap_err();
    assert!(matches!(refused, ProposeError::Outdated(_)), "{refused:?}");
    assert_eq!(handle.current().revision, revision(1));
    log.stop().await;
    let persistent = Store::open(directory.path()).unwrap().persistent;
    let newer = persistent
        .entries
        .values()
        .any(|entry| match &entry.payload {
            EntryPayload::Normal(record) => record.version == RECORD_VERSION + 1,
            _ => false,
        });
    assert!(newer, "the record is kept for a newer weldr");
}

/// Gives `node` a record of a newer version that the other nodes do not have.
async fn meets_a_newer_record(node: &Handle) {
    let mut machine = node.core().machine.clone();
    let newer = Record {
        version: RECORD_VERSION + 1,
        proposal: b"{}".as_slice().into(),
        id: 1,
        validated: true,
    };
    let last = machine.applied_state().await.unwrap().0.unwrap();
    let entry = Entry::new(last, EntryPayload::Normal(newer));
    tokio::spawn(async move {
        let entries = futures_util::stream::iter([Ok((entry, None))]);
        machine.apply(entries).await
    });
    let mut stopped = node.stopped();
    stopped.wait_for(Option::is_some).await.unwrap();
}

/// A node that stopped applying, in a cluster that continues, refuses reads and writes at once with the reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_does_not_know_a_record_neither_reads_nor_writes() {
    let three = Three::start().await;
    let follower = &three.nodes[2];
    follower.catch_up().await.unwrap();
    meets_a_newer_record(follower).await;
    let read = follower.catch_up().await.unwrap_err();
    assert!(matches!(read, ProposeError::Outdated(_)), "{read:?}");
    let written = follower.propose(add(1)).await.unwrap_err();
    assert!(matches!(written, ProposeError::Outdated(_)), "{written:?}");
    let leader = &three.nodes[0];
    leader.catch_up().await.unwrap();
    assert!(
        leader
            .current()
            .server(&PoolName::default(), address(1))
            .is_err()
    );
    leader.propose(add(1)).await.unwrap();
    three.stop().await;
}
