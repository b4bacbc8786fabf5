//! The directory of the database: held by one process, and the database created in it whole or not at all.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use crate::cluster::error::OpenError;

/// A data directory that this process holds. The kernel lets go of it when the process ends, however it
/// ends.
#[derive(Debug)]
pub(in crate::cluster) struct DataDir {
    path: PathBuf,
    lock: File,
}

impl DataDir {
    /// Creates the directory where it is missing, and holds it.
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

    /// The database. When it is there, it was written whole: it gets this name only then. So an empty
    /// file of this name is damage, never a beginning.
    pub(in crate::cluster) fn database(&self) -> PathBuf {
        self.path.join("weldr.redb")
    }

    /// How far the log in the database is decided.
    pub(in crate::cluster) fn commit_index_hint(&self) -> PathBuf {
        self.path.join("decided")
    }

    /// Whether nothing has the name of the database; a directory that cannot be searched is no answer.
    pub(in crate::cluster) fn has_no_database(&self) -> Result<bool, OpenError> {
        let there = self.database().try_exists();
        there
            .map(|there| !there)
            .map_err(|source| OpenError::Directory {
                path: self.path.clone(),
                source,
            })
    }

    /// A database that is being created. One that is left behind was never used.
    pub(in crate::cluster) fn unfinished_database(&self) -> PathBuf {
        self.path.join("weldr.redb.new")
    }

    /// Removes what a creation that was cut short has left.
    pub(in crate::cluster) fn remove_unfinished(&self) -> io::Result<()> {
        match fs::remove_file(self.unfinished_database()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Gives the finished database its name, on disk when this returns.
    pub(in crate::cluster) fn finish_database(&self) -> io::Result<()> {
        let unfinished = self.unfinished_database();
        File::open(&unfinished)?.sync_all()?;
        fs::rename(unfinished, self.database())?;
        sync(&self.path)
    }
}

impl Drop for DataDir {
    /// Closing the file would unlock it too, but not while a process that was forked a moment ago, and has
    /// not yet become another program, still has it open.
    fn drop(&mut self) {
        // The file is closed next, whatever this says.
        let _ = self.lock.unlock();
    }
}

/// Creates the directory, on disk when this returns: a database in a directory that a power loss takes
/// away is lost too.
fn create(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    // Those of its parents that were there already are synced for nothing, once.
    path.canonicalize()?
        .ancestors()
        .skip(1)
        .try_for_each(|parent| match sync(parent) {
            // One that we may not read was there before us.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            result => result,
        })
}

/// Puts the names in a directory on disk.
fn sync(directory: &Path) -> io::Result<()> {
    // Elsewhere a directory cannot be opened as a file, and its names are on disk with the rename.
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}
