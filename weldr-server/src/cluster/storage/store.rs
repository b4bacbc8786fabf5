//! The database: verified when it is opened, then written in one transaction for each batch.

use std::{
    any::Any,
    fmt,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
};

use redb::{Builder, Database, DatabaseError, ReadableDatabase, WriteTransaction};
use tracing::{error, info};

use crate::cluster::{
    error::{Damage, OpenError, StoreError},
    log::replica,
};

use super::{
    commit_index_hint::CommitIndexHint,
    data_dir::DataDir,
    file_identity::FileIdentity,
    file_modes::warn_of_wide_directory,
    persistent_state::{Identity, PersistentState, StorageChange},
    rows::{self, ReadError},
};

/// The size of the database's page cache, in bytes. It is small, because the content is also in a [`PersistentState`].
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Opens the database file. Tests replace it to make the disk fail.
pub(in crate::cluster) type OpenDatabase =
    Box<dyn Fn(&Path) -> Result<Database, DatabaseError> + Send>;

/// The database of one node.
pub(in crate::cluster) struct Store {
    path: PathBuf,
    open_database: OpenDatabase,
    /// The file that was opened at `path`.
    identity: FileIdentity,
    /// `None` after a failure, until it is reopened.
    database: Option<Database>,
    /// Whether the last write failed; only changes of this are logged.
    failing: bool,
    /// Holds the lock as long as the database may be written.
    data_dir: DataDir,
}

/// A store, and what was read from it.
#[derive(Debug)]
pub(in crate::cluster) struct OpenedStore {
    pub(in crate::cluster) store: Store,
    pub(in crate::cluster) persistent: PersistentState,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in `directory`. A new one is created, with a new identity, if there is none.
    pub(in crate::cluster) fn open(directory: &Path) -> Result<OpenedStore, OpenError> {
        Self::open_with(directory, Box::new(open_database))
    }

    /// [`Store::open`] with another function to open the database file.
    pub(in crate::cluster) fn open_with(
        directory: &Path,
        open_database: OpenDatabase,
    ) -> Result<OpenedStore, OpenError> {
        let data_dir = DataDir::hold(directory)?;
        let path = data_dir.database();
        let refused = |source| OpenError::Database {
            path: path.clone(),
            source,
        };
        if data_dir.has_no_database()? {
            create(&data_dir).map_err(refused)?;
        }
        let (database, persistent) = open_verified(&path, &open_database)?;
        let identity = FileIdentity::at(&path).map_err(|error| refused(error.into()))?;
        // Not before: an error about the directory says enough.
        warn_of_wide_directory(directory);
        let store = Self {
            path,
            identity,
            open_database,
            database: Some(database),
            failing: false,
            data_dir,
        };
        Ok(OpenedStore { store, persistent })
    }

    /// The commit index hint of this node.
    pub(in crate::cluster) fn commit_index_hint(&self, node: u64) -> CommitIndexHint {
        CommitIndexHint::open(&self.data_dir.commit_index_hint(), node)
    }

    /// Makes `changes` durable; `before` is the state without them. After a failure the store returns to `before`, at
    /// the latest with [`Store::recover`].
    pub(in crate::cluster) fn write(
        &mut self,
        before: &PersistentState,
        changes: &[StorageChange],
    ) -> Result<(), StoreError> {
        let written = self.attempt(before, changes);
        self.note(&written);
        written
    }

    /// Makes sure that the database holds `persistent` and can be written.
    pub(in crate::cluster) fn recover(
        &mut self,
        persistent: &PersistentState,
    ) -> Result<(), StoreError> {
        let recovered = match self.database.take() {
            Some(database) => self.is_in_place().map(|()| database),
            None => self.reopened_at(persistent),
        };
        let recovered = recovered.map(|database| self.database = Some(database));
        self.note(&recovered);
        recovered
    }

    /// Looks whether the database is still the file at its path: what is written to another one is lost with the process.
    /// `broken`: writes fail, for any reason.
    pub(in crate::cluster) fn look(&mut self, broken: bool) -> Result<(), StoreError> {
        let looked = self.is_in_place();
        if looked.is_err() || !broken {
            self.note(&looked);
        }
        looked
    }

    fn is_in_place(&self) -> Result<(), StoreError> {
        let displaced = |source| StoreError::Displaced {
            path: self.path.clone(),
            source,
        };
        match FileIdentity::at(&self.path) {
            Ok(found) if found == self.identity => Ok(()),
            Ok(_) => Err(displaced(None)),
            Err(error) => Err(displaced(Some(error))),
        }
    }

    fn note(&mut self, result: &Result<(), StoreError>) {
        let path = self.path.display();
        match result {
            Err(failure) if !self.failing => {
                let error = failure as &dyn std::error::Error;
                error!(%path, error, "the database cannot be written, changes are refused");
            }
            Ok(()) if self.failing => info!(%path, "the database can be written again"),
            _ => {}
        }
        self.failing = result.is_err();
    }

    fn attempt(
        &mut self,
        before: &PersistentState,
        changes: &[StorageChange],
    ) -> Result<(), StoreError> {
        self.is_in_place()?;
        let database = match self.database.take() {
            Some(database) => database,
            None => self.reopened_at(before)?,
        };
        let written = commit(&database, |transaction| {
            rows::write_changes(transaction, changes)
        });
        // Only then may the changes be acknowledged: the next start has to find them.
        let written = written.and_then(|()| self.is_in_place());
        self.database = if written.is_ok() {
            Some(database)
        } else {
            drop(database);
            // At once: a restart before the next write might otherwise find changes that were refused.
            self.reopened_at(before).ok()
        };
        written
    }

