//! How long ago this node applied each open invite. Pure; the time is given.
//!
//! Nothing is decided by a date, so each node counts from when it applied an invite, and the leader decides by its own count.
//! A node that is started again counts from zero. So an invite is valid for its lifetime at least, and for longer after the
//! leader has changed or was restarted; it is used once in any case, and can be revoked.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::cluster::log::invites::{Invite, Invites};

/// When this node first saw each open invite.
#[derive(Debug, Default)]
pub(in crate::cluster) struct InviteAges(Mutex<HashMap<String, Instant>>);

impl InviteAges {
    /// Counts for the invites that are open at `now`. Returns those whose time is over.
    pub(in crate::cluster) fn note(&self, invites: &Invites, now: Instant) -> Vec<String> {
        let mut ages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ages.retain(|digest, _| invites.open().any(|invite| invite.digest == *digest));
        for invite in invites.open() {
            ages.entry(invite.digest.clone()).or_insert(now);
        }
        let is_over = |invite: &&_| left(&ages, invite, now).is_zero();
        let over = invites.open().filter(is_over);
        over.map(|invite| invite.digest.clone()).collect()
    }

    /// How long an open invite is still valid, as this node counts.
    pub(in crate::cluster) fn left(&self, invite: &Invite, now: Instant) -> Duration {
        let ages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        left(&ages, invite, now)
    }
}

fn left(ages: &HashMap<String, Instant>, invite: &Invite, now: Instant) -> Duration {
    let since = ages.get(&invite.digest).copied().unwrap_or(now);
    let age = now.saturating_duration_since(since);
    invite.lifetime.saturating_sub(age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::log::invites::InviteEnd;

    #[test]
    fn an_invite_is_valid_for_its_lifetime_from_when_it_was_applied() {
        let (ages, mut invites, begun) =
            (InviteAges::default(), Invites::default(), Instant::now());
        let minute = Duration::from_mins(1);
        invites.add("one".to_owned(), minute, String::new());
        assert_eq!(ages.note(&invites, begun), [""; 0]);
        invites.add("two".to_owned(), minute, String::new());
        assert_eq!(ages.note(&invites, begun + minute / 2), [""; 0]);
        assert_eq!(ages.note(&invites, begun + minute), ["one"]);
        let two = invites.find("two").unwrap().clone();
        assert_eq!(ages.left(&two, begun + minute), minute / 2);
        invites.end("one", InviteEnd::Expired);
        assert_eq!(ages.note(&invites, begun + minute * 2), ["two"]);
        // A node that is started again.
        let again = InviteAges::default();
        assert_eq!(again.note(&invites, begun + minute * 2), [""; 0]);
    }
}
