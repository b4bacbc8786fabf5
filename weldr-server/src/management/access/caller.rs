//! Who a caller is and what it may do.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    management::error::Error,
    model::{PoolName, PrincipalName, Revision, Role, Timestamp},
};

/// The other side of a connection, an extension of each request.
#[derive(Debug, Clone)]
pub(in crate::management) enum Peer {
    /// A client by TCP, with the names in its certificate if it has shown one.
    Tcp(SocketAddr, Option<Arc<[String]>>),
    /// A process of this machine, by the Unix socket.
    Unix(UnixPeer),
}

/// A process that has connected to the Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::management) struct UnixPeer {
    /// The user that it runs as, by the kernel.
    pub(in crate::management) uid: u32,
    /// Whether that is root or the user of this process.
    pub(in crate::management) is_trusted: bool,
}

impl Peer {
    /// The peer, with the names in its certificate.
    pub(in crate::management) fn with_names(self, names: Option<Arc<[String]>>) -> Self {
        match self {
            Self::Tcp(address, _) => Self::Tcp(address, names),
            unix @ Self::Unix(_) => unix,
        }
    }

    /// The IP address, if it has one.
    pub(in crate::management) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address, _) => Some(address.ip().to_canonical()),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address, _) => address.fmt(f),
            Self::Unix(UnixPeer { uid, .. }) => write!(f, "unix:{uid}"),
        }
    }
}

/// The credential by which a caller is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::management) enum Identity {
    /// By none: authentication is off.
    Anonymous(Option<IpAddr>),
    /// By the Unix socket: the name of the user, or its number.
    Unix(String),
    /// A principal, by its token.
    Token(PrincipalName),
    /// A principal, by its certificate.
    Certificate(PrincipalName),
}

/// The caller of a request that was let through. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::management) struct Caller(Arc<Permissions>);

/// What a caller may do.
#[derive(Debug)]
pub(in crate::management) struct Permissions {
    pub(in crate::management) identity: Identity,
    pub(in crate::management) peer: Peer,
    pub(in crate::management) role: Role,
    /// The pools whose servers an operator may change; empty: all.
    pub(in crate::management) pools: Vec<PoolName>,
    pub(in crate::management) expires: Option<Timestamp>,
    /// The principal, and the revision that created it.
    pub(in crate::management) principal: Option<(PrincipalName, Revision)>,
    /// Whether the listener refuses callers without a credential.
    pub(in crate::management) authentication: bool,
}

impl Caller {
    pub(in crate::management) fn new(permissions: Permissions) -> Self {
        Self(Arc::new(permissions))
    }

    /// What it may do.
    pub(in crate::management) fn permissions(&self) -> &Permissions {
        &self.0
    }

    /// Whether its connections do not give way to those of others: it has proved that it is an administrator.
    pub(in crate::management) fn has_reserved_room(&self) -> bool {
        let is_known = !matches!(self.0.identity, Identity::Anonymous(_));
        is_known && self.0.role == Role::Admin
    }

    /// Accepts the caller if it has at least `role`.
    pub(in crate::management) fn require(&self, role: Role) -> Result<(), Error> {
        if self.0.role >= role {
            return Ok(());
        }
        Err(Error::RoleMissing {
            caller: self.to_string(),
            has: self.0.role,
            needs: role,
        })
    }

    /// Accepts a change of servers of `pool`. The role was checked before.
    pub(in crate::management) fn may_change(&self, pool: &PoolName) -> Result<(), Error> {
        if self.0.pools.is_empty() || self.0.pools.contains(pool) {
            return Ok(());
        }
        let names = self.0.pools.iter().map(PoolName::as_str);
        Err(Error::PoolNotAllowed {
            caller: self.to_string(),
            pool: pool.clone(),
            pools: names.collect::<Vec<_>>().join(", "),
        })
    }
}

/// The name for the history and the log.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.identity {
            Identity::Anonymous(Some(ip)) => write!(f, "anonymous {ip}"),
            Identity::Anonymous(None) => f.write_str("anonymous"),
            Identity::Unix(user) => write!(f, "unix:{user}"),
            Identity::Token(name) => write!(f, "token:{name}"),
            Identity::Certificate(name) => write!(f, "certificate:{name}"),
        }
    }
}
