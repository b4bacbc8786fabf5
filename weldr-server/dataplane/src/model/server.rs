//! A server: what operators asked for, nothing observed.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{CheckOverride, Invalid, Revision, ServerId, Timestamp};

/// A server of a pool, as operators want it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// This life of the server.
    pub id: ServerId,
    /// Where its traffic goes.
    pub address: SocketAddr,
    /// What can be set.
    pub spec: ServerSpec,
    /// Set while it is being removed.
    pub removal: Option<Removal>,
    /// When it was added.
    pub added_at: Timestamp,
    /// Since when the operators' intent (`admin`, removal, weight 0 or not) is what it is.
    pub intent_since: Timestamp,
    /// The revision of its last change.
    pub revision: Revision,
}

impl Server {
    /// Whether operators want it to receive requests; its health is another question.
    pub fn wants_requests(&self) -> bool {
        self.removal.is_none() && self.spec.admin == AdminState::Ready && self.spec.weight.get() > 0
    }

    /// Whether it is to be checked.
    pub fn wants_checks(&self) -> bool {
        self.spec.admin != AdminState::Maintenance && self.removal.is_none()
    }
}

/// The settings of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSpec {
    /// Share of the requests.
    pub weight: Weight,
    /// What the operator wants of it.
    pub admin: AdminState,
    /// What it overrides of the pool's health check.
    pub check: CheckOverride,
}

/// Changes of a server's settings; `None` leaves a setting as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerPatch {
    /// Share of the requests.
    pub weight: Option<Weight>,
    /// What the operator wants of it.
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

/// What an operator wants of a server.
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
    /// The word that people read and write.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
        }
    }
}

/// A server on its way out of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// When running requests are cut.
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
}

/// One share.
impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}
