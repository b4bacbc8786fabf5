//! A server of the desired state, without anything observed.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{CheckOverride, Invalid, Revision, ServerId, Timestamp};

/// The desired state of a server in a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "stored::Server")]
pub struct Server {
    /// The id. A server that is added again at the same address gets a new id.
    pub id: ServerId,
    /// The address for its traffic.
    pub address: SocketAddr,
    /// The settings.
    pub spec: ServerSpec,
    /// Set while it is being removed.
    pub removal: Option<Removal>,
    /// When it was added.
    pub added_at: Timestamp,
    /// When the operators' intent (`admin`, removal, weight 0 or not) last changed.
    pub intent_since: Timestamp,
    /// The revision of its last change.
    pub revision: Revision,
}

impl Server {
    /// Whether operators want it to receive requests, regardless of its health.
    pub fn wants_requests(&self) -> bool {
        self.removal.is_none() && self.spec.admin == AdminState::Ready && self.spec.weight.get() > 0
    }

    /// Whether its health is checked.
    pub fn wants_checks(&self) -> bool {
        self.spec.admin != AdminState::Maintenance && self.removal.is_none()
    }
}

/// The settings of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSpec {
    /// Share of the requests.
    pub weight: Weight,
    /// The admin state.
    pub admin: AdminState,
    /// The settings that override the pool's health check.
    pub check: CheckOverride,
}

/// Changes of a server's settings; `None` leaves a setting as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerPatch {
    /// Share of the requests.
    pub weight: Option<Weight>,
    /// The admin state.
    pub admin: Option<AdminState>,
    /// Replaces all overrides of the check.
    pub check: Option<CheckOverride>,
}

impl ServerPatch {
    /// `spec` with these changes.
    #[must_use]
    pub fn applied_to(self, spec: &ServerSpec) -> ServerSpec {
        ServerSpec {
            weight: self.weight.unwrap_or(spec.weight),
            admin: self.admin.unwrap_or(spec.admin),
            check: self.check.unwrap_or_else(|| spec.check.clone()),
        }
    }
}

/// The admin state of a server: what an operator wants of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminState {
    /// Receives requests while it is healthy.
    #[default]
    Ready,
    /// No new request; running ones finish without a deadline; checks go on.
    Drain,
    /// No new request and no checks.
    Maintenance,
}

impl AdminState {
    /// The word in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
        }
    }
}

/// The removal of a server from its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// How long running requests may go on, from when a node sees the removal. Each node measures it by its own
    /// monotonic clock, so a node that was restarted measures it anew.
    pub drain_deadline: Duration,
    /// The end of that time by the clock of the node that served the call. Nothing is decided by it: it distinguishes one
    /// removal of a server from the next, and weldr 0.1.0 nodes in a cluster of both versions decide by it.
    pub deadline: Timestamp,
}

/// A server's share of the requests, from 0 (no new ones) to 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(u16);

impl Weight {
    /// The largest weight.
    pub const MAX: u32 = 256;

    /// Accepts 0 to 256.
    pub fn new(weight: u32) -> Result<Self, Invalid> {
        match u16::try_from(weight) {
            Ok(narrow) if weight <= Self::MAX => Ok(Self(narrow)),
            _ => Err(Invalid::new(
                "weight",
                weight,
                "a whole number from 0 to 256",
            )),
        }
    }

    /// The number.
    pub fn get(self) -> u32 {
        u32::from(self.0)
    }

    /// Accepts the weight as [`Weight::new`] does: one that was read from a file or the log may be larger.
    pub(super) fn validate(self) -> Result<(), Invalid> {
        Self::new(self.get()).map(drop)
    }
}

/// One share.
impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

/// The forms in which a server is read from disk or from another node.
mod stored {
    use std::{net::SocketAddr, time::Duration};

    use serde::Deserialize;

    use super::{Revision, ServerId, ServerSpec, Timestamp};

    #[derive(Deserialize)]
    pub(super) struct Server {
        id: ServerId,
        address: SocketAddr,
        spec: ServerSpec,
        removal: Option<Removal>,
        added_at: Timestamp,
        intent_since: Timestamp,
        revision: Revision,
    }

    #[derive(Deserialize)]
    struct Removal {
        deadline: Timestamp,
        /// Missing in data that weldr 0.1.0 wrote.
        drain_deadline: Option<Duration>,
    }

    /// The deadline of a removal whose duration is unknown.
    const FALLBACK: Duration = Duration::from_secs(30);

    impl Removal {
        /// A state without the duration has both ends of it: the removal is the last intent of operators for the
        /// server, and both dates are of the node that served the call. Where the second is not the later one, the clock was
        /// set between two calls.
        fn drain_deadline(&self, begun: Timestamp) -> Duration {
            self.drain_deadline
                .unwrap_or_else(|| match self.deadline.remaining(begun) {
                    Duration::ZERO => FALLBACK,
                    between => between,
                })
        }
    }

    impl From<Server> for super::Server {
        fn from(stored: Server) -> Self {
            let removal = stored.removal.map(|removal| super::Removal {
                drain_deadline: removal.drain_deadline(stored.intent_since),
                deadline: removal.deadline,
            });
            Self {
                id: stored.id,
                address: stored.address,
                spec: stored.spec,
                removal,
                added_at: stored.added_at,
                intent_since: stored.intent_since,
                revision: stored.revision,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that is being removed, as weldr 0.1.0 writes it.
    fn old(deadline: u64) -> String {
        format!(
            r#"{{"id":1,"address":"127.0.0.1:80","spec":{{"weight":1,"admin":"ready","check":{{}}}},"removal":{{"deadline":{deadline}}},"added_at":1000,"intent_since":5000,"revision":2}}"#
        )
    }

    /// What weldr 0.1.0 reads of a removal: it skips fields that it does not know.
    #[derive(Deserialize)]
    struct OldServer {
        removal: Option<OldRemoval>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct OldRemoval {
        deadline: Timestamp,
    }

    #[test]
    fn a_removal_of_the_last_version_has_the_time_between_its_dates() {
        for (deadline, lasts) in [(35_000, 30), (5_000 + 86_400_000, 86_400), (4_000, 30)] {
            let server: Server = serde_json::from_str(&old(deadline)).unwrap();
            let removal = server.removal.unwrap();
            assert_eq!(removal.drain_deadline, Duration::from_secs(lasts));
            assert_eq!(removal.deadline, Timestamp(deadline));
        }
    }

    #[test]
    fn the_last_version_reads_what_this_one_writes() {
        let mut server: Server = serde_json::from_str(&old(35_000)).unwrap();
        server.removal = Some(Removal {
            drain_deadline: Duration::from_millis(1_500),
            deadline: Timestamp(6_500),
        });
        let written = serde_json::to_string(&server).unwrap();
        assert_eq!(serde_json::from_str::<Server>(&written).unwrap(), server);
        let old: OldServer = serde_json::from_str(&written).unwrap();
        let deadline = Timestamp(6_500);
        assert_eq!(old.removal, Some(OldRemoval { deadline }));
    }
}
