//! Why a secret cannot be sealed or opened. No error holds a part of a key or of a secret.

use std::{io, path::PathBuf};

use crate::model::{Sealed, SealingKeyId};

/// Why a secret cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// This node does not have the key.
    #[error(
        "it is sealed with key {id}, which this node does not have and asks the other nodes for: if no node has it, set the value \
         again, or add the line of that key from a copy of sealing.keys to that file of a node"
    )]
    UnknownKey {
        /// The key.
        id: SealingKeyId,
    },
    /// The value was changed, or it was sealed for something else.
    #[error(
        "what is sealed with key {id} is not the value of {purpose}: it was changed, or it belongs to another object; set it again"
    )]
    Damaged {
        /// The key.
        id: SealingKeyId,
        /// What the value should have been sealed for.
        purpose: String,
    },
    /// The secret is longer than a sealed value may be.
    #[error(
        "a secret of {length} bytes is not accepted: at most {} bytes",
        Sealed::LONGEST_SECRET
    )]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// The key is on the disks of too few nodes, so a lost disk could be the only one that has it. Nothing was sealed.
    #[error(
        "the key {id} for the secret is not kept by a majority of the nodes, and without one it could be lost; it is missing at {}",
        .missing.join(", ")
    )]
    NotShared {
        /// The key.
        id: SealingKeyId,
        /// The voters that do not confirm it, as `name (address)`.
        missing: Vec<String>,
    },
    /// There are as many keys as there may be.
    #[error("there are {most} sealing keys, which is the most that there may be")]
    TooManyKeys {
        /// How many there may be.
        most: usize,
    },
    /// The file of the keys cannot be read or written.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The disk did not answer in time.
    #[error("the disk with the file of the sealing keys does not answer")]
    SlowDisk,
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers")]
    NoRandomness,
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// Why the file of the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The operating system refuses to read or write it.
    #[error("cannot read and write {}: check its owner, its mode and its disk", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// A line is not what Weldr writes. The file is never replaced then.
    #[error(
        "line {line} of {} {why}: restore the line from a copy of the file, or remove it, and this node asks the others for the key",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The number of the line, the first one being 1.
        line: usize,
        /// What is wrong, as the end of a sentence that begins with the line.
        why: &'static str,
    },
}
