//! The calls about invites and about the keys of nodes.

use std::time::Duration;

use weldr_proto::v1::{self, InviteState};

use crate::{
    cluster::{InviteEnd, InviteStatus},
    management::error::Error,
    model::Invalid,
};

use super::{ApiCaller, Operations};

/// How long an invite is valid, unless the request says it.
const LIFETIME: Duration = Duration::from_hours(1);
/// The range of lifetimes.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_hours(30 * 24);

impl Operations {
    pub(in crate::management) async fn create_invite(
        &self,
        caller: ApiCaller,
        request: v1::CreateInviteRequest,
    ) -> Result<v1::CreateInviteResponse, Error> {
        let lifetime = request.lifetime.map(lifetime).transpose()?;
        let lifetime = lifetime.unwrap_or(LIFETIME);
        let from = caller.caller.to_string();
        let invited = self.context.cluster.invite(lifetime, &from).await?;
        tracing::info!(caller = %caller.caller, id = invited.id, ?lifetime, "a node is invited");
        Ok(v1::CreateInviteResponse {
            revision: self.snapshot().revision.0,
            id: invited.id,
            token: invited.token,
            join: invited.join,
            lifetime: lifetime.try_into().ok(),
        })
    }

    pub(in crate::management) async fn list_invites(
        &self,
    ) -> Result<v1::ListInvitesResponse, Error> {
        let revision = self.read(false).await?.revision.0;
        let invites = self.context.cluster.invites();
        Ok(v1::ListInvitesResponse {
            revision,
            invites: invites.into_iter().rev().map(invite).collect(),
        })
    }

    pub(in crate::management) async fn revoke_invite(
        &self,
        caller: ApiCaller,
        request: v1::RevokeInviteRequest,
    ) -> Result<v1::RevokeInviteResponse, Error> {
        let id = request.id.clone();
        self.context.cluster.revoke_invite(request.id).await?;
        tracing::info!(caller = %caller.caller, id, "an invite is revoked");
        Ok(v1::RevokeInviteResponse {
            revision: self.snapshot().revision.0,
        })
    }

    pub(in crate::management) async fn rotate_node_key(
        &self,
        caller: ApiCaller,
        request: v1::RotateNodeKeyRequest,
    ) -> Result<v1::RotateNodeKeyResponse, Error> {
        let node = request.name.clone();
        let key = self.context.cluster.rotate_key(request.name).await?;
        tracing::info!(caller = %caller.caller, node, "the key of a node was replaced");
        Ok(v1::RotateNodeKeyResponse {
            revision: self.snapshot().revision.0,
            key,
        })
    }
}

fn lifetime(lifetime: prost_types::Duration) -> Result<Duration, Error> {
    let given = Duration::try_from(lifetime).ok();
    let accepted = given.filter(|given| (SHORTEST..=LONGEST).contains(given));
    accepted.ok_or_else(|| {
        let given = format!("{}s", lifetime.seconds);
        Invalid::new("lifetime", given, "a duration from 1s to 30 days").into()
    })
}

fn invite(InviteStatus { invite, left }: InviteStatus) -> v1::Invite {
    let (state, used_by) = match &invite.end {
        None => (InviteState::Open, ""),
        Some(InviteEnd::Used { name, .. }) => (InviteState::Used, name.as_str()),
        Some(InviteEnd::Expired) => (InviteState::Expired, ""),
        Some(InviteEnd::Revoked) => (InviteState::Revoked, ""),
    };
    v1::Invite {
        id: invite.id().to_owned(),
        state: state.into(),
        lifetime: invite.lifetime.try_into().ok(),
        left: match invite.end {
            None => left.try_into().ok(),
            Some(_) => None,
        },
        used_by: used_by.to_owned(),
        from: invite.from,
    }
}
