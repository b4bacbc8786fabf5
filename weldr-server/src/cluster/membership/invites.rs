//! How nodes are invited, and how the leader lets a node in that has an invite.

use std::time::{Duration, Instant};

use tonic::Status;
use tracing::info;

use crate::cluster::{
    error::{ChangeError, ProposeError},
    log::{
        invites::{Invite, InviteEnd, digest_of},
        proposal::{Proposal, Record},
    },
    raft::core::Core,
};

use super::token::Token;

/// An invite that was made just now.
#[derive(Debug, Clone)]
pub struct Invited {
    /// What operators call it.
    pub id: String,
    /// What the node needs. It is nowhere else.
    pub token: String,
    /// The addresses of the members.
    pub join: Vec<String>,
}

/// An invite, and how long this node believes that it is still valid.
#[derive(Debug, Clone)]
pub struct InviteStatus {
    /// The invite.
    pub invite: Invite,
    /// Zero if it has ended.
    pub left: Duration,
}

impl Core {
    /// Lets one node join within `lifetime`.
    pub(in crate::cluster) async fn invite(
        &self,
        lifetime: Duration,
        from: String,
    ) -> Result<Invited, ChangeError> {
        let refused = |why: &str| ChangeError::Refused(why.to_owned());
        if self.member.address.is_empty() {
            return Err(refused(
                "this node has no address for other nodes: start it with --cluster",
            ));
        }
        let members = self.peers.roster().current();
        let members: Vec<_> = members.nodes().map(|(_, member)| member).collect();
        let keys = members
            .iter()
            .flat_map(|member| member.keys.iter().copied());
        let token = Token::new(keys).ok_or_else(|| refused("the system has no random numbers"))?;
        if token.keys.is_empty() && self.peers.credentials().authority.is_none() {
            return Err(refused(
                "the members have no keys yet: wait until all nodes are of this version",
            ));
        }
        let digest = digest_of(&token.secret);
        self.submit(Record::of(&Proposal::Invite {
            digest: digest.clone(),
            lifetime,
            from,
        }))
        .await
        .map_err(ProposeError::from)?;
        self.catch_up().await.map_err(ProposeError::from)?;
        let invites = self.machine.invites();
        let invite = invites
            .find(&digest)
            .ok_or_else(|| refused("there are too many open invites: revoke some"))?;
        Ok(Invited {
            id: invite.id().to_owned(),
            token: token.to_string(),
            join: members
                .iter()
                .map(|member| member.address.clone())
                .collect(),
        })
    }

    /// The last invites, the newest last.
    pub(in crate::cluster) fn invites(&self) -> Vec<InviteStatus> {
        let (invites, now) = (self.machine.invites(), Instant::now());
        let status = |invite: &Invite| InviteStatus {
            left: match invite.end {
                None => self.invite_ages.left(invite, now),
                Some(_) => Duration::ZERO,
            },
            invite: invite.clone(),
        };
        invites.all().map(status).collect()
    }

    /// Ends the open invite with this id.
    pub(in crate::cluster) async fn revoke_invite(&self, id: &str) -> Result<(), ChangeError> {
        self.catch_up().await.map_err(ProposeError::from)?;
        let invites = self.machine.invites();
        let invite = invites.open().find(|invite| invite.id() == id);
        let digest = invite.map(|invite| invite.digest.clone());
        let digest = digest.ok_or_else(|| no_invite(id))?;
        let end = InviteEnd::Revoked;
        let revoked = self.submit(Record::of(&Proposal::EndInvite { digest, end }));
        revoked.await.map_err(ProposeError::from)?;
        // Revoked on this node too, when the call returns.
        self.catch_up().await.map_err(ProposeError::from)?;
        Ok(())
    }

    /// Ends the invites whose time is over, if this node leads.
    pub(in crate::cluster) async fn expire_invites(&self) {
        let over = self
            .invite_ages
            .note(&self.machine.invites(), Instant::now());
        if over.is_empty() || self.leading().is_err() {
            return;
        }
        for digest in over {
            let end = InviteEnd::Expired;
            let record = Record::of(&Proposal::EndInvite { digest, end });
            // It is tried again in a moment.
            let _ = self.submit_here(record).await;
        }
    }

    /// Whether the secret of an invite lets the node `id` join. The invite is used up by that.
    pub(in crate::cluster) async fn redeem(
        &self,
        secret: &[u8],
        id: u64,
        name: &str,
    ) -> Result<(), Status> {
        let digest = digest_of(secret);
        let used = InviteEnd::Used {
            node: id,
            name: name.to_owned(),
        };
        let invites = self.machine.invites();
        let invite = invites.find(&digest).ok_or_else(unknown)?;
        let is_open = invite.end.is_none();
        if is_open && self.invite_ages.left(invite, Instant::now()).is_zero() {
            return Err(ended(&InviteEnd::Expired));
        }
        if is_open {
            let end = used.clone();
            let record = Record::of(&Proposal::EndInvite {
                digest: digest.clone(),
                end,
            });
            self.submit_here(record).await?;
        }
        // Whoever was first has it. A node that asks again after it was answered too late is the same.
        match self.machine.invites().find(&digest) {
            None => Err(unknown()),
            Some(Invite { end: Some(end), .. }) if *end == used => {
                info!(node = name, id = format!("{id:x}"), "an invite is used");
                Ok(())
            }
            Some(Invite { end: Some(end), .. }) => Err(ended(end)),
            Some(Invite { end: None, .. }) => {
                Err(Status::unavailable("the invite is not used yet"))
            }
        }
    }
}

fn no_invite(id: &str) -> ChangeError {
    ChangeError::NoSuchNode(format!(
        "there is no open invite {id:?}: `weldrctl cluster invites` lists them"
    ))
}

fn unknown() -> Status {
    Status::permission_denied("this cluster does not know the invite of its token")
}

fn ended(end: &InviteEnd) -> Status {
    Status::permission_denied(match end {
        InviteEnd::Used { name, .. } => format!(
            "the invite of its token is used: node {name} has joined with it, and each is for one node"
        ),
        InviteEnd::Expired => {
            "the invite of its token has expired: make another one with `weldrctl cluster invite`"
                .to_owned()
        }
        InviteEnd::Revoked => "the invite of its token was revoked".to_owned(),
    })
}
