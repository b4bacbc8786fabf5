//! `token create`, `list`, `revoke`, and `whoami`.

use std::time::SystemTime;

use weldr_proto::v1::{
    CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, Role, WhoAmIRequest,
};

use super::Session;
use crate::{
    args::{RoleChoice, TokenCommand, TokenCreateArgs},
    error::{CtlError, Exit},
    output::{self, json, tokens},
};

pub(super) async fn run(session: &Session, command: TokenCommand) -> Result<Exit, CtlError> {
    match command {
        TokenCommand::Create(args) => create(session, args).await,
        TokenCommand::List => list(session).await,
        TokenCommand::Revoke(args) => revoke(session, args.name).await,
    }
}

async fn create(session: &Session, args: TokenCreateArgs) -> Result<Exit, CtlError> {
    let expires = args.expires.map(|time| (SystemTime::now() + time).into());
    let role = match args.role {
        RoleChoice::Metrics => Role::Metrics,
        RoleChoice::Viewer => Role::Viewer,
        RoleChoice::Operator => Role::Operator,
        RoleChoice::Admin => Role::Admin,
    };
    let request = CreateTokenRequest {
        name: args.name,
        role: role.into(),
        pools: session.given_pools.clone(),
        expires,
        subject: args.subject.unwrap_or_default(),
    };
    let response = session.client.create_token(request).await?;
    let output = &session.output;
    if output.is_json() {
        output.document(&json::CreatedToken::from(&response))?;
    } else {
        let principal = response.principal.unwrap_or_default();
        if response.token.is_empty() {
            output.text(&tokens::created(&principal))?;
        } else {
            // The token is alone on standard output.
            output::complain(tokens::created(&principal).trim_end());
            output::complain("this is the token; it is not shown again:");
            output.text(&format!("{}\n", response.token))?;
        }
    }
    tell_unconfirmed(&response.unconfirmed, "do not accept it yet");
    Ok(Exit::Done)
}

async fn list(session: &Session) -> Result<Exit, CtlError> {
    let request = ListTokensRequest {
        stale: session.stale,
    };
    let response = session.client.list_tokens(request).await?;
    let output = &session.output;
    if output.is_json() {
        output.document(&json::Principals::from(&response))?;
    } else {
        output.text(&tokens::list(&response.principals, output.paint()))?;
    }
    Ok(Exit::Done)
}

async fn revoke(session: &Session, name: String) -> Result<Exit, CtlError> {
    let request = RevokeTokenRequest { name: name.clone() };
    let response = session.client.revoke_token(request).await?;
    let output = &session.output;
    if output.is_json() {
        output.document(&json::RevokedToken::from(&response))?;
    } else {
        output.text(&format!(
            "{name} was revoked, revision {}\n",
            response.revision
        ))?;
    }
    tell_unconfirmed(&response.unconfirmed, "may still accept it");
    // Somebody may still get in.
    Ok(if response.unconfirmed.is_empty() {
        Exit::Done
    } else {
        Exit::Degraded
    })
}

fn tell_unconfirmed(nodes: &[String], what: &str) {
    if !nodes.is_empty() {
        output::complain(&format!(
            "these nodes have not confirmed the change and {what}, until they respond again: {}",
            nodes.join(", ")
        ));
    }
}

/// `whoami`.
pub(super) async fn who_am_i(session: &Session) -> Result<Exit, CtlError> {
    let response = session.client.who_am_i(WhoAmIRequest {}).await?;
    let output = &session.output;
    if output.is_json() {
        output.document(&json::WhoAmI::from(&response))?;
    } else {
        output.text(&tokens::who_am_i(&response))?;
    }
    Ok(Exit::Done)
}
