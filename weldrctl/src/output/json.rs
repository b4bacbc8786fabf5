//! The JSON that `--output json` prints. Stable: fields are added, never renamed or removed.
//!
//! The messages of the API have the form that [`weldr_proto::json`] gives them, which is also that of REST and where
//! the rules are. The types here add what only `weldrctl` knows.
//!
//! | command | prints |
//! |---|---|
//! | `list`, `get` | one [`Servers`] |
//! | `add`, `remove`, `set`, `drain`, `ready`, `maintenance` | one [`Results`], also if some are refused |
//! | `pool add`, `pool get`, `pool set` | one [`Pool`] |
//! | `pool list` | one [`Pools`] |
//! | `listener add`, `listener set`, `listener get` | one [`Listener`] |
//! | `rule add`, `rule set`, `rule move` | one [`Rule`] |
//! | `listener list`, `rule list`, `diff`, `apply` | the response of the call |
//! | `export` | the configuration, which `apply` reads |
//! | `stats` | one [`Stats`]; with `--watch` one per line |
//! | `stats --by` | the response of the call, without what was not asked for |
//! | `watch` | one [`Event`] per line |
//! | `watch --all` | one [`ObjectEvent`](super::objects::ObjectEvent) per line |
//! | `cluster status`, `cluster remove`, `cluster transfer` | one [`Cluster`] |
//! | `cluster check` | one [`Report`](super::findings::Report) |
//! | `list --all-nodes` | one [`HealthOnNodes`] |
//! | `cluster invite`, `cluster rotate-key` | what was made |
//! | `cluster invites` | the last invites |
//! | `cluster revoke-invite` | one [`Made`] |
//! | `history` | one [`History`] |
//! | `rollback`, `cluster restore`, and what removes a pool, a listener or a rule | one [`Made`] |
//! | `token create` | one [`CreatedToken`] |
//! | `token list` | one [`Principals`] |
//! | `token revoke` | one [`RevokedToken`] |
//! | `whoami` | one [`WhoAmI`] |
//! | `context list` | one [`Contexts`](crate::contexts::Contexts) |
#![expect(
    clippy::struct_field_names,
    reason = "the names of the fields are those of the JSON"
)]

mod stats;

pub(crate) use stats::{ServerStats, Stats};
pub(crate) use weldr_proto::json::{
    Cluster, CreatedToken, HealthOnNodes, History, Pool, PoolSettings, Principals, RevokedToken,
    WhoAmI, time,
};

use serde::Serialize;
use weldr_proto::{json, v1};

use super::{certificates, figures};
use crate::rates::by_id;

/// Servers of a pool.
#[derive(Debug, Serialize)]
pub(crate) struct Servers {
    pub(crate) pool: String,
    /// The revision of the response; of several responses the lowest. Can be given as `--expected-revision`.
    pub(crate) revision: u64,
    pub(crate) servers: Vec<Server>,
}

/// One server.
#[derive(Debug, Serialize)]
pub(crate) struct Server {
    #[serde(flatten)]
    server: json::Server,
    /// `null` where the command does not ask for statistics.
    stats: Option<ServerStats>,
}

impl Server {
    /// A server, with its statistics if these are asked for.
    pub(crate) fn new(server: &v1::Server, stats: Option<&v1::ServerStats>) -> Self {
        Self {
            server: server.into(),
            stats: stats.map(|stats| ServerStats::new(stats, None)),
        }
    }

    /// Servers, each with its statistics.
    pub(crate) fn with_stats(servers: &[v1::Server], stats: &v1::Stats) -> Vec<Self> {
        let by_id = by_id(&stats.servers);
        servers
            .iter()
            .map(|server| Self::new(server, by_id.get(&server.id).copied()))
            .collect()
    }
}

/// A pool, at the revision of the response that contained it.
pub(crate) fn pool(pool: &v1::Pool, revision: u64) -> Pool {
    Pool {
        revision,
        ..pool.into()
    }
}

