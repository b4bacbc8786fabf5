//! Who may call.

use serde::Serialize;

use super::{set, time};
use crate::{v1, words};

/// A principal.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct Principal {
    pub name: String,
    pub role: String,
    /// Empty: all.
    pub pools: Vec<String>,
    pub token_id: Option<String>,
    pub expires: Option<String>,
    pub subject: Option<String>,
    pub created_at: Option<String>,
    pub revision: u64,
}

impl From<&v1::Principal> for Principal {
    fn from(principal: &v1::Principal) -> Self {
        Self {
            name: principal.name.clone(),
            role: words::role(principal.role),
            pools: principal.pools.clone(),
            token_id: set(&principal.token_id),
            expires: time(principal.expires),
            subject: set(&principal.subject),
            created_at: time(principal.created_at),
            revision: principal.revision,
        }
    }
}

/// All principals.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct Principals {
    pub revision: u64,
    pub principals: Vec<Principal>,
}

impl From<&v1::ListTokensResponse> for Principals {
    fn from(response: &v1::ListTokensResponse) -> Self {
        Self {
            revision: response.revision,
            principals: response.principals.iter().map(Principal::from).collect(),
        }
    }
}

/// A principal that was created, with its token.
#[derive(Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct CreatedToken {
    #[serde(flatten)]
    pub principal: Principal,
    /// Shown here and never again.
    pub token: Option<String>,
    pub unconfirmed: Vec<String>,
}

impl From<&v1::CreateTokenResponse> for CreatedToken {
    fn from(response: &v1::CreateTokenResponse) -> Self {
        let principal = response.principal.clone().unwrap_or_default();
        Self {
            principal: (&principal).into(),
            token: set(&response.token),
            unconfirmed: response.unconfirmed.clone(),
        }
    }
}

/// A principal that was revoked.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct RevokedToken {
    pub revision: u64,
    pub unconfirmed: Vec<String>,
}

impl From<&v1::RevokeTokenResponse> for RevokedToken {
    fn from(response: &v1::RevokeTokenResponse) -> Self {
        Self {
            revision: response.revision,
            unconfirmed: response.unconfirmed.clone(),
        }
    }
}

/// Who the caller is.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the .proto files describe the fields")]
pub struct WhoAmI {
    pub caller: String,
    pub role: String,
    /// Empty: all.
    pub pools: Vec<String>,
    pub expires: Option<String>,
    pub node: String,
    pub authentication: bool,
}

impl From<&v1::WhoAmIResponse> for WhoAmI {
    fn from(response: &v1::WhoAmIResponse) -> Self {
        Self {
            caller: response.caller.clone(),
            role: words::role(response.role),
            pools: response.pools.clone(),
            expires: time(response.expires),
            node: response.node.clone(),
            authentication: response.authentication,
        }
    }
}
