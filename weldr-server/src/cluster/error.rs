//! Why the store of the desired state could not be opened or written.

use std::{io, path::PathBuf};

/// Why there is no store to work with. Each message is one sentence for an operator: what, where, and
/// what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is not there and cannot be made, or weldr may not use it.
    #[error(
        "cannot use the data directory {}: let weldr create, read and write it, or name another one with --data-dir",
        .path.display()
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Two nodes would overwrite each other's changes.
    #[error(
        "the data directory {} is in use by another weldr: stop that one, or name another directory with --data-dir",
        .path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The system does not let us read or write the database.
    #[error("cannot read and write the database {}: check its owner, its mode and its disk", .path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: StoreError,
    },
    /// The file is not what was written. It is never emptied or replaced.
    #[error(
        "the database {} is damaged: restore it from a backup, or move it away to begin with an empty pool",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Damage,
    },
    /// A later version wrote it, and would lose what this one does not know.
    #[error(
        "the database {} has format {found}, but this weldr knows formats up to {known}: start the newer weldr that wrote it",
        .path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format of the file.
        found: u64,
        /// The newest format that this version reads.
        known: u64,
    },
    /// The system does not give us a thread.
    #[error("cannot start the thread that writes the desired state")]
    Thread(#[source] io::Error),
}

/// What is wrong with a database that was written whole.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The database's own checks found it.
    #[error("it does not pass the integrity check")]
    Integrity(#[source] StoreError),
    /// The database library gave up on what it read.
    #[error("reading it failed an assertion: {0}")]
    Assertion(String),
    /// A value is not the JSON that we write.
    #[error("the row {row} does not parse")]
    Row {
        /// Its table and key.
        row: String,
        /// Where in it.
        #[source]
        source: serde_json::Error,
    },
    /// Values that parse, but cannot all be true.
    #[error("the row {row} {contradiction}")]
    Contradiction {
        /// Its table and key.
        row: String,
        /// What it contradicts, as the rest of a sentence.
        contradiction: &'static str,
    },
}

/// Why the database could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// From the database.
    #[error("the database failed")]
    Database(#[from] redb::Error),
    /// From the file system.
    #[error("the file system failed")]
    Files(#[from] io::Error),
    /// A value could not be made into JSON.
    #[error("a row could not be encoded")]
    Encode(#[from] serde_json::Error),
    /// What the database holds after a failed write could not be read.
    #[error("the database could not be opened again after an earlier failure")]
    Reopen(#[source] Box<OpenError>),
}