/// All pools.
#[derive(Debug, Serialize)]
pub(crate) struct Pools {
    pub(crate) revision: u64,
    pub(crate) pools: Vec<Pool>,
}

/// A certificate, at the revision of the response.
#[derive(Debug, Serialize)]
pub(crate) struct AtRevision<T> {
    /// Can be given as `--expected-revision`.
    pub(crate) revision: u64,
    #[serde(flatten)]
    pub(crate) content: T,
}

/// A certificate and how long it is valid.
#[derive(Debug, Serialize)]
pub(crate) struct Certificate {
    #[serde(flatten)]
    certificate: v1::Certificate,
    /// Whole days; negative if it has expired.
    days_left: Option<i64>,
}

impl From<v1::Certificate> for Certificate {
    fn from(certificate: v1::Certificate) -> Self {
        Self {
            days_left: certificates::days_left(&certificate, figures::now()),
            certificate,
        }
    }
}

/// A certificate at the revision of a response.
pub(crate) fn certificate(certificate: v1::Certificate, revision: u64) -> impl Serialize {
    #[derive(Serialize)]
    struct One {
        certificate: Certificate,
    }
    let certificate = certificate.into();
    let content = One { certificate };
    AtRevision { revision, content }
}

/// All certificates.
pub(crate) fn certificates(response: v1::ListCertificatesResponse) -> impl Serialize {
    #[derive(Serialize)]
    struct All {
        certificates: Vec<Certificate>,
    }
    let certificates = response.certificates.into_iter();
    let certificates = certificates.map(Certificate::from).collect();
    let content = All { certificates };
    let revision = response.revision;
    AtRevision { revision, content }
}

/// The ACME account, at the revision of the response.
pub(crate) fn acme_account(account: v1::AcmeAccount, revision: u64) -> impl Serialize {
    #[derive(Serialize)]
    struct One {
        account: v1::AcmeAccount,
    }
    let content = One { account };
    AtRevision { revision, content }
}

/// What the TLS policies contain.
pub(crate) fn tls_policies(response: v1::ListTlsPoliciesResponse) -> impl Serialize {
    #[derive(Serialize)]
    struct All {
        policies: Vec<v1::TlsPolicyContents>,
    }
    let policies = response.policies;
    let content = All { policies };
    let revision = response.revision;
    AtRevision { revision, content }
}

/// A listener, at the revision of the response.
#[derive(Debug, Serialize)]
pub(crate) struct Listener<'a> {
    /// Can be given as `--expected-revision`.
    pub(crate) revision: u64,
    pub(crate) listener: &'a v1::Listener,
}

/// A rule, at the revision of the response.
#[derive(Debug, Serialize)]
pub(crate) struct Rule<'a> {
    /// Can be given as `--expected-revision`.
    pub(crate) revision: u64,
    pub(crate) rule: &'a v1::Rule,
}

/// One line of `watch`.
#[derive(Debug, Serialize)]
pub(crate) struct Event {
    pub(crate) time: Option<String>,
    pub(crate) revision: u64,
    /// `present` (a server that was in the pool when the watch began), `added`, `updated`, `health`, `removed`, or
    /// `settings`.
    pub(crate) event: String,
    pub(crate) server: Option<Server>,
    pub(crate) settings: Option<PoolSettings>,
}

/// The results of a write, one for each address in the order of the command line.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) results: Vec<WriteResult>,
}

/// The result of a write to one server.
#[derive(Debug, Serialize)]
pub(crate) struct WriteResult {
    pub(crate) address: String,
    /// `added`, `unchanged`, `updated`, `draining` (the removal goes on), `removed`, or `failed`.
    pub(crate) outcome: &'static str,
    /// `null` if the write failed.
    pub(crate) revision: Option<u64>,
    pub(crate) server: Option<Server>,
    /// Why the write failed; or, after a write, why the condition of `--wait` did not come true.
    pub(crate) error: Option<String>,
}

/// The revision that a change made.
#[derive(Debug, Serialize)]
pub(crate) struct Made {
    pub(crate) revision: u64,
}

#[cfg(test)]
mod tests;
