//! Proposals, their form in the log, and their results.

use std::{fmt, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::{Applied, Command, PoolSettings, Rejection, Revision, Timestamp};

use super::{backup::Backup, invites::InviteEnd};

/// The newest version of records that this version of Weldr knows. A node stops applying the log at a record of a later
/// version, or at one of this version that cannot be parsed.
pub(in crate::cluster) const RECORD_VERSION: u32 = 4;

/// A proposal as it is in the log: not decoded, so that a node can store and forward a proposal that it does not know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cluster) struct Record {
    pub(in crate::cluster) version: u32,
    /// [`Proposal`] as JSON.
    pub(in crate::cluster) proposal: Bytes,
    /// A random id that tells equal proposals apart.
    pub(in crate::cluster) id: u64,
    /// Whether its values are validated when it is applied. A record of a version that did not is applied as that version
    /// applied it, because it may be in a snapshot of another node already.
    pub(in crate::cluster) validated: bool,
}

/// What can be proposed. A new variant, or a new field of a variant, needs a new [`RECORD_VERSION`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::cluster) enum Proposal {
    /// Sets the initial state. The first proposal of a cluster; has no effect later.
    Begin {
        /// The settings of the default pool.
        settings: PoolSettings,
    },
    /// Changes the desired state.
    Change {
        command: Command,
        /// When it was requested.
        at: Timestamp,
        /// Who requested it.
        from: String,
    },
    /// Restores the objects of an earlier revision.
    Rollback {
        to: Revision,
        at: Timestamp,
        from: String,
    },
    /// Restores the objects of a backup.
    Restore {
        backup: Backup,
        at: Timestamp,
        from: String,
    },
    /// Lets one node join that knows the secret with this SHA-256. Changes no revision.
    Invite {
        digest: String,
        lifetime: Duration,
        from: String,
    },
    /// Ends an invite, if it is open.
    EndInvite { digest: String, end: InviteEnd },
}

/// Why this version of Weldr cannot apply a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::cluster) enum UnknownRecord {
    #[error("it has version {found}, and this weldr knows versions up to {RECORD_VERSION}")]
    Version { found: u32 },
    #[error("it is not what version {RECORD_VERSION} may hold: {0}")]
    Content(String),
}

impl Record {
    pub(in crate::cluster) fn of(proposal: &Proposal) -> Self {
        // A proposal consists of strings, numbers and maps with string keys, which JSON can all represent.
        let proposal = serde_json::to_vec(proposal).unwrap_or_default();
        Self {
            version: RECORD_VERSION,
            proposal: proposal.into(),
            id: fastrand::u64(..),
            validated: true,
        }
    }

    pub(in crate::cluster) fn proposal(&self) -> Result<Proposal, UnknownRecord> {
        if self.version > RECORD_VERSION {
            return Err(UnknownRecord::Version {
                found: self.version,
            });
        }
        serde_json::from_slice(&self.proposal)
            .map_err(|error| UnknownRecord::Content(error.to_string()))
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "record of version {}, {} bytes",
            self.version,
            self.proposal.len()
        )
    }
}

/// The result of applying an entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cluster) enum ProposalResult {
    /// The entry has no result.
    Nothing,
    /// The proposal was applied.
    Applied(Applied),
    /// The proposal is not valid for the state.
    Rejected(Rejection),
}
