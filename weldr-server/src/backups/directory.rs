//! The directory of the backups: a file is there completely or not at all, and only files of this node are removed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::model::Revision;

use super::{
    BackupError,
    name::{file_name, is_own, unfinished_name},
};

/// The backups of one node. Its functions wait for the disk.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    /// The name of the node.
    pub(super) node: String,
    /// How many backups are kept.
    pub(super) keep: usize,
}

impl Directory {
    /// Writes a backup of `revision`, and then removes the oldest ones. The directory is created if it does not exist.
    pub(super) fn store(
        &self,
        date: SystemTime,
        revision: Revision,
        content: &[u8],
    ) -> Result<(), BackupError> {
        let created = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path);
        created.map_err(|source| BackupError::Directory {
            path: self.path.clone(),
            source,
        })?;
        let name = file_name(date, revision, &self.node);
        let (file, unfinished) = (
            self.path.join(&name),
            self.path.join(unfinished_name(&self.node)),
        );
        let written = self.write(&unfinished, &file, content);
        written.map_err(|source| {
            // It uses space that may be scarce. If it cannot be removed, the next write tries again.
            let _ = fs::remove_file(&unfinished);
            BackupError::Write { path: file, source }
        })?;
        self.removed(self.remove_old(&name))
    }

    /// Removes the oldest backups beyond the number to keep.
    pub(super) fn tidy(&self) -> Result<(), BackupError> {
        let newest = self.own_files().map(|mut names| names.pop());
        let newest = newest.map(Option::unwrap_or_default);
        self.removed(newest.and_then(|newest| self.remove_old(&newest)))
    }

    fn removed(&self, result: io::Result<()>) -> Result<(), BackupError> {
        result.map_err(|source| BackupError::Old {
            path: self.path.clone(),
            source,
        })
    }

    /// The content of the newest backup; `None` if there is none, or it cannot be read.
    pub(super) fn newest(&self) -> Option<Vec<u8>> {
        let newest = self.own_files().ok()?.pop()?;
        fs::read(self.path.join(newest)).ok()
    }

    fn write(&self, unfinished: &Path, file: &Path, content: &[u8]) -> io::Result<()> {
        // What an interrupted write left may have other permissions.
        match fs::remove_file(unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut new = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(unfinished)?;
        new.write_all(content)?;
        new.sync_all()?;
        fs::rename(unfinished, file)?;
        File::open(&self.path)?.sync_all()
    }

    /// Removes the oldest backups beyond the number to keep, but never `new`: after the clock was set back, its name is
    /// not the last one.
    fn remove_old(&self, new: &str) -> io::Result<()> {
        let mut others = self.own_files()?;
        others.retain(|name| name != new);
        let excess = (others.len() + 1).saturating_sub(self.keep);
        for name in others.into_iter().take(excess) {
            fs::remove_file(self.path.join(name))?;
        }
        Ok(())
    }

    /// The names of the backups of this node, the oldest first.
    fn own_files(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if is_own(&name, &self.node) && entry.file_type()?.is_file() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::PermissionsExt as _,
        time::{Duration, UNIX_EPOCH},
    };

    use super::*;

    fn directory(parent: &Path) -> Directory {
        Directory {
            path: parent.join("deep").join("backups"),
            node: "a".to_owned(),
            keep: 2,
        }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_backup_is_private_complete_and_the_newest() {
        let parent = tempfile::tempdir().unwrap();
        let directory = directory(parent.path());
        assert_eq!(directory.newest(), None);
        directory.store(at(1), Revision(1), b"one").unwrap();
        let left = directory.path.join(unfinished_name("a"));
        fs::write(&left, "a part").unwrap();
        directory.store(at(2), Revision(2), b"two").unwrap();
        assert_eq!(directory.newest().unwrap(), b"two");
        assert!(!left.exists());
        for name in directory.own_files().unwrap() {
            let mode = fs::metadata(directory.path.join(name))
                .unwrap()
                .permissions();
            assert_eq!(mode.mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn only_old_backups_of_this_node_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let directory = directory(parent.path());
        let other = Directory {
            node: "b".to_owned(),
            ..directory.clone()
        };
        other.store(at(1), Revision(1), b"{}").unwrap();
        let strangers = [
            "weldr-backup-20231114T221320Z-r42-a.json",
            "weldr-backup.json",
        ];
        for stranger in strangers {
            fs::write(directory.path.join(stranger), "mine").unwrap();
        }
        for revision in 1..=4 {
            let stored = directory.store(at(10 * revision), Revision(revision), b"{}");
            stored.unwrap();
        }
        let kept = directory.own_files().unwrap();
        let expected = [3, 4].map(|revision| file_name(at(10 * revision), Revision(revision), "a"));
        assert_eq!(kept, expected);
        assert_eq!(other.own_files().unwrap().len(), 1);
        for stranger in strangers {
            assert!(directory.path.join(stranger).exists(), "{stranger}");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_removes_no_new_backup() {
        let parent = tempfile::tempdir().unwrap();
        let directory = directory(parent.path());
        for (seconds, revision) in [(100, 1), (200, 2), (50, 3)] {
            let stored = directory.store(at(seconds), Revision(revision), b"{}");
            stored.unwrap();
        }
        let kept = directory.own_files().unwrap();
        let expected = [(50, 3), (200, 2)];
        let expected =
            expected.map(|(seconds, revision)| file_name(at(seconds), Revision(revision), "a"));
        assert_eq!(kept, expected);
    }

    #[test]
    fn what_cannot_be_written_removes_nothing_and_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let directory = directory(parent.path());
        for revision in 1..=2 {
            let stored = directory.store(at(revision), Revision(revision), b"{}");
            stored.unwrap();
        }
        // A directory of that name is in the way, also for root.
        let target = directory.path.join(file_name(at(3), Revision(3), "a"));
        fs::create_dir(&target).unwrap();
        let refused = directory.store(at(3), Revision(3), b"{}").unwrap_err();
        assert!(matches!(refused, BackupError::Write { .. }), "{refused:?}");
        assert_eq!(directory.own_files().unwrap().len(), 2);
        assert!(!directory.path.join(unfinished_name("a")).exists());
        let file = Directory {
            path: parent.path().join("file"),
            ..directory
        };
        fs::write(&file.path, "").unwrap();
        let refused = file.store(at(3), Revision(3), b"{}").unwrap_err();
        assert!(
            matches!(refused, BackupError::Directory { .. }),
            "{refused:?}"
        );
    }
}
