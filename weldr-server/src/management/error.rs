//! Why a call is refused.
//!
//! The client reads the text of [`Error`] itself. The causes below it (a disk that failed) are for the log of this node.
//! `response` maps errors to gRPC and to HTTP.

mod response;

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    certificates::RequestError,
    cluster::{ChangeError, NotInHistory, ProposeError, Stopped},
    model::{Invalid, PoolName, Rejection, Role},
};

pub(super) use response::speaks_grpc;

use super::access::NoCredential;
use crate::secrets::SecretsError;

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Values that are not accepted, at least one.
    #[error("{}", Sentences(.0))]
    Invalid(Vec<Invalid>),
    /// The state does not allow the change.
    #[error("{}", RejectionText(.0))]
    Rejected(Rejection),
    /// The change could not be written to disk.
    #[error("the change could not be written to disk; nothing changed")]
    NotDurable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// There is no leader that a majority of the nodes follows.
    #[error("the cluster has no quorum{}; nothing changed", MissingNodes(.missing))]
    NoQuorum {
        /// The nodes that do not respond.
        missing: Vec<String>,
    },
    /// This node does not apply changes any more.
    #[error(
        "this weldr is older than its log: {0}. Nothing changed; start a newer version, or use another node"
    )]
    Outdated(Stopped),
    /// The time limit of the call was reached.
    #[error(
        "the call reached its time limit{}: the change may or may not be made; repeating it is safe",
        MissingNodes(.missing)
    )]
    Unknown {
        /// The nodes that do not respond.
        missing: Vec<String>,
    },
    /// There is no node of that name.
    #[error("{0}")]
    NoSuchNode(String),
    /// The cluster cannot be changed in this way, or not at present.
    #[error("{0}")]
    ClusterRefused(String),
    /// The cluster cannot be changed at present.
    #[error("{0}")]
    ClusterUnavailable(String),
    /// The change was made, but another call undid it before the response could be made.
    #[error("the change was made, but another call has undone it")]
    Overtaken,
    /// The node is stopping.
    #[error("the node is shutting down")]
    Stopping,
    /// The time limit of a request was reached.
    #[error("the request took too long")]
    TooSlow,
    /// There are too many streams.
    #[error(
        "this node has as many streams of statistics, changes and health as it may have, {limit} of all clients or of \
         this address: end one, or use another node"
    )]
    TooManyStreams {
        /// How many there may be.
        limit: usize,
    },
    /// A stream of changes cannot be resumed.
    #[error(transparent)]
    NotInHistory(#[from] NotInHistory),
    /// The reader of a stream takes nothing.
    #[error("the stream has ended because its reader took nothing for {}s: start a new one", .patience.as_secs())]
    SlowReader {
        /// How long a message waited.
        patience: Duration,
    },
    /// The body is not JSON.
    #[error("the body is not valid JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// The body ended early.
    #[error("the body could not be read to its end")]
    BrokenBody,
    /// The body is too long.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// The maximum size, in bytes.
        limit: usize,
    },
    /// The path does not exist.
    #[error("{path} does not exist; GET / lists the paths")]
    NoSuchPath {
        /// The path of the request.
        path: String,
    },
    /// The path does not support the method.
    #[error("{method} is not supported here; the Allow field lists the supported methods")]
    WrongMethod {
        /// The method of the request.
        method: http::Method,
        /// The supported methods, as in `Allow`.
        allow: String,
    },
    /// The caller is not known.
    #[error("{0}")]
    Unauthenticated(NoCredential),
    /// Too many callers of this address are not known.
    #[error("too many attempts to authenticate from this address have failed: wait some seconds")]
    TooManyAttempts,
    /// The caller may not do this.
    #[error("{caller} has the role {has}, and this call needs the role {needs}")]
    RoleMissing {
        /// Who it is.
        caller: String,
        /// Its role.
        has: Role,
        /// The least role that may.
        needs: Role,
    },
    /// The caller may change servers of other pools only.
    #[error("{caller} may change the servers of {pools}, not those of pool {pool}")]
    PoolNotAllowed {
        /// Who it is.
        caller: String,
        /// The pool.
        pool: PoolName,
        /// The pools that it may change.
        pools: String,
    },
    /// The caller was known when its call began.
    #[error("the call has ended because {caller} was revoked")]
    Revoked {
        /// Who it was.
        caller: String,
    },
    /// The caller's token was valid when its call began.
    #[error("the call has ended because the token of {caller} has expired")]
    Expired {
        /// Who it was.
        caller: String,
    },
    /// The system gives no random numbers.
    #[error("no token can be made: {0}")]
    NoToken(String),
    /// The key of a certificate cannot be sealed.
    #[error("the private key cannot be sealed, and nothing was stored: {0}")]
    Secrets(#[from] SecretsError),
    /// There is no private key for a new certificate.
    #[error("a private key cannot be made; nothing changed")]
    NoKey(#[from] RequestError),
    /// A page of another site sends the request through the operator's browser.
    #[error("requests from web pages of other sites are not accepted")]
    CrossSite,
    /// The request is from a web page of another site, in the operator's browser.
    #[error("requests from web pages of {origin} are not accepted")]
    ForeignOrigin {
        /// The `Origin` of the request.
        origin: String,
    },
    /// The request came through the data path of a Weldr, whose clients may be anybody.
    #[error("requests that came through a proxy of Weldr are not accepted: see the Via field")]
    Proxied,
    /// The host is a name that DNS may have redirected to this address.
    #[error(
        "requests for host {host} are not accepted: use an IP address or localhost, or start weldr with \
         --management-host and this name"
    )]
    ForeignHost {
        /// The `Host` of the request.
        host: String,
    },
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Invalid {
                field,
                value,
                accepted,
            } => Self::Invalid(vec![Invalid {
                field,
                value,
                accepted,
            }]),
            rejection => Self::Rejected(rejection),
        }
    }
}

