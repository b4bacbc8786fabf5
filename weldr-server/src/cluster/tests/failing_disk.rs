//! A disk that fails at each step of a change.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use futures_util::future::join_all;
use redb::{StorageBackend, backends::FileBackend};

use super::{hand_over::Three, *};
use crate::cluster::{
    Handle, Log, ProposeError,
    open::open_store,
    storage::store::{OpenedStore, Store, builder},
};

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Failure {
    /// One write or sync fails, the later ones do not.
    Once,
    /// All writes fail until space is freed.
    Lasting,
}

/// How many more writes and syncs succeed before the disk fails.
#[derive(Debug, Clone)]
struct Patience {
    operations: Arc<AtomicI64>,
    failure: Failure,
}

impl Patience {
    const ENDLESS: i64 = i64::MAX;

    fn endless(failure: Failure) -> Self {
        let operations = Arc::new(AtomicI64::new(Self::ENDLESS));
        Self {
            operations,
            failure,
        }
    }

    fn set(&self, operations: i64) {
        self.operations.store(operations, Ordering::SeqCst);
    }

    fn spend(&self) -> io::Result<()> {
        match self.operations.fetch_sub(1, Ordering::SeqCst) {
            left if left > 0 || (left < 0 && self.failure == Failure::Once) => Ok(()),
            _ => Err(io::Error::from(io::ErrorKind::StorageFull)),
        }
    }
}

#[derive(Debug)]
struct FailingFile {
    file: FileBackend,
    patience: Patience,
}

impl StorageBackend for FailingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.patience.spend()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.patience.spend()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.patience.spend()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

fn store_on(directory: &Path, patience: &Patience) -> OpenedStore {
    let disk = patience.clone();
    let open = move |path: &Path| {
        let file = std::fs::File::options().read(true).write(true).open(path)?;
        builder().create_with_backend(FailingFile {
            file: FileBackend::new(file)?,
            patience: disk.clone(),
        })
    };
    Store::open_with(directory, Box::new(open)).unwrap()
}

/// A node with one server, on a disk that fails when the test says so.
async fn on_failing_disk(directory: &Path, failure: Failure) -> (Handle, Log, Patience) {
    let patience = Patience::endless(failure);
    let opened = store_on(directory, &patience);
    let Opened { handle, log, .. } = open_store(options(directory), Some(opened)).unwrap();
    handle.propose(add(1)).await.unwrap();
    (handle, log, patience)
}

/// The state that a start would find after a `kill -9` now.
fn as_killed_now(directory: &Path) -> DesiredState {
    let copy = tempdir().unwrap();
    let database = "weldr.redb";
    std::fs::copy(directory.join(database), copy.path().join(database)).unwrap();
    state_of(&Store::open(copy.path()).unwrap().persistent)
}

/// Whichever operation fails, a refused change is never visible, and the node recovers.
async fn refuses_undoes_and_recovers(failure: Failure) {
    let mut failures = 0;
    for operations in 0.. {
        let what = format!("{failure:?} at {operations}");
        let directory = tempdir().unwrap();
        let (handle, log, disk) = on_failing_disk(directory.path(), failure).await;
        let before = handle.current();

        disk.set(operations);
        let answer = handle.propose(add(2)).await;
        if answer.is_ok() {
            break;
        }
        failures += 1;
        let refused = matches!(answer, Err(ProposeError::NotDurable(_)));
        assert!(refused, "{what}: {answer:?}");
        assert!(Arc::ptr_eq(&before, &handle.current()), "{what}");
        if failure == Failure::Once {
            assert!(as_killed_now(directory.path()) == *before, "{what}");
        }

        disk.set(Patience::ENDLESS);
        let recovered = handle.propose(add(3)).await.unwrap();
        assert_eq!(recovered.revision, revision(2), "{what}");
        log.stop().await;
        let state = reopened(directory.path()).await;
        assert_eq!(state, *handle.current(), "{what}");
        assert!(state.server(&PoolName::default(), address(2)).is_err());
    }
    assert!(failures > 3, "the disk failed {failures} times");
}

