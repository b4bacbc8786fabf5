//! Errors of starting a node, of storage, of proposals and of cluster changes.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use uuid::Uuid;

use crate::{model::Rejection, secrets::KeyFileError};

/// Why the cluster part of a node cannot start. Each message is one sentence for an operator: what failed, where, and
/// what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory does not exist and cannot be created, or the process has no permission to use it.
    #[error(
        "cannot use the data directory {}: let weldr create, read and write it, or name another one with --data-dir",
        .path.display()
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// Another process holds the lock of the data directory.
    #[error(
        "the data directory {} is in use by another weldr: stop that one, or name another directory with --data-dir",
        .path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system refuses to read or write the database file.
    #[error("cannot read and write the database {}: check its owner, its mode and its disk", .path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// The error of the database.
        #[source]
        source: StoreError,
    },
    /// The content of the file is not valid. The file is never emptied or replaced.
    #[error(
        "the database {} is damaged: restore it from a backup, or move the directory away to begin with an empty pool",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Damage,
    },
    /// There is no database, but a file that is made after it.
    #[error(
        "the database {} is missing, but {} shows that a node has used this directory: restore the database from a backup, \
         or remove the directory to begin with an empty pool",
        .path.display(), .trace.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The file that is there.
        trace: PathBuf,
    },
    /// A later version of Weldr wrote the file. This version would lose data that it does not know.
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
    /// The file was written before Weldr had clusters.
    #[error(
        "the database {} was written by a weldr from before clusters, which this one does not read: move it away, \
         start, and add the servers again",
        .path.display()
    )]
    OlderFormat {
        /// The file.
        path: PathBuf,
    },
    /// The address for other nodes cannot be bound.
    #[error("cannot listen on {address} for the other nodes of the cluster")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The secret, the certificate, its key or the certificate authority cannot be read.
    #[error("cannot read {}, which --cluster-secret-file, --join-token-file, --cluster-cert, --cluster-key or --cluster-ca names", .path.display())]
    ClusterFile {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The secret can be found by trying.
    #[error(
        "the secret in {0} is {length} bytes long, and at least 16 are needed: write a new one with \
         `head -c 32 /dev/urandom | base64 > {0}` and give it to all nodes",
        .path.display()
    )]
    ShortSecret {
        /// The file.
        path: PathBuf,
        /// The length of the secret.
        length: usize,
    },
    /// The file has more than the secret and the one that it replaces.
    #[error(
        "the secret in {} has {found} lines: write the secret in one line, and while it is replaced, the new one in the first \
         line and the old one in the second",
        .path.display()
    )]
    ManySecrets {
        /// The file.
        path: PathBuf,
        /// How many lines it has.
        found: usize,
    },
    /// A certificate or key cannot be parsed.
    #[error("{}, which --cluster-cert, --cluster-key or --cluster-ca names, cannot be used: {why}", .path.display())]
    ClusterPem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The key or the certificate of the node cannot be used.
    #[error("the key of this node for other nodes cannot be used: {0}")]
    Tls(String),
    /// A file of the data directory cannot be read or written.
    #[error("cannot read and write {}: check its owner, its mode and its disk", .path.display())]
    NodeFile {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The file of the sealing keys cannot be used.
    #[error(transparent)]
    SealingKeys(#[from] KeyFileError),
    /// The node was told to join, and cannot prove that it may.
    #[error(
        "this node has nothing with which it could join: give it the cluster's secret (--cluster-secret-file), or the token of \
         an invite (`weldrctl cluster invite` at a member prints the whole command)"
    )]
    NothingToJoinWith,
    /// The token is no token.
    #[error(
        "the token of the invite (--join-token-file, WELDR_JOIN_TOKEN or --join-token) is not complete: it begins with weldr-join-1, \
         as `weldrctl cluster invite` prints it"
    )]
    BadToken,
    /// The members of the cluster are known by certificates.
    #[error(
        "the invite is of a cluster whose nodes have certificates of an authority: give this node one too, with --cluster-cert, \
         --cluster-key and --cluster-ca"
    )]
    InviteWithoutKeys,
    /// The node has no data and was not told what to do.
    #[error(
        "this node belongs to no cluster: --join ADDR joins the one of the node at ADDR, also after this node lost its \
         data; --found-cluster founds a new one, with an empty pool"
    )]
    NoCluster,
    /// The node was told to found a cluster, and a cluster calls its address.
    #[error(
        "no cluster is founded: a node{} of cluster {cluster}{} calls this address, so this node \
         was a member and has lost its data. Start it with --join and the address of a node of that cluster, without \
         --found-cluster",
        At(.from), if *.is_proven { ", which has the same secret," } else { "" }
    )]
    MemberElsewhere {
        /// The cluster.
        cluster: Uuid,
        /// Where the node called from, if that is known.
        from: Option<IpAddr>,
        /// Whether it has proven that it has the secret of this node.
        is_proven: bool,
    },
    /// The address for other nodes cannot be listened on before the cluster is founded.
    #[error("cannot listen for other nodes before the cluster is founded")]
    Founding(#[source] io::Error),
    /// The node cannot be made the only one of a new cluster.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// A member refused the join request.
    #[error("this node cannot join the cluster: {0}")]
    JoinRefused(String),
    /// No member answered the join requests.
    #[error("no node of the cluster answers at {}: start one, or correct --join", Addresses(.addresses))]
    JoinUnanswered {
        /// The addresses that were asked.
        addresses: Vec<SocketAddr>,
        /// The last error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The node joined, but did not receive the current state in time.
    #[error("this node has joined the cluster, but was not brought up to date in {}s: is there a quorum?", .0.as_secs())]
    NotCaughtUp(Duration),
    /// The consensus engine cannot start.
    #[error("the consensus engine cannot start: {0}")]
    Engine(String),
    /// The first entry of the log cannot be written.
    #[error("the initial state of the pool cannot be written")]
    Begin(#[source] ProposeError),
    /// The operating system cannot create a thread.
    #[error("cannot start a thread: raise the limit of processes (ulimit -u, TasksMax)")]
    Thread(#[source] io::Error),
}

impl OpenError {
    /// [`OpenError::Engine`] with the text of `why`. The engine has too many error types to keep them as sources.
    pub(super) fn engine(why: impl fmt::Display) -> Self {
        Self::Engine(why.to_string())
    }
}

struct At<'a>(&'a Option<IpAddr>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ip) => write!(f, " at {ip}"),
            None => Ok(()),
        }
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

/// Why a node cannot be made the only one of a new cluster.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The data directory holds no state of a cluster.
    #[error(
        "this node has no state to recover: --recover-from-lost-majority is for a node that was a member"
    )]
    Nothing,
    /// The node is the only voter already.
    #[error("this node is the only voter already: start it without --recover-from-lost-majority")]
    Alone,
    /// A majority of the voters is there: this node and those that respond.
    #[error("the majority of the cluster is not lost: {} respond{}. Start this node without --recover-from-lost-majority, or stop them first", .0.join(", "), if .0.len() == 1 { "s" } else { "" })]
    MajorityResponds(Vec<String>),
    /// The log has a record of a newer version.
    #[error("this weldr is older than its log: {0}. Start a newer one")]
    Outdated(String),
    /// The snapshot is damaged.
    #[error("the snapshot of this node cannot be read")]
    Snapshot(#[source] Damage),
    /// The new state cannot be written.
    #[error("the recovered state cannot be written")]
    Store(#[from] StoreError),
}

/// What is wrong with the content of a database.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The integrity check of the database failed.
    #[error("it does not pass the integrity check")]
    Integrity(#[source] StoreError),
    /// The database library panicked while it read the file.
    #[error("reading it failed an assertion: {0}")]
    Assertion(String),
    /// The value of a row cannot be decoded.
    #[error("the row {row} does not parse")]
    Row {
        /// Table and key of the row.
        row: String,
        /// The decoding error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The value of a row contradicts another row.
    #[error("the row {row} {contradiction}")]
    Contradiction {
        /// Table and key of the row.
        row: String,
        /// The contradiction, as the end of a sentence that begins with the row.
        contradiction: &'static str,
    },
}

/// Why the database could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Error of the database library.
    #[error("the database failed")]
    Database(#[from] redb::Error),
    /// Error of the file system.
    #[error("the file system failed")]
    Files(#[from] io::Error),
    /// A value could not be encoded as JSON.
    #[error("a row could not be encoded")]
    Encode(#[from] serde_json::Error),
    /// The path of the database names another file than the one that is open, or none.
    #[error("the database {} is not the file that was opened: it was removed or replaced; put it back, or restart weldr", .path.display())]
    Displaced {
        /// The path.
        path: PathBuf,
        /// Why there is no file.
        #[source]
        source: Option<io::Error>,
    },
    /// The database could not be reopened after a failed write.
    #[error("the database could not be opened again after an earlier failure")]
    Reopen(#[source] Box<OpenError>),
}

/// Why a proposal failed.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// The command is not valid for the current state. Nothing changed.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The change could not be written to disk. Nothing changed.
    #[error("the change could not be written to disk")]
    NotDurable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// No leader has a majority. Nothing changed.
    #[error("the cluster has no quorum{}", NoAnswerFrom(.missing))]
    NoQuorum {
        /// The nodes that do not answer, as `name (address)`.
        missing: Vec<String>,
    },
    /// No answer in time: the change may or may not be applied. It is safe to send it again.
    #[error("the change was not answered in time, so it is not known whether it was made{}", NoAnswerFrom(.missing))]
    Unknown {
        /// The nodes that do not answer, as `name (address)`.
        missing: Vec<String>,
    },
    /// This node stopped applying the log, so it cannot show the result of a change or a read. Nothing changed.
    #[error("this weldr is older than its log: {0}. Start a newer one")]
    Outdated(Stopped),
    /// The node is shutting down; nothing changed.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// Why a change of the membership or of the leadership failed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// No member has this name.
    #[error("{0}")]
    NoSuchNode(String),
    /// The change is not possible now, or not for this node.
    #[error("{0}")]
    Refused(String),
    /// No leader carried out the change.
    #[error("{0}")]
    Unavailable(String),
    /// There is no leader that has a majority. Nothing changed.
    #[error("the cluster has no quorum{}", NoAnswerFrom(.missing))]
    NoQuorum {
        /// The nodes that do not answer, as `name (address)`.
        missing: Vec<String>,
    },
}

impl From<ProposeError> for ChangeError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NoQuorum { missing } => Self::NoQuorum { missing },
            ProposeError::NotDurable(_)
            | ProposeError::Unknown { .. }
            | ProposeError::ShuttingDown
            | ProposeError::Rejected(_) => Self::Unavailable(error.to_string()),
            ProposeError::Outdated(_) => Self::Refused(error.to_string()),
        }
    }
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

/// Why a node stopped applying the log: it found a record that this version of Weldr does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The index of the record in the log.
    pub index: u64,
    /// What is not known about it.
    pub reason: String,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { index, reason } = self;
        write!(f, "record {index} of the log is not known: {reason}")
    }
}
