//! The data directory: locked by one process, with a database that is created completely or not at all.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::cluster::error::OpenError;

use super::file_modes::{DIRECTORY_MODE, FILE_MODE};

/// A data directory that this process has locked. The kernel releases the lock when the process ends, however it ends.
#[derive(Debug)]
pub(in crate::cluster) struct DataDir {
    path: PathBuf,
    lock: File,
}

impl DataDir {
    /// Creates the directory if it does not exist, and locks it.
    pub(in crate::cluster) fn hold(path: &Path) -> Result<Self, OpenError> {
        let refused = |source| OpenError::Directory {
            path: path.to_owned(),
            source,
        };
        create(path).map_err(refused)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(FILE_MODE)
            .open(path.join("lock"))
            .map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                lock,
            }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(refused(source)),
        }
    }

    /// The path of the database. The file gets this name only after it was written completely, so an empty file of this
    /// name is damaged.
    pub(in crate::cluster) fn database(&self) -> PathBuf {
        self.path.join("weldr.redb")
    }

    /// The path of the commit index hint.
    pub(in crate::cluster) fn commit_index_hint(&self) -> PathBuf {
        self.path.join("decided")
    }

    /// Whether there is no database yet.
    ///
    /// # Errors
    /// The directory cannot be searched, or there was a database: the commit index hint is made after it.
    pub(in crate::cluster) fn has_no_database(&self) -> Result<bool, OpenError> {
        let (path, trace) = (self.database(), self.commit_index_hint());
        let is_there = |path: &Path| {
            path.try_exists().map_err(|source| OpenError::Directory {
                path: self.path.clone(),
                source,
            })
        };
        if is_there(&path)? {
            return Ok(false);
        }
        if is_there(&trace)? {
            return Err(OpenError::Missing { path, trace });
        }
        Ok(true)
    }

    /// The path of a database that is being created. A file that an earlier start left there was never used.
    pub(in crate::cluster) fn unfinished_database(&self) -> PathBuf {
        self.path.join("weldr.redb.new")
    }

    /// Creates the empty file of a new database, without what an interrupted creation left. The database library would
    /// create a file that everybody may read.
    pub(in crate::cluster) fn create_unfinished(&self) -> io::Result<()> {
        match fs::remove_file(self.unfinished_database()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let options = options.create_new(true).write(true).mode(FILE_MODE);
        options.open(self.unfinished_database()).map(drop)
    }

    /// Gives the finished database its name. It is on disk when this returns.
    pub(in crate::cluster) fn finish_database(&self) -> io::Result<()> {
        let unfinished = self.unfinished_database();
        File::open(&unfinished)?.sync_all()?;
        fs::rename(unfinished, self.database())?;
        sync(&self.path)
    }
}

impl Drop for DataDir {
    /// Unlocks the file explicitly: closing it would not release the lock while a process that was just forked, and has
    /// not yet called exec, has it open.
    fn drop(&mut self) {
        // The file is closed next in any case.
        let _ = self.lock.unlock();
    }
}

/// Creates the directory for its owner only, and syncs its parents: a power loss must not remove the directory of a
/// database.
fn create(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    DirBuilder::new().mode(DIRECTORY_MODE).create(path)?;
    // Parents that existed before are synced too, which does no harm.
    path.canonicalize()?
        .ancestors()
        .skip(1)
        .try_for_each(|parent| match sync(parent) {
            // A parent that this process may not read existed before.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            result => result,
        })
}

/// Syncs the entries of a directory.
fn sync(directory: &Path) -> io::Result<()> {
    // On other systems a directory cannot be opened as a file, and a rename is durable.
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}
