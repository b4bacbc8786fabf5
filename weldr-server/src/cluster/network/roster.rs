//! The members of the cluster and their keys, for those who call and for those who are called.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
};

use crate::cluster::log::{
    fingerprint::Fingerprint,
    types::{Member, StoredMembership},
};

use super::channel::ChannelPeer;

/// The membership that the consensus engine works with.
pub(in crate::cluster) trait EngineMembership: Send + Sync {
    /// The last membership in the log, committed or not; `None` while the engine knows none.
    fn current(&self) -> Option<Arc<StoredMembership>>;
    /// Whether the node with this id was a member and was removed.
    fn was_removed(&self, id: u64) -> bool;
}

/// Who is a member now.
pub(in crate::cluster) struct Roster {
    /// The last membership that this node had before the engine was started, or that a member has told it. A node that was
    /// away learns by this from whom it gets the log.
    told: RwLock<Arc<StoredMembership>>,
    engine: OnceLock<Box<dyn EngineMembership>>,
    /// The keys of members without a key in the membership, which have proven the secret.
    acquainted: Mutex<HashMap<u64, Fingerprint>>,
}

impl std::fmt::Debug for Roster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Roster").field(&self.current()).finish()
    }
}

impl Roster {
    pub(in crate::cluster) fn new(told: StoredMembership) -> Self {
        Self {
            told: RwLock::new(Arc::new(told)),
            engine: OnceLock::new(),
            acquainted: Mutex::default(),
        }
    }

    /// From now on, the membership of the engine is the current one.
    pub(in crate::cluster) fn follow(&self, engine: impl EngineMembership + 'static) {
        // A node has one engine.
        let _ = self.engine.set(Box::new(engine));
    }

    /// Notes a committed membership that a member has told, if it is later than all that this node knows.
    pub(in crate::cluster) fn learn(&self, membership: StoredMembership) {
        if is_later(&membership, &self.current()) {
            *self.told.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(membership);
        }
    }

    /// The last membership that this node knows.
    pub(in crate::cluster) fn current(&self) -> Arc<StoredMembership> {
        let told = Arc::clone(&self.told.read().unwrap_or_else(PoisonError::into_inner));
        let engine = self.engine.get().and_then(|engine| engine.current());
        match engine {
            Some(engine) if !is_later(&told, &engine) => engine,
            _ => told,
        }
    }

    pub(in crate::cluster) fn was_removed(&self, id: u64) -> bool {
        let engine = self.engine.get();
        engine.is_some_and(|engine| engine.was_removed(id))
    }

    /// The member with this id. If the membership has no key of it, with the one that it has proven.
    pub(in crate::cluster) fn member(&self, id: u64) -> Option<Member> {
        let mut member = self.current().get_node(&id)?.clone();
        if member.keys.is_empty() {
            member.keys.extend(self.acquainted(id));
        }
        Some(member)
    }

    /// The member on the other side of a channel. `claimed` is what it says; it decides only where several names are in one
    /// certificate.
    pub(in crate::cluster) fn holder(&self, peer: &ChannelPeer, claimed: u64) -> Option<u64> {
        let is = |id: &u64| self.member(*id).is_some_and(|member| peer.is(&member));
        let current = self.current();
        let mut ids = std::iter::once(claimed).chain(current.nodes().map(|(id, _)| *id));
        ids.find(is)
    }

    /// Whether the member with this id votes.
    pub(in crate::cluster) fn votes(&self, id: u64) -> bool {
        self.current().voter_ids().any(|voter| voter == id)
    }

    /// Notes the key of a member that has proven the secret, if the membership has none.
    pub(in crate::cluster) fn acquaint(&self, id: u64, key: Fingerprint) {
        let current = self.current();
        let has_no_key = |member: &Member| member.keys.is_empty();
        if current.get_node(&id).is_some_and(has_no_key) {
            let mut acquainted = self
                .acquainted
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            acquainted.retain(|id, _| current.get_node(id).is_some_and(has_no_key));
            acquainted.insert(id, key);
        }
    }

    /// Whether this is a member of which the membership has no key.
    pub(in crate::cluster) fn lacks_key(&self, id: u64) -> bool {
        let current = self.current();
        current
            .get_node(&id)
            .is_some_and(|member| member.keys.is_empty())
    }

    fn acquainted(&self, id: u64) -> Option<Fingerprint> {
        let acquainted = self.acquainted.lock();
        let acquainted = acquainted.unwrap_or_else(PoisonError::into_inner);
        acquainted.get(&id).copied()
    }
}

fn is_later(one: &StoredMembership, other: &StoredMembership) -> bool {
    let at = |membership: &StoredMembership| membership.log_id().map(|log_id| log_id.index);
    at(one) > at(other)
}
