//! The types that the consensus engine works with, and what is in its log.

use std::fmt;

use bytes::Bytes;
use openraft::{alias, impls::leader_id_std};
use serde::{Deserialize, Serialize};

use crate::model::{Applied, Command, PoolSettings, Rejection, Revision, Timestamp};

use super::backup::Backup;

/// The newest version of records that this program knows. A record of a later version, or one of this
/// version that does not parse, stops the node from applying anything more.
pub(in crate::cluster) const RECORD_VERSION: u32 = 1;

openraft::declare_raft_types!(
    /// One leader a term, as in the paper.
    pub(in crate::cluster) Types:
        D = Record,
        R = ProposalResult,
        NodeId = u64,
        Node = Member,
        Term = u64,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
);

pub(in crate::cluster) type LogId = alias::LogIdOf<Types>;
pub(in crate::cluster) type Vote = alias::VoteOf<Types>;
pub(in crate::cluster) type Entry = alias::EntryOf<Types>;
pub(in crate::cluster) type Membership = openraft::Membership<u64, Member>;
pub(in crate::cluster) type StoredMembership = alias::StoredMembershipOf<Types>;
pub(in crate::cluster) type SnapshotMeta = alias::SnapshotMetaOf<Types>;
/// A state, encoded.
pub(in crate::cluster) type RaftSnapshot = alias::SnapshotOf<Types, Bytes>;

/// A node, as the members of the cluster know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// What operators call it.
    pub name: String,
    /// Where the other nodes reach it, `ip:port`; empty while it has no others.
    pub address: String,
}

/// What the log holds of an order: opaque, so that a node can keep and pass on what it does not know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cluster) struct Record {
    pub(in crate::cluster) version: u32,
    /// [`Order`] as JSON.
    pub(in crate::cluster) proposal: Bytes,
    /// Tells one proposal from another that says the same.
    pub(in crate::cluster) id: u64,
}

/// What can be ordered. A new kind, or a new field of an old one, gets a new [`RECORD_VERSION`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::cluster) enum Proposal {
    /// Begins the desired state; the first one of a cluster, and without effect later.
    Begin {
        /// The settings of the default pool.
        settings: PoolSettings,
    },
    /// Changes the desired state.
    Change {
        command: Command,
        /// When it was asked for.
        at: Timestamp,
        /// Who asked.
        from: String,
    },
    /// Brings back what was at an earlier revision.
    Rollback {
        to: Revision,
        at: Timestamp,
        from: String,
    },
    /// Brings back what is in a backup, and nothing else.
    Restore {
        backup: Backup,
        at: Timestamp,
        from: String,
    },
}

/// Why a record cannot be applied by this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::cluster) enum UnknownRecord {
    #[error("it has version {found}, and this weldr knows versions up to {RECORD_VERSION}")]
    Version { found: u32 },
    #[error("it is not what version {RECORD_VERSION} may hold: {0}")]
    Content(String),
}

impl Record {
    pub(in crate::cluster) fn of(proposal: &Proposal) -> Self {
        // Orders are made of strings, numbers and string keys, which JSON can all hold.
        let proposal = serde_json::to_vec(proposal).unwrap_or_default();
        Self {
            version: RECORD_VERSION,
            proposal: proposal.into(),
            id: fastrand::u64(..),
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

/// What became of an entry that was applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cluster) enum ProposalResult {
    /// It asks for no answer.
    Nothing,
    /// The order was carried out.
    Applied(Applied),
    /// The order does not fit the state.
    Rejected(Rejection),
}
