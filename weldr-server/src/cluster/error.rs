//! Why a node cannot be opened, a proposal fails, or the log is not applied any more.

use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use crate::model::Rejection;

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
    /// It is from before there were clusters.
    #[error(
        "the database {} was written by a weldr from before clusters, which this one does not read: move it away, \
         start, and add the servers again",
        .path.display()
    )]
    OlderFormat {
        /// The file.
        path: PathBuf,
    },
    /// The address for the other nodes is not free.
    #[error("cannot listen on {address} for the other nodes of the cluster")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The secret, the certificate, its key or its authority.
    #[error("cannot read {}, which --cluster-secret-file or --cluster-cert, --cluster-key and --cluster-ca name", .path.display())]
    ClusterFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The certificates cannot be used.
    #[error("the certificates of the cluster cannot be used")]
    Tls(#[source] tonic::transport::Error),
    /// A member says that this node cannot join.
    #[error("this node cannot join the cluster: {0}")]
    JoinRefused(String),
    /// Nobody answers who could let it join.
    #[error("no node of the cluster answers at {}: start one, or correct --join", Addresses(.addresses))]
    JoinUnanswered {
        /// Who was asked.
        addresses: Vec<SocketAddr>,
        /// What the last one said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It has joined, but the leader does not bring it up to date.
    #[error("this node has joined the cluster, but was not brought up to date in {}s: is there a quorum?", .0.as_secs())]
    NotCaughtUp(Duration),
    /// The engine cannot start.
    #[error("the consensus engine cannot start: {0}")]
    Engine(String),
    /// The first entry of the log cannot be written.
    #[error("the pool cannot be begun")]
    Begin(#[source] ProposeError),
    /// The system does not give us a thread.
    #[error("cannot start a thread of the cluster")]
    Thread(#[source] io::Error),
}

impl OpenError {
    /// The engine cannot start, because of what it says; its errors are of too many types to keep.
    pub(super) fn engine(why: impl fmt::Display) -> Self {
        Self::Engine(why.to_string())
    }
}

struct Addresses<'a>(&'a [SocketAddr]);

impl fmt::Display for Addresses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{address}")?;
        }
        Ok(())
    }
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
    /// A value is not what we write.
    #[error("the row {row} does not parse")]
    Row {
        /// Its table and key.
        row: String,
        /// Where in it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
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

/// Why a proposal did not go through.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// The command does not fit the state; nothing changed.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It could not be written to disk; nothing changed.
    #[error("the change could not be written to disk")]
    NotDurable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// There is no leader that a majority follows; nothing changed.
    #[error("the cluster has no quorum{}", NoAnswerFrom(.missing))]
    NoQuorum {
        /// The nodes that do not answer.
        missing: Vec<String>,
    },
    /// No answer in time: it may or may not have been applied. Repeating it is safe.
    #[error("the change was not answered in time, so it is not known whether it was made{}", NoAnswerFrom(.missing))]
    Unknown {
        /// The nodes that do not answer.
        missing: Vec<String>,
    },
    /// This node applies nothing any more, so it could not show what it changes or reads; nothing changed.
    #[error("this weldr is older than its log: {0}. Start a newer one")]
    Outdated(Stopped),
    /// The node is shutting down; nothing changed.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// Why the cluster was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such node.
    #[error("{0}")]
    NoSuchNode(String),
    /// It cannot be done now, or to this node.
    #[error("{0}")]
    Refused(String),
    /// Nobody could do it.
    #[error("{0}")]
    Unavailable(String),
}

struct NoAnswerFrom<'a>(&'a [String]);

impl std::fmt::Display for NoAnswerFrom<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [] => Ok(()),
            missing => write!(f, "; no answer from {}", missing.join(", ")),
        }
    }
}

/// A node that met a record which it does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The index of the record.
    pub index: u64,
    /// What is unknown of it.
    pub reason: String,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { index, reason } = self;
        write!(f, "record {index} of the log is not known: {reason}")
    }
}
