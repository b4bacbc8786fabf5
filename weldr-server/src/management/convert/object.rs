//! Any object of the desired state, as `WatchObjects` sends it.

use std::{collections::BTreeSet, net::SocketAddr};

use weldr_proto::v1::{
    self, ObjectKind,
    object_change::{Kind, Object},
};

use crate::model::{
    CertificateName, DesiredState, Invalid, ListenerName, PoolName, PrincipalName, Priority,
};

use super::{
    certificate,
    configuration::{exported_listener, exported_pool, exported_server},
    principal, rule,
};

/// What names an object. The order is that in which objects are sent: those that others name come first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::management) enum ObjectKey {
    Pool(PoolName),
    Server(PoolName, SocketAddr),
    Certificate(CertificateName),
    Listener(ListenerName),
    Rule(ListenerName, Priority),
    Principal(PrincipalName),
}

impl ObjectKey {
    pub(in crate::management) fn kind(&self) -> ObjectKind {
        match self {
            Self::Pool(_) => ObjectKind::Pool,
            Self::Server(..) => ObjectKind::Server,
            Self::Certificate(_) => ObjectKind::Certificate,
            Self::Listener(_) => ObjectKind::Listener,
            Self::Rule(..) => ObjectKind::Rule,
            Self::Principal(_) => ObjectKind::Principal,
        }
    }
}

/// Kinds of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::management) struct ObjectKinds(BTreeSet<ObjectKind>);

impl ObjectKinds {
    const ALL: [ObjectKind; 6] = [
        ObjectKind::Pool,
        ObjectKind::Server,
        ObjectKind::Certificate,
        ObjectKind::Listener,
        ObjectKind::Rule,
        ObjectKind::Principal,
    ];

    /// The kinds of a request; `None`: it names none.
    pub(in crate::management) fn of(given: &[i32]) -> Result<Option<Self>, Invalid> {
        let kind = |given: &i32| match ObjectKind::try_from(*given) {
            Ok(kind) if kind != ObjectKind::Unspecified => Ok(kind),
            Ok(_) | Err(_) => {
                let names = Self::ALL.map(|kind| kind.as_str_name());
                Err(Invalid::new("kinds", given, names.join(", ")))
            }
        };
        let kinds = given.iter().map(kind).collect::<Result<BTreeSet<_>, _>>()?;
        Ok((!kinds.is_empty()).then_some(Self(kinds)))
    }

    /// All but principals, which only administrators may see.
    pub(in crate::management) fn without_principals() -> Self {
        let mut all = Self::all();
        all.0.remove(&ObjectKind::Principal);
        all
    }

    pub(in crate::management) fn all() -> Self {
        Self(Self::ALL.into())
    }

    pub(in crate::management) fn contains(&self, kind: ObjectKind) -> bool {
        self.0.contains(&kind)
    }
}

/// The object `key` as it is in `state`, or that it is not there.
pub(in crate::management) fn object(state: &DesiredState, key: &ObjectKey) -> v1::ObjectChange {
    let (kind, object) = match present(state, key) {
        Some(object) => (Kind::Set, object),
        None => (Kind::Removed, named(key)),
    };
    v1::ObjectChange {
        kind: kind.into(),
        object: Some(object),
    }
}

fn present(state: &DesiredState, key: &ObjectKey) -> Option<Object> {
    Some(match key {
        ObjectKey::Pool(name) => Object::Pool(exported_pool(name, state.pools.get(name)?)),
        ObjectKey::Server(pool, address) => {
            let server = state.pools.get(pool)?.servers.get(address)?;
            Object::Server(v1::PoolServer {
                pool: pool.to_string(),
                server: Some(exported_server(server)),
                id: server.id.0,
                removing: server.removal.is_some(),
            })
        }
        ObjectKey::Certificate(name) => {
            let found = state.certificates.get(name)?;
            Object::Certificate(certificate(name, found, &state.acme, vec![], String::new()))
        }
        ObjectKey::Listener(name) => {
            let listener = state.listeners.get(name)?;
            Object::Listener(exported_listener(name, &listener.spec))
        }
        ObjectKey::Rule(listener, priority) => {
            let found = state.listeners.get(listener)?.rules.get(priority)?;
            Object::Rule(v1::ListenerRule {
                listener: listener.to_string(),
                rule: Some(rule(found, None)),
            })
        }
        ObjectKey::Principal(name) => {
            Object::Principal(principal(name, state.principals.get(name)?))
        }
    })
}

/// An object that was removed, with nothing but what names it.
fn named(key: &ObjectKey) -> Object {
    match key {
        ObjectKey::Pool(name) => Object::Pool(v1::PoolConfiguration {
            name: name.to_string(),
            ..v1::PoolConfiguration::default()
        }),
        ObjectKey::Server(pool, address) => Object::Server(v1::PoolServer {
            pool: pool.to_string(),
            server: Some(v1::ServerConfiguration {
                address: address.to_string(),
                ..v1::ServerConfiguration::default()
            }),
            ..v1::PoolServer::default()
        }),
        ObjectKey::Certificate(name) => Object::Certificate(v1::Certificate {
            name: name.to_string(),
            ..v1::Certificate::default()
        }),
        ObjectKey::Listener(name) => Object::Listener(v1::ListenerConfiguration {
            name: name.to_string(),
            ..v1::ListenerConfiguration::default()
        }),
        ObjectKey::Rule(listener, priority) => Object::Rule(v1::ListenerRule {
            listener: listener.to_string(),
            rule: Some(v1::Rule {
                priority: priority.0,
                ..v1::Rule::default()
            }),
        }),
        ObjectKey::Principal(name) => Object::Principal(v1::Principal {
            name: name.to_string(),
            ..v1::Principal::default()
        }),
    }
}
