//! What nodes tell each other beside the heartbeats: a leader the digest of its token, and a follower for how long it
//! refuses its vote to others after a heartbeat.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};

use super::death_notice::{DeathNotice, Token};

/// The lease of nodes of version 0.1.0, which do not tell it.
const UNTOLD_LEASE: Duration = Duration::from_millis(600);

/// What this node tells and was told.
#[derive(Debug)]
pub(in crate::cluster) struct LeaseExchange {
    /// For how long this node refuses its vote after it heard from a leader.
    own: Duration,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// The token of the last term in which this node led.
    token: Option<(u64, Token)>,
    /// The last leader that this node heard from: term, node, and the digest of its token.
    leader: Option<(u64, u64, Vec<u8>)>,
    /// For how long each of the other nodes refuses its vote.
    leases: HashMap<u64, Duration>,
}

impl LeaseExchange {
    pub(in crate::cluster) fn new(own: Duration) -> Self {
        Self {
            own,
            told: Mutex::default(),
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long this node refuses its vote, in milliseconds.
    pub(in crate::cluster) fn own_millis(&self) -> u64 {
        u64::try_from(self.own.as_millis()).unwrap_or(u64::MAX)
    }

    /// The token of `term`, in which this node leads. `None` if there is no randomness.
    pub(in crate::cluster) fn token(&self, term: u64) -> Option<Token> {
        let mut told = self.told();
        if let Some((known, token)) = told.token
            && known == term
        {
            return Some(token);
        }
        let mut token = Token::default();
        SystemRandom::new().fill(&mut token).ok()?;
        told.token = Some((term, token));
        Some(token)
    }

    /// The digest of [`token`](Self::token), for the other nodes; empty if there is none.
    pub(in crate::cluster) fn token_digest(&self, term: u64) -> Vec<u8> {
        let token = self.token(term);
        token.map_or_else(Vec::new, |token| digest(&SHA256, &token).as_ref().to_vec())
    }

    /// Records the digest of a leader from which this node has heard.
    pub(in crate::cluster) fn heard_from(&self, term: u64, node: u64, digest: Vec<u8>) {
        let mut told = self.told();
        let is_old = told.leader.as_ref().is_some_and(|known| known.0 > term);
        if !is_old {
            told.leader = Some((term, node, digest));
        }
    }

    /// Whether `notice` proves the death of the last leader that this node heard from.
    pub(in crate::cluster) fn is_proven(&self, notice: &DeathNotice) -> bool {
        let told = self.told();
        let Some((term, node, expected)) = &told.leader else {
            return false;
        };
        // The digest is no secret, so the time of the comparison does not matter.
        (*term, *node) == (notice.term, notice.node)
            && digest(&SHA256, &notice.token).as_ref() == expected.as_slice()
    }

    /// Records for how long `node` refuses its vote; 0 if it does not tell.
    pub(in crate::cluster) fn answered(&self, node: u64, lease_millis: u64) {
        let lease = match lease_millis {
            0 => UNTOLD_LEASE,
            millis => Duration::from_millis(millis),
        };
        let before = self.told().leases.insert(node, lease);
        if before != Some(lease) && lease != self.own {
            tracing::warn!(
                own = ?self.own,
                other = ?lease,
                "another node has another failover profile or version; the shorter lease applies"
            );
        }
    }

    /// For how long after a heartbeat no other node can be elected: all of the nodes that answer refuse their votes for
    /// at least that time.
    pub(in crate::cluster) fn shortest(&self) -> Duration {
        let told = self.told();
        let leases = told.leases.values().copied();
        leases.min().map_or(self.own, |least| least.min(self.own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_lease_of_all_nodes_applies() {
        let exchange = LeaseExchange::new(Duration::from_millis(700));
        assert_eq!(exchange.shortest(), Duration::from_millis(700));
        exchange.answered(2, 0);
        assert_eq!(exchange.shortest(), UNTOLD_LEASE, "an old node");
        exchange.answered(3, 200);
        assert_eq!(exchange.shortest(), Duration::from_millis(200));
        exchange.answered(3, 2000);
        assert_eq!(exchange.shortest(), UNTOLD_LEASE);
    }

    #[test]
    fn only_the_token_of_the_last_leader_proves_its_death() {
        let [leader, follower] = [(); 2].map(|()| LeaseExchange::new(Duration::ZERO));
        let notice = |term, token| DeathNotice {
            cluster: uuid::Uuid::nil(),
            node: 1,
            term,
            token,
        };
        let token = leader.token(5).unwrap();
        assert!(!follower.is_proven(&notice(5, token)), "nothing was heard");
        follower.heard_from(5, 1, leader.token_digest(5));
        assert!(follower.is_proven(&notice(5, token)));
        assert!(!follower.is_proven(&notice(5, [0; 32])), "another token");
        assert!(!follower.is_proven(&notice(6, token)), "another term");
        let other = DeathNotice {
            node: 2,
            ..notice(5, token)
        };
        assert!(!follower.is_proven(&other), "another node");
        follower.heard_from(4, 2, vec![1]);
        assert!(follower.is_proven(&notice(5, token)), "an old heartbeat");
        follower.heard_from(6, 1, leader.token_digest(6));
        assert!(!follower.is_proven(&notice(5, token)), "it leads anew");
        assert!(follower.is_proven(&notice(6, leader.token(6).unwrap())));
    }
}