#[tokio::test]
async fn a_disk_that_fails_once_loses_nothing() {
    refuses_undoes_and_recovers(Failure::Once).await;
}

#[tokio::test]
async fn a_disk_that_goes_on_failing_loses_nothing() {
    refuses_undoes_and_recovers(Failure::Lasting).await;
}

#[tokio::test]
async fn changes_are_refused_until_the_disk_works_again() {
    let directory = tempdir().unwrap();
    let (handle, log, disk) = on_failing_disk(directory.path(), Failure::Lasting).await;
    disk.set(0);
    for _ in 0..3 {
        let refused = handle.propose(add(2)).await.unwrap_err();
        assert!(
            matches!(refused, ProposeError::NotDurable(_)),
            "{refused:?}"
        );
    }
    disk.set(Patience::ENDLESS);
    assert_eq!(handle.propose(add(2)).await.unwrap().revision, revision(2));
    log.stop().await;
    assert_eq!(reopened(directory.path()).await, *handle.current());
}

/// Proposals in one transaction fail together, including one that would be rejected: the reason of the rejection may be
/// another proposal in the transaction.
#[tokio::test]
async fn what_cannot_be_written_is_refused_together() {
    let directory = tempdir().unwrap();
    let (handle, log, disk) = on_failing_disk(directory.path(), Failure::Lasting).await;
    let before = handle.current();
    disk.set(0);
    let proposals = [add(2), add(2), weigh(1, 5), weigh(2, 5)];
    for answer in join_all(proposals.map(|command| handle.propose(command))).await {
        let failed = matches!(
            answer,
            Err(ProposeError::NotDurable(_) | ProposeError::Unknown { .. })
        );
        assert!(failed, "{answer:?}");
    }
    assert!(Arc::ptr_eq(&before, &handle.current()));
    disk.set(Patience::ENDLESS);
    handle.propose(add(3)).await.unwrap();
    log.stop().await;
    assert_eq!(reopened(directory.path()).await, *handle.current());
}

#[tokio::test]
async fn a_node_whose_disk_fails_goes_on_being_read() {
    let directory = tempdir().unwrap();
    let (handle, log, disk) = on_failing_disk(directory.path(), Failure::Lasting).await;
    assert!(handle.disk().failure.is_none());
    disk.set(0);
    for _ in 0..3 {
        let refused = handle.propose(add(2)).await.unwrap_err();
        assert!(
            matches!(refused, ProposeError::NotDurable(_)),
            "{refused:?}"
        );
        for _ in 0..20 {
            assert_eq!(handle.catch_up().await.unwrap(), revision(1));
        }
        assert!(handle.disk().failure.is_some());
        let status = handle.status().await.unwrap();
        assert_eq!(status.nodes.len(), 1, "{status:?}");
        assert!(status.nodes[0].report.is_some(), "{status:?}");
    }
    disk.set(Patience::ENDLESS);
    assert_eq!(handle.propose(add(2)).await.unwrap().revision, revision(2));
    assert_eq!(handle.catch_up().await.unwrap(), revision(2));
    assert!(handle.disk().failure.is_none());
    log.stop().await;
}