impl From<ProposeError> for Error {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Rejected(rejection) => rejection.into(),
            ProposeError::NotDurable(cause) => Self::NotDurable(cause),
            ProposeError::NoQuorum { missing } => Self::NoQuorum { missing },
            ProposeError::Unknown { missing } => Self::Unknown { missing },
            ProposeError::Outdated(stopped) => Self::Outdated(stopped),
            ProposeError::ShuttingDown => Self::Stopping,
        }
    }
}

impl From<ChangeError> for Error {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NoSuchNode(message) => Self::NoSuchNode(message),
            ChangeError::Refused(message) => Self::ClusterRefused(message),
            ChangeError::Unavailable(message) => Self::ClusterUnavailable(message),
            ChangeError::NoQuorum { missing } => Self::NoQuorum { missing },
        }
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(vec![invalid])
    }
}

struct MissingNodes<'a>(&'a [String]);

impl fmt::Display for MissingNodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            missing => write!(f, " (no response from {})", missing.join(", ")),
        }
    }
}

struct Sentences<'a>(&'a [Invalid]);

impl fmt::Display for Sentences<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, invalid) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{invalid}")?;
        }
        Ok(())
    }
}

struct RejectionText<'a>(&'a Rejection);

impl fmt::Display for RejectionText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        match self.0 {
            Rejection::NoSuchPool { .. } => {
                write!(
                    f,
                    "; the pool that always exists is {}",
                    PoolName::default()
                )
            }
            Rejection::NoSuchServer { .. }
            | Rejection::NoSuchListener { .. }
            | Rejection::NoSuchRule { .. }
            | Rejection::NoSuchCertificate { .. }
            | Rejection::MissingCertificate { .. }
            | Rejection::CertificateInUse { .. }
            | Rejection::NoAcmeAccount
            | Rejection::AcmeAccountInUse { .. }
            | Rejection::NotByAcme { .. }
            | Rejection::Present { .. }
            | Rejection::MissingPool { .. }
            | Rejection::InUse { .. }
            | Rejection::WouldBeEmpty { .. }
            | Rejection::AddressTaken { .. }
            | Rejection::Permanent { .. }
            | Rejection::Full { .. }
            | Rejection::Exists { .. }
            | Rejection::Changed { .. }
            | Rejection::PoolFull { .. }
            | Rejection::Invalid { .. }
            | Rejection::NoSuchRevision { .. }
            | Rejection::PrincipalExists { .. }
            | Rejection::NoSuchPrincipal { .. }
            | Rejection::TooManyPrincipals { .. } => Ok(()),
        }
    }
}