    /// Opens the database again and writes `persistent` completely. After a failed commit it is not known which pages
    /// are on disk (a second sync may succeed without writing the pages that the first one could not write). So
    /// everything is written again, to other pages.
    fn reopened_at(&self, persistent: &PersistentState) -> Result<Database, StoreError> {
        self.is_in_place()?;
        let reopened = open_verified(&self.path, &self.open_database);
        let (database, _) = reopened.map_err(|error| StoreError::Reopen(Box::new(error)))?;
        commit(&database, |transaction| {
            rows::write_whole(transaction, persistent)
        })?;
        Ok(database)
    }

    /// Closes the database, so that the next start does not have to repair it.
    pub(in crate::cluster) fn close(self) -> Result<(), StoreError> {
        match self.database {
            Some(database) => Ok(database.close().map_err(redb::Error::from)?),
            None => Ok(()),
        }
    }
}

/// Writes a new database under a temporary name, and renames it when it is on disk.
fn create(data_dir: &DataDir) -> Result<(), StoreError> {
    data_dir.create_unfinished()?;
    let database = builder()
        .create(data_dir.unfinished_database())
        .map_err(redb::Error::from)?;
    let persistent = PersistentState::new(Identity::random());
    commit(&database, |transaction| {
        rows::write_whole(transaction, &persistent)
    })?;
    database.close().map_err(redb::Error::from)?;
    data_dir.finish_database()?;
    Ok(())
}

/// Every page's checksum is verified at each open, not only after a crash. That takes a few milliseconds for ten
/// thousand servers, and finds a flipped bit before it becomes the address of a server.
pub(in crate::cluster) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    builder
}

fn open_database(path: &Path) -> Result<Database, DatabaseError> {
    builder().open(path)
}

/// Opens, verifies and reads the database.
fn open_verified(
    path: &Path,
    open_database: &OpenDatabase,
) -> Result<(Database, PersistentState), OpenError> {
    let open = || -> Result<_, ReadError> {
        let database = open_database(path)?;
        let transaction = database.begin_read()?;
        let persistent = rows::read(&transaction)?;
        drop(transaction);
        if let Some(snapshot) = &persistent.snapshot {
            replica::decode(&snapshot.state).map_err(ReadError::Damaged)?;
        }
        Ok((database, persistent))
    };
    // For a damaged file the library promises errors, but some assertions are left in it. The panic drops what it was
    // working on, so no partial result is seen afterwards.
    let opened = panic::catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|payload| {
        let said = panic_message(payload.as_ref());
        Err(ReadError::Damaged(Damage::Assertion(said)))
    });
    opened.map_err(|error| open_error(path, error))
}

fn open_error(path: &Path, error: ReadError) -> OpenError {
    let path = path.to_owned();
    let source = match error {
        ReadError::OlderFormat => return OpenError::OlderFormat { path },
        ReadError::NewerFormat(found) => {
            let known = rows::FORMAT;
            return OpenError::NewerFormat { path, found, known };
        }
        ReadError::Database(redb::Error::DatabaseAlreadyOpen) => {
            return OpenError::InUse { path };
        }
        ReadError::Database(error) if is_of_the_system(&error) => {
            let source = error.into();
            return OpenError::Database { path, source };
        }
        ReadError::Database(error) => Damage::Integrity(error.into()),
        ReadError::Damaged(damage) => damage,
    };
    OpenError::Damaged { path, source }
}

/// Whether the error is of the operating system, not of the file's content.
fn is_of_the_system(error: &redb::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    match error {
        // The library's errors for a file that is not a database, or is too short.
        redb::Error::Io(error) => !matches!(error.kind(), InvalidData | UnexpectedEof),
        redb::Error::PreviousIo => true,
        _ => false,
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}

/// Runs one transaction. It is on disk when this returns.
fn commit(
    database: &Database,
    write: impl FnOnce(&WriteTransaction) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut transaction = database.begin_write().map_err(redb::Error::from)?;
    // With one phase, a damaged last commit looks like an interrupted one and is rolled back silently, although it was
    // acknowledged. A second sync tells them apart. One bit is not covered, which selects the last commit: if it flips
    // after a crash, the last commit is lost.
    transaction.set_two_phase_commit(true);
    write(&transaction)?;
    transaction.commit().map_err(redb::Error::from)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::cluster::storage::{
        commit_index_hint::CommitIndexHint,
        file_modes::{DIRECTORY_MODE, FILE_MODE},
    };

    /// Whatever the umask of the test is: it takes rights away and adds none.
    #[test]
    fn nobody_but_the_owner_may_use_what_is_created() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let opened = Store::open(&path).unwrap();
        drop(CommitIndexHint::open(&path.join("decided"), 1));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), DIRECTORY_MODE);
        let files: Vec<_> = fs::read_dir(&path).unwrap().flatten().collect();
        assert!(files.len() >= 3, "{files:?}");
        for file in files {
            assert_eq!(mode(&file.path()), FILE_MODE, "{file:?}");
        }
        drop(opened);
    }
}
