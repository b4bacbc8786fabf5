//! Invites: each lets one node join. Pure.

use std::{collections::VecDeque, time::Duration};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// The number of invites that are kept, open ones and those that have ended last.
const MOST_INVITES: usize = 32;
/// The length of the id of an invite, in hexadecimal digits.
const ID: usize = 12;

/// An invite. Its secret is nowhere, only the SHA-256 of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// SHA-256 of the secret, in hex.
    pub(in crate::cluster) digest: String,
    /// How long it is valid. Each node counts from when it applied it.
    pub lifetime: Duration,
    /// Who made it.
    pub from: String,
    /// Why it is valid no more; `None` while it is.
    pub end: Option<InviteEnd>,
}

/// Why an invite is valid no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InviteEnd {
    /// A node has joined with it.
    Used {
        /// The id of the node.
        node: u64,
        /// Its name.
        name: String,
    },
    /// Its time is over.
    Expired,
    /// An operator has revoked it.
    Revoked,
}

/// The last invites, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::cluster) struct Invites(VecDeque<Invite>);

/// What is stored of the secret of an invite.
pub(in crate::cluster) fn digest_of(secret: &[u8]) -> String {
    let digest = digest(&SHA256, secret);
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

impl Invite {
    /// What operators call it.
    pub fn id(&self) -> &str {
        &self.digest[..ID.min(self.digest.len())]
    }
}

impl Invites {
    /// Adds an invite, in place of one that has ended. Has no effect where all are open.
    pub(in crate::cluster) fn add(&mut self, digest: String, lifetime: Duration, from: String) {
        if self.find(&digest).is_some() {
            return;
        }
        if self.0.len() >= MOST_INVITES {
            let ended = self.0.iter().position(|invite| invite.end.is_some());
            let Some(ended) = ended else { return };
            self.0.remove(ended);
        }
        self.0.push_back(Invite {
            digest,
            lifetime,
            from,
            end: None,
        });
    }

    /// Ends an invite, if it is open.
    pub(in crate::cluster) fn end(&mut self, digest: &str, end: InviteEnd) {
        let mut invites = self.0.iter_mut();
        let invite = invites.find(|invite| invite.digest == digest);
        if let Some(invite) = invite.filter(|invite| invite.end.is_none()) {
            invite.end = Some(end);
        }
    }

    /// The invite with this digest.
    pub(in crate::cluster) fn find(&self, digest: &str) -> Option<&Invite> {
        self.0.iter().find(|invite| invite.digest == digest)
    }

    /// All, the newest last.
    pub(in crate::cluster) fn all(&self) -> impl Iterator<Item = &Invite> {
        self.0.iter()
    }

    /// Those that are valid.
    pub(in crate::cluster) fn open(&self) -> impl Iterator<Item = &Invite> {
        self.all().filter(|invite| invite.end.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn used(node: u64) -> InviteEnd {
        let name = "d".to_owned();
        InviteEnd::Used { node, name }
    }

    #[test]
    fn an_invite_ends_once() {
        let mut invites = Invites::default();
        let digest = digest_of(b"secret");
        assert_eq!(digest.len(), 64);
        invites.add(digest.clone(), HOUR, "a".to_owned());
        assert_eq!(invites.open().count(), 1);
        invites.end(&digest, used(1));
        for end in [used(2), InviteEnd::Revoked, InviteEnd::Expired] {
            invites.end(&digest, end);
        }
        invites.add(digest.clone(), HOUR, "a".to_owned());
        assert_eq!(invites.find(&digest).unwrap().end, Some(used(1)));
        assert_eq!(invites.open().count(), 0);
    }

    #[test]
    fn their_number_has_a_bound_and_no_open_one_gives_way() {
        let mut invites = Invites::default();
        for n in 0..=MOST_INVITES {
            invites.add(digest_of(&n.to_be_bytes()), HOUR, String::new());
        }
        assert_eq!(invites.open().count(), MOST_INVITES);
        let last = digest_of(&MOST_INVITES.to_be_bytes());
        assert!(invites.find(&last).is_none());
        invites.end(&digest_of(&3_usize.to_be_bytes()), InviteEnd::Revoked);
        invites.add(last.clone(), HOUR, String::new());
        assert!(invites.find(&last).is_some());
        assert_eq!(invites.all().count(), MOST_INVITES);
    }
}
