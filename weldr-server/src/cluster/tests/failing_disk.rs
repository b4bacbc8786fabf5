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

use super::*;
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
