//! The calls about who may call.

use std::time::{Duration, SystemTime};

use weldr_proto::v1;

use crate::{
    management::{
        access::{Caller, Token},
        convert::{self, Violations},
        error::Error,
    },
    model::{Command, Credential, Invalid, PoolName, PrincipalName, Role, Timestamp},
};

use super::{ApiCaller, Operations};

/// How long a change of the principals waits for the other nodes to apply it.
const LONGEST_CONFIRMATION: Duration = Duration::from_secs(3);

impl Operations {
    pub(in crate::management) async fn create_token(
        &self,
        caller: ApiCaller,
        request: v1::CreateTokenRequest,
    ) -> Result<v1::CreateTokenResponse, Error> {
        let token = if request.subject.is_empty() {
            let token = Token::generate();
            Some(token.map_err(|error| Error::NoToken(error.to_string()))?)
        } else {
            None
        };
        let command = command_of(request, token.as_ref(), Timestamp::now())?;
        let Command::CreatePrincipal { name, .. } = &command else {
            return Err(Error::Overtaken);
        };
        let name = name.clone();
        let (applied, _) = self.write(caller, command).await?;
        let unconfirmed = self.unconfirmed(applied.revision).await;
        let principals = self.context.cluster.current().principals.clone();
        let principal = principals.get(&name).ok_or(Error::Overtaken)?;
        Ok(v1::CreateTokenResponse {
            revision: applied.revision.0,
            principal: Some(convert::principal(&name, principal)),
            token: token.map(|token| token.text()).unwrap_or_default(),
            unconfirmed,
        })
    }

    pub(in crate::management) async fn list_tokens(
        &self,
        request: &v1::ListTokensRequest,
    ) -> Result<v1::ListTokensResponse, Error> {
        let snapshot = self.read(request.stale).await?;
        let principals = self.context.cluster.current().principals.clone();
        Ok(v1::ListTokensResponse {
            revision: snapshot.revision.0,
            principals: principals
                .iter()
                .map(|(name, principal)| convert::principal(name, principal))
                .collect(),
        })
    }

    pub(in crate::management) async fn revoke_token(
        &self,
        caller: ApiCaller,
        request: &v1::RevokeTokenRequest,
    ) -> Result<v1::RevokeTokenResponse, Error> {
        let name: PrincipalName = request.name.parse()?;
        let (applied, _) = self
            .write(caller, Command::RevokePrincipal { name })
            .await?;
        Ok(v1::RevokeTokenResponse {
            revision: applied.revision.0,
            unconfirmed: self.unconfirmed(applied.revision).await,
        })
    }

    pub(in crate::management) fn who_am_i(&self, caller: &Caller) -> v1::WhoAmIResponse {
        let permissions = caller.permissions();
        v1::WhoAmIResponse {
            revision: self.snapshot().revision.0,
            caller: caller.to_string(),
            role: convert::proto_role(permissions.role).into(),
            pools: permissions.pools.iter().map(PoolName::to_string).collect(),
            expires: permissions.expires.map(convert::date),
            node: self.context.cluster.name().to_owned(),
            authentication: permissions.authentication,
        }
    }

    /// The nodes that have not applied `revision` in time.
    async fn unconfirmed(&self, revision: crate::model::Revision) -> Vec<String> {
        let cluster = &self.context.cluster;
        cluster.without(revision, LONGEST_CONFIRMATION).await
    }
}

/// The command that creates a principal, from a request.
fn command_of(
    request: v1::CreateTokenRequest,
    token: Option<&Token>,
    now: Timestamp,
) -> Result<Command, Error> {
    let mut violations = Violations::default();
    let name = violations.take(request.name.parse::<PrincipalName>());
    let role = violations.take(role_of(request.role()));
    let pools = request.pools.iter().map(|pool| {
        if pool.is_empty() {
            return Err(Invalid::new("pools", pool, "names of pools"));
        }
        convert::pool_name(pool).map_err(|invalid| invalid.named("pools"))
    });
    let pools: Vec<_> = pools.map(|pool| violations.take(pool)).collect();
    let expires = request.expires.and_then(|expires| {
        let expires = expiry(expires, now, token.is_some());
        violations.take(expires)
    });
    let (name, role) = violations.settle(name.zip(role))?;
    let credential = match token {
        Some(token) => Credential::Token {
            id: token.id().to_owned(),
            sha256: token.sha256(),
            expires,
        },
        None => Credential::Certificate {
            subject: request.subject,
        },
    };
    let command = Command::CreatePrincipal {
        name,
        role,
        pools: pools.into_iter().flatten().collect(),
        credential,
        at: now,
    };
    command.validate()?;
    Ok(command)
}

fn role_of(role: v1::Role) -> Result<Role, Invalid> {
    match role {
        v1::Role::Metrics => Ok(Role::Metrics),
        v1::Role::Viewer => Ok(Role::Viewer),
        v1::Role::Operator => Ok(Role::Operator),
        v1::Role::Admin => Ok(Role::Admin),
        v1::Role::Unspecified => {
            let accepted = "metrics, viewer, operator or admin";
            Err(Invalid::new("role", "", accepted))
        }
    }
}

fn expiry(
    expires: prost_types::Timestamp,
    now: Timestamp,
    is_token: bool,
) -> Result<Timestamp, Invalid> {
    let refused = |accepted: &str| Err(Invalid::new("expires", expires, accepted));
    if !is_token {
        return refused("none with a subject: a certificate has an end of its own");
    }
    match SystemTime::try_from(expires).map(Timestamp::from) {
        Ok(date) if date > now => Ok(date),
        _ => refused("a date in the future"),
    }
}
