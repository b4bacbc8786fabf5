//! Principals.

use std::time::SystemTime;

use weldr_proto::v1;

use crate::model::{Credential, PoolName, Principal, PrincipalName, Role, Timestamp};

pub(in crate::management) fn proto_role(role: Role) -> v1::Role {
    match role {
        Role::Metrics => v1::Role::Metrics,
        Role::Viewer => v1::Role::Viewer,
        Role::Operator => v1::Role::Operator,
        Role::Admin => v1::Role::Admin,
    }
}

pub(in crate::management) fn date(date: Timestamp) -> prost_types::Timestamp {
    SystemTime::from(date).into()
}

/// A principal for people: without the digest of its token.
pub(in crate::management) fn principal(
    name: &PrincipalName,
    principal: &Principal,
) -> v1::Principal {
    let (token_id, expires, subject) = match &principal.credential {
        Credential::Token { id, expires, .. } => (id.clone(), *expires, String::new()),
        Credential::Certificate { subject } => (String::new(), None, subject.clone()),
    };
    v1::Principal {
        name: name.to_string(),
        role: proto_role(principal.role).into(),
        pools: principal.pools.iter().map(PoolName::to_string).collect(),
        token_id,
        expires: expires.map(date),
        subject,
        created_at: Some(date(principal.created_at)),
        revision: principal.revision.0,
    }
}
