//! The commit index in a file beside the database, so that a process that was killed restarts with every change that it
//! had shown.
//!
//! The database has the commit index too, but it is written only with the next change, because a sync of its own would
//! double the cost of a change. This file is never synced. The kernel has its content as soon as it is written, however
//! the process ends. After a power loss the content may be wrong; a checksum shows that, or the log ends before the
//! index.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{Mutex, PoisonError},
};

use ring::digest::{SHA256, digest};
use tracing::warn;
use weldr_proto::raft::v1;

use crate::cluster::log::{convert, types::LogId};

use super::file_modes::FILE_MODE;

/// Term, index and checksum.
const LENGTH: usize = 24;

/// The file, and the last commit index that was written to it.
#[derive(Debug)]
pub(in crate::cluster) struct CommitIndexHint {
    node: u64,
    /// `None` if the file cannot be used. Then only the database has the commit index.
    file: Option<File>,
    last: Mutex<Option<LogId>>,
}

impl CommitIndexHint {
    /// Opens the file of this node. Content that is not valid, or from another node, is ignored.
    pub(in crate::cluster) fn open(path: &Path, node: u64) -> Self {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(FILE_MODE)
            .open(path);
        let file = file.inspect_err(|error| tell(path, error)).ok();
        let last = file.as_ref().and_then(|file| read(file, node));
        Self {
            node,
            file,
            last: Mutex::new(last),
        }
    }

    /// The last commit index.
    pub(in crate::cluster) fn last(&self) -> Option<LogId> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a new commit index, before the change is shown to anybody. Errors are not returned, because this is a
    /// hint only.
    pub(in crate::cluster) fn note(&self, decided: LogId) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last >= Some(decided) {
            return;
        }
        *last = Some(decided);
        if let Some(file) = &self.file {
            let written = file.write_all_at(&encode(decided, self.node), 0);
            if let Err(error) = written {
                tracing::debug!(%error, "the commit index hint cannot be written");
            }
        }
    }
}

fn tell(path: &Path, error: &io::Error) {
    warn!(path = %path.display(), %error, "the commit index hint cannot be opened: after a kill without a majority, the last change may not be shown");
}

fn read(file: &File, node: u64) -> Option<LogId> {
    let mut bytes = [0; LENGTH];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let id = convert::from_log_id(v1::LogId {
        term: number(0)?,
        index: number(8)?,
    });
    (encode(id, node) == bytes).then_some(id)
}

fn encode(id: LogId, node: u64) -> [u8; LENGTH] {
    let v1::LogId { term, index } = convert::log_id(id);
    let mut bytes = [0; LENGTH];
    bytes[..8].copy_from_slice(&term.to_le_bytes());
    bytes[8..16].copy_from_slice(&index.to_le_bytes());
    let said = [&bytes[..16], &node.to_le_bytes()].concat();
    bytes[16..].copy_from_slice(&digest(&SHA256, &said).as_ref()[..8]);
    bytes
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        convert::from_log_id(v1::LogId { term, index })
    }

    #[test]
    fn the_last_word_is_there_when_it_is_opened_again() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("decided");
        let hint = CommitIndexHint::open(&path, 7);
        assert_eq!(hint.last(), None);
        for decided in [id(1, 5), id(2, 6), id(1, 5)] {
            hint.note(decided);
        }
        assert_eq!(hint.last(), Some(id(2, 6)), "it never goes back");
        // The state after a process was killed.
        assert_eq!(CommitIndexHint::open(&path, 7).last(), Some(id(2, 6)));
        assert_eq!(
            CommitIndexHint::open(&path, 8).last(),
            None,
            "another node's"
        );
    }

    #[test]
    fn what_is_torn_or_damaged_says_nothing() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("decided");
        let whole = encode(id(3, 9), 7);
        for length in 0..LENGTH {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(
                CommitIndexHint::open(&path, 7).last(),
                None,
                "{length} bytes"
            );
        }
        for bit in 0..LENGTH * 8 {
            let mut bytes = whole;
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(CommitIndexHint::open(&path, 7).last(), None, "bit {bit}");
        }
        std::fs::write(&path, whole).unwrap();
        assert_eq!(CommitIndexHint::open(&path, 7).last(), Some(id(3, 9)));
    }
}