#[tokio::test]
async fn a_disk_that_has_recovered_is_not_called_failing_until_the_next_change() {
    let directory = tempdir().unwrap();
    let (handle, log, disk) = on_failing_disk(directory.path(), Failure::Once).await;
    disk.set(0);
    handle.propose(add(2)).await.unwrap_err();
    let works = async {
        while handle.disk().failure.is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let works = tokio::time::timeout(std::time::Duration::from_secs(20), works).await;
    assert!(works.is_ok(), "{:?}", handle.disk());
    assert!(handle.disk().failures > 0);
    log.stop().await;
}

/// In a cluster, others may acknowledge what a node cannot apply: it is read as long as they did not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_disk_fails_is_read_until_it_lacks_something() {
    let directory = tempdir().unwrap();
    let disk = Patience::endless(Failure::Lasting);
    let store = store_on(directory.path(), &disk);
    let three = Three::start_with(Some(store)).await;
    let [a, _, c] = &three.nodes[..] else {
        panic!("three")
    };
    let begun = a.propose(add(1)).await.unwrap().revision;
    assert_eq!(c.catch_up().await.unwrap(), begun);
    disk.set(0);
    // Its log cannot be written: by this change the disk is found to fail.
    let revision = a.propose(add(2)).await.unwrap().revision;
    let lacks = async {
        while c.disk().failure.is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let found = tokio::time::timeout(std::time::Duration::from_secs(20), lacks).await;
    assert!(found.is_ok(), "{:?}", c.disk());
    shows_as_stopped(a, "c").await;
    match c.catch_up().await {
        Err(ProposeError::NotDurable(_)) => assert!(c.current().revision < revision),
        // It may have applied the change before its disk has refused to keep it.
        read => assert_eq!(read.unwrap(), revision),
    }
    assert_eq!(a.catch_up().await.unwrap(), revision);
    disk.set(Patience::ENDLESS);
    let read = async { while c.catch_up().await.is_err() {} };
    let read = tokio::time::timeout(std::time::Duration::from_secs(20), read).await;
    assert!(read.is_ok(), "{:?}", c.disk());
    assert_eq!(c.current().revision, revision);
    three.stop().await;
}

/// Waits until the status at `by` shows that the engine of a node does not run, with the term that it is in.
async fn shows_as_stopped(by: &Handle, name: &str) {
    let shown = async {
        loop {
            let status = by.status().await.unwrap();
            let node = status.nodes.iter().find(|node| node.name == name);
            let report = node.and_then(|node| node.report.as_ref());
            if report.is_some_and(|report| report.role == "stopped") {
                assert_eq!(report.unwrap().term, status.term);
                return;
            }
        }
    };
    let shown = tokio::time::timeout(std::time::Duration::from_secs(20), shown).await;
    assert!(shown.is_ok(), "{name} does not show as stopped");
}

/// A disk that recovers brings a follower back. It must not stand for election, because the leader is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_recovers_deposes_nobody() {
    let directory = tempdir().unwrap();
    let disk = Patience::endless(Failure::Lasting);
    let store = store_on(directory.path(), &disk);
    let three = Three::start_with(Some(store)).await;
    let [a, _, c] = &three.nodes[..] else {
        panic!("three")
    };
    let term = a.status().await.unwrap().term;
    for round in 1..=8 {
        disk.set(0);
        a.propose(add(round)).await.unwrap();
        reaches("a failing disk", || c.disk().failure.is_some()).await;
        disk.set(Patience::ENDLESS);
        let revision = a.current().revision;
        reaches("the state", || c.current().revision == revision).await;
        let status = a.status().await.unwrap();
        assert_eq!((status.term, status.leader.as_deref()), (term, Some("a")));
    }
    three.stop().await;
}

/// The supervisor may see the engine end before it sees that the node stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_engine_is_started_while_the_node_stops() {
    let directory = tempdir().unwrap();
    let Opened { handle, log, .. } = open_in(directory.path());
    let core = handle.core();
    core.stop.cancel();
    core.end_engine().await;
    core.restart().await.unwrap();
    assert!(core.raft.borrow().is_none());
    drop(core);
    log.stop().await;
}

/// Waits until `there`, with a bound.
async fn reaches(what: &str, there: impl Fn() -> bool) {
    let reached = async {
        while !there() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let reached = tokio::time::timeout(std::time::Duration::from_secs(20), reached).await;
    assert!(reached.is_ok(), "{what}");
}
