//! Scheduled backups of the desired state to a directory.
//!
//! * `name`: the names of the files. Pure.
//! * `directory`: writes a file and removes the oldest ones.
//! * `schedule`: decides when. It waits for the disk without holding up anything else, and nothing depends on it: a backup
//!   that cannot be written is a warning, and is tried again.

mod directory;
mod name;
mod schedule;

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use tokio::sync::oneshot;

pub use schedule::{BackupStatus, follow};

use crate::{
    clock::dates,
    cluster::Backup,
    model::{DesiredState, Revision},
};
use directory::Directory;

/// The options of scheduled backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupOptions {
    /// The directory; created if it does not exist. Several nodes may share it.
    pub directory: PathBuf,
    /// The time between two backups. Without a change in between there is no second one.
    pub interval: Duration,
    /// How many backups of a node are kept, at least 1.
    pub keep: usize,
}

/// Why a backup was not made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The directory cannot be created.
    #[error("the directory {} cannot be created", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("the backup {} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The backup is there, but older ones cannot be removed.
    #[error("old backups in {} cannot be removed", path.display())]
    Old {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The state cannot be written as JSON.
    #[error("the backup cannot be encoded")]
    Encode(#[source] serde_json::Error),
    /// The system gives no thread.
    #[error("the thread that writes the backup cannot be started")]
    Thread(#[source] io::Error),
    /// The thread has ended by a panic, which was logged.
    #[error("the thread that writes the backup has ended")]
    Ended,
}

/// Writes backups of one node to its directory.
#[derive(Debug, Clone)]
pub struct Archive(Directory);

impl Archive {
    /// The archive of the node with this name. Touches no file.
    pub fn new(options: &BackupOptions, node: &str) -> Self {
        Self(Directory {
            path: options.directory.clone(),
            node: node.to_owned(),
            keep: options.keep,
        })
    }

    /// Writes a backup of `state`, unless the newest backup is the same, as after a restart.
    ///
    /// # Errors
    /// The backup is not there, or the old ones are not removed.
    pub async fn store(&self, state: Arc<DesiredState>) -> Result<Revision, BackupError> {
        let directory = self.0.clone();
        let (tell, told) = oneshot::channel();
        // Not one of the runtime's threads: a disk that hangs would keep the runtime, and so the node, from stopping.
        thread::Builder::new()
            .name("weldr-backup".to_owned())
            .spawn(move || {
                // The receiver is gone if the node stops.
                let _ = tell.send(store(&directory, &state));
            })
            .map_err(BackupError::Thread)?;
        told.await.map_err(|_| BackupError::Ended)?
    }
}

fn store(directory: &Directory, state: &DesiredState) -> Result<Revision, BackupError> {
    let content = Backup::of(state).to_file().map_err(BackupError::Encode)?;
    if directory.newest().is_some_and(|newest| newest == content) {
        return directory.tidy().map(|()| state.revision);
    }
    let date = dates::writable(SystemTime::now());
    directory.store(date, state.revision, &content)?;
    tracing::debug!(revision = %state.revision, "backup written");
    Ok(state.revision)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _};

    use super::*;
    use crate::model::PoolSettings;

    #[tokio::test]
    async fn a_restart_without_a_change_writes_no_second_backup() {
        let parent = tempfile::tempdir().unwrap();
        let options = BackupOptions {
            directory: parent.path().to_owned(),
            interval: Duration::from_hours(1),
            keep: 9,
        };
        // A file that is written again has the same name within a second, and another number.
        let files = || {
            let entries = fs::read_dir(parent.path()).unwrap();
            let numbers = entries.map(|entry| entry.unwrap().metadata().unwrap().ino());
            numbers.collect::<BTreeSet<_>>()
        };
        let mut before = BTreeSet::new();
        let mut state = DesiredState::new(PoolSettings::default());
        for (revision, is_new) in [(1, true), (1, false), (2, true), (2, false)] {
            state.revision = Revision(revision);
            let archive = Archive::new(&options, "a");
            let stored = archive.store(Arc::new(state.clone())).await.unwrap();
            assert_eq!(stored, Revision(revision));
            assert_eq!(files() != before, is_new);
            before = files();
        }
    }
}
