//! Small files of a node beside its database: its key, and the members that it was told when it joined.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{cluster::error::OpenError, durable};

/// The files of a node; without a directory, nothing is kept.
#[derive(Debug, Clone, Default)]
pub(in crate::cluster) struct NodeFiles(Option<PathBuf>);

/// A file of a node.
#[derive(Debug, Clone, Copy)]
pub(in crate::cluster) enum NodeFile {
    /// The private key, in PEM format.
    Key,
    /// The members when the node joined, so that it knows who may call it before it has the log. No secrets.
    Members,
}

impl NodeFile {
    fn name(self) -> &'static str {
        match self {
            Self::Key => "node.key",
            Self::Members => "members",
        }
    }
}

impl NodeFiles {
    pub(in crate::cluster) fn new(directory: Option<&Path>) -> Self {
        Self(directory.map(Path::to_owned))
    }

    /// The content of a file; `None` if there is none.
    pub(in crate::cluster) fn read(&self, file: NodeFile) -> Result<Option<Vec<u8>>, OpenError> {
        let Some(path) = self.path(file) else {
            return Ok(None);
        };
        match fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(OpenError::NodeFile { path, source }),
        }
    }

    /// Replaces a file. Only the owner can read it, and it is on disk when this returns.
    pub(in crate::cluster) fn write(
        &self,
        file: NodeFile,
        content: &[u8],
    ) -> Result<(), OpenError> {
        let Some(path) = self.path(file) else {
            return Ok(());
        };
        durable::replace(&path, content).map_err(|source| OpenError::NodeFile { path, source })
    }

    fn path(&self, file: NodeFile) -> Option<PathBuf> {
        Some(self.0.as_ref()?.join(file.name()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_and_only_its_owner_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let files = NodeFiles::new(Some(directory.path()));
        assert_eq!(files.read(NodeFile::Key).unwrap(), None);
        // What an interrupted write left.
        fs::write(directory.path().join("node.key.new"), "half").unwrap();
        for content in [b"one", b"two"] {
            files.write(NodeFile::Key, content).unwrap();
            assert_eq!(files.read(NodeFile::Key).unwrap().unwrap(), content);
        }
        let mode = fs::metadata(directory.path().join("node.key")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
        let nowhere = NodeFiles::default();
        nowhere.write(NodeFile::Key, b"one").unwrap();
        assert_eq!(nowhere.read(NodeFile::Key).unwrap(), None);
    }
}
