//! `cluster invite`, `invites`, `revoke-invite` and `rotate-key`.

use serde::Serialize;
use weldr_proto::{
    json::{Invite, Seconds},
    v1::{
        CreateInviteRequest, CreateInviteResponse, ListInvitesRequest, RevokeInviteRequest,
        RotateNodeKeyRequest,
    },
};

use super::Session;
use crate::{
    args::InviteArgs,
    error::{CtlError, Exit},
    output::{
        json,
        table::{figures, render, words},
    },
};

/// An invite that was made.
#[derive(Debug, Serialize)]
struct Invited<'a> {
    id: &'a str,
    token: &'a str,
    join: &'a [String],
    lifetime_seconds: Option<Seconds>,
    revision: u64,
}

/// The last invites.
#[derive(Debug, Serialize)]
struct Invites {
    invites: Vec<Invite>,
}

/// A key that was replaced.
#[derive(Debug, Serialize)]
struct Rotated<'a> {
    node: &'a str,
    key: &'a str,
}

pub(super) async fn invite(session: &Session, args: InviteArgs) -> Result<Exit, CtlError> {
    let request = CreateInviteRequest {
        lifetime: args.expires.try_into().ok(),
    };
    let invited = session.client.create_invite(request).await?;
    let output = &session.output;
    if args.token_only {
        output.text(&format!("{}\n", invited.token))?;
    } else if output.is_json() {
        output.document(&Invited {
            id: &invited.id,
            token: &invited.token,
            join: &invited.join,
            lifetime_seconds: invited.lifetime.map(Seconds),
            revision: invited.revision,
        })?;
    } else {
        let lifetime = humantime::format_duration(args.expires).to_string();
        output.text(&command(&invited, &lifetime))?;
    }
    Ok(Exit::Done)
}

/// The command for the new machine. The token is in a variable: every user of a machine can read the command lines of its
/// processes.
fn command(invited: &CreateInviteResponse, lifetime: &str) -> String {
    let CreateInviteResponse {
        id, token, join, ..
    } = invited;
    let join = join.join(",");
    format!(
        "# invite {id}, for one node, valid for {lifetime}. On the new machine, with its own address for ADDRESS:\n\
         WELDR_JOIN_TOKEN={token} \\\n  weldr --cluster ADDRESS:8688 --join {join}\n"
    )
}

pub(super) async fn list(session: &Session) -> Result<Exit, CtlError> {
    let response = session.client.list_invites(ListInvitesRequest {}).await?;
    let invites: Vec<Invite> = response.invites.iter().map(Invite::from).collect();
    let output = &session.output;
    if output.is_json() {
        output.document(&Invites { invites })?;
        return Ok(Exit::Done);
    }
    let columns = [
        words("ID"),
        words("STATE"),
        figures("LEFT"),
        words("NODE"),
        words("FROM"),
    ];
    let dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    let rows = response.invites.iter().map(|invite| {
        let left = invite.left.map(|left| format!("{}s", left.seconds));
        vec![
            invite.id.clone().into(),
            Invite::from(invite).state.into(),
            dash(&left.unwrap_or_default()).into(),
            dash(&invite.used_by).into(),
            dash(&invite.from).into(),
        ]
    });
    output.text(&render(&columns, rows.collect(), output.paint()))?;
    Ok(Exit::Done)
}

pub(super) async fn revoke(session: &Session, id: String) -> Result<Exit, CtlError> {
    let request = RevokeInviteRequest { id: id.clone() };
    let revision = session.client.revoke_invite(request).await?.revision;
    let output = &session.output;
    if output.is_json() {
        output.document(&json::Made { revision })?;
    } else {
        output.text(&format!("the invite {id} was revoked\n"))?;
    }
    Ok(Exit::Done)
}

pub(super) async fn rotate_key(session: &Session, name: String) -> Result<Exit, CtlError> {
    let request = RotateNodeKeyRequest { name: name.clone() };
    let key = session.client.rotate_node_key(request).await?.key;
    let output = &session.output;
    if output.is_json() {
        output.document(&Rotated {
            node: &name,
            key: &key,
        })?;
    } else {
        output.text(&format!(
            "{name} has a new key, {key}, and the old one is not valid any more\n"
        ))?;
    }
    Ok(Exit::Done)
}
