//! The consensus engine's types.

use bytes::Bytes;
use openraft::{alias, impls::leader_id_std};

use super::{
    fingerprint::Fingerprint,
    proposal::{ProposalResult, Record},
};

openraft::declare_raft_types!(
    /// The engine's type configuration. There is one leader in a term, as in the Raft paper.
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
/// A snapshot with the encoded state.
pub(in crate::cluster) type RaftSnapshot = alias::SnapshotOf<Types, Bytes>;

/// A node, as the members of the cluster know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// The name of the node.
    pub name: String,
    /// The address at which other nodes reach it, `ip:port`; empty for a node without a cluster address.
    pub address: String,
    /// The keys by which it is known: one, or two while the key is rotated. Empty for a node with a certificate of the
    /// operators' authority, which is known by its name, and for one of version 0.1.0.
    pub keys: Vec<Fingerprint>,
}
