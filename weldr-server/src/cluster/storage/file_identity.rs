//! Which file a path names. A file that is open can be removed or replaced at its path without an error of the system.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

/// Identifies a file for as long as it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// Of the file at `path`, behind symbolic links.
    ///
    /// # Errors
    /// There is none, or the system does not tell.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}
