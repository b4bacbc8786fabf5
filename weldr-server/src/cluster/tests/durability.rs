//! Acknowledged changes exist after a restart, and watched states are on disk.

use std::sync::Arc;

use futures_util::future::join_all;

use super::*;
use crate::{
    cluster::ProposeError,
    model::{Outcome, PoolPatch, Rejection},
};

#[tokio::test]
async fn changes_survive_a_restart() {
    let directory = tempdir().unwrap();
    let Opened {
        handle,
        log,
        is_new,
    } = open_in(directory.path());
    assert!(is_new);
    for command in [add(1), add(2), add(3), weigh(2, 7), remove_now(3)] {
        handle.propose(command).await.unwrap();
    }
    let fail_closed = Command::UpdatePool {
        pool: PoolName::default(),
        patch: PoolPatch {
            fail_open: Some(false),
            ..PoolPatch::default()
        },
        expected: None,
    };
    let applied = handle.propose(fail_closed).await.unwrap();
    assert_eq!(
        (applied.revision, applied.outcome),
        (revision(6), Outcome::Changed)
    );
    let before = handle.current();
    assert_eq!(before.pools[&PoolName::default()].servers.size(), 2);
    log.stop().await;

    let Opened {
        handle,
        log,
        is_new,
    } = open_in(directory.path());
    assert!(!is_new);
    assert_eq!(*handle.current(), *before);
    log.stop().await;
}

#[tokio::test]
async fn the_initial_settings_are_those_of_a_new_store_only() {
    let directory = tempdir().unwrap();
    let initial = |fail_open| StoreOptions {
        initial: PoolSettings {
            fail_open,
            ..PoolSettings::default()
        },
        ..options(directory.path())
    };
    for later in [false, true] {
        let Opened { handle, log, .. } = open(initial(later)).unwrap();
        let state = handle.current();
        assert!(!state.pools[&PoolName::default()].settings.fail_open);
        log.stop().await;
    }
}

#[tokio::test]
async fn an_ephemeral_store_works_and_leaves_nothing() {
    let Opened {
        handle,
        log,
        is_new,
    } = open(StoreOptions::default()).unwrap();
    assert!(is_new);
    handle.propose(add(1)).await.unwrap();
    assert_eq!(handle.current().revision, revision(1));
    log.stop().await;
}

#[tokio::test]
async fn proposals_at_once_are_applied_in_one_order() {
    let directory = tempdir().unwrap();
    let Opened { handle, log, .. } = open_in(directory.path());
    let proposals = (0..500).map(|n| handle.propose(add(n)));
    let answers = join_all(proposals).await.into_iter();
    let mut revisions: Vec<u64> = answers.map(|answer| answer.unwrap().revision.0).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=500).collect::<Vec<_>>());
    let state = handle.current();
    log.stop().await;
    assert_eq!(reopened(directory.path()).await, *state);
}

#[tokio::test]
async fn a_refused_or_idle_proposal_changes_nothing_and_wakes_nobody() {
    let directory = tempdir().unwrap();
    let Opened { handle, log, .. } = open_in(directory.path());
    handle.propose(add(1)).await.unwrap();
    let mut watch = handle.watch();
    let before = Arc::clone(&watch.borrow_and_update());

    let again = handle.propose(add(1)).await.unwrap();
    assert_eq!(
        (again.revision, again.outcome),
        (revision(1), Outcome::Unchanged)
    );
    let refused = handle.propose(weigh(2, 3)).await.unwrap_err();
    assert!(
        matches!(
            refused,
            ProposeError::Rejected(Rejection::NoSuchServer { .. })
        ),
        "{refused:?}"
    );
    assert!(!watch.has_changed().unwrap());
    assert!(Arc::ptr_eq(&before, &handle.current()));
    log.stop().await;
}

#[tokio::test]
async fn stopping_answers_what_was_taken_and_refuses_the_rest() {
    let directory = tempdir().unwrap();
    let Opened { handle, log, .. } = open_in(directory.path());
    // `join` polls in order, so the proposals are queued before the log is stopped.
    let proposals = join_all((0..20).map(|n| handle.propose(add(n))));
    let (answers, ()) = tokio::join!(proposals, log.stop());
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let refused = handle.propose(add(1)).await.unwrap_err();
    assert!(matches!(refused, ProposeError::ShuttingDown), "{refused:?}");
    assert_eq!(handle.current().revision, revision(20));
    assert_eq!(reopened(directory.path()).await, *handle.current());
}

#[tokio::test]
async fn a_dropped_log_lets_go_of_the_directory() {
    let directory = tempdir().unwrap();
    let Opened { handle, log, .. } = open_in(directory.path());
    handle.propose(add(1)).await.unwrap();
    let mut watch = handle.watch();
    drop(log);
    // The sender is dropped with the thread, after the database was closed.
    while watch.changed().await.is_ok() {}
    assert_eq!(reopened(directory.path()).await.revision, revision(1));
}
