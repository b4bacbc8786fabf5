//! The health of a server as a node observes and reports it.

use std::time::SystemTime;

use super::{AdminState, Server};

/// The state of a server on this node, with its reason and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The state, in the words of AWS target health.
    pub state: HealthState,
    /// The reason, for programs.
    pub reason: Reason,
    /// The reason, for people: `connection refused (3 checks failed in a row)`.
    pub description: String,
    /// When `state` began: by `clock::dates` if checks caused it, by the date of the command if operators did.
    pub since: SystemTime,
}

impl Health {
    /// The health of a server that was just added.
    pub fn initial(since: SystemTime) -> Self {
        Self {
            state: HealthState::Initial,
            reason: Reason::CheckPending,
            description: "waiting for the first check".to_owned(),
            since,
        }
    }

    /// The health of a server before its first check: initial, or healthy where its pool trusts new servers.
    pub fn unchecked(since: SystemTime, begins_healthy: bool) -> Self {
        let initial = Self::initial(since);
        if !begins_healthy {
            return initial;
        }
        Self {
            state: HealthState::Healthy,
            description: "not checked yet: servers of this pool begin healthy".to_owned(),
            ..initial
        }
    }

    /// The health of a server at an address that this node itself listens on. It is not checked.
    pub fn own_address(since: SystemTime) -> Self {
        Self {
            state: HealthState::Unused,
            reason: Reason::OwnAddress,
            description: "this node itself listens on its address: requests would come back"
                .to_owned(),
            since,
        }
    }

    /// The reported health of `server`: from the operators' intent where that decides, otherwise the health that its checks
    /// `observed`.
    #[must_use]
    pub fn of(server: &Server, observed: &Self) -> Self {
        let (state, reason, description) = if server.removal.is_some() {
            (
                HealthState::Draining,
                Reason::RemovalInProgress,
                "being removed from the pool",
            )
        } else {
            match server.spec.admin {
                AdminState::Maintenance => (
                    HealthState::Unused,
                    Reason::InMaintenance,
                    "put into maintenance by an operator",
                ),
                AdminState::Drain => (
                    HealthState::Draining,
                    Reason::DrainedByOperator,
                    "drained by an operator",
                ),
                AdminState::Ready if server.spec.weight.get() == 0 => {
                    (HealthState::Unused, Reason::WeightZero, "its weight is 0")
                }
                AdminState::Ready => return observed.clone(),
            }
        };
        Self {
            state,
            reason,
            description: description.to_owned(),
            since: server.intent_since.into(),
        }
    }

    /// Whether a server that its checks `observed` like this keeps the sessions that it has: one that drains, or gets no new
    /// requests because of its weight, does while it is healthy. So does one that was not checked yet: on a node that was just
    /// started, sessions would move to the server whose first check ends first.
    pub fn keeps_sessions(server: &Server, observed: &Self) -> bool {
        let may_be_up = matches!(observed.state, HealthState::Healthy | HealthState::Initial);
        may_be_up && server.spec.admin != AdminState::Maintenance
    }
}

/// The states of AWS target health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HealthState {
    /// Added; the first check has not ended.
    Initial,
    /// Receives requests.
    Healthy,
    /// Receives no requests, except when the pool fails open.
    Unhealthy,
    /// Finishes running requests, and gets no new ones.
    Draining,
    /// In maintenance, weight 0, or at an address of this node itself.
    Unused,
}

impl HealthState {
    /// The word in the API and in the output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
            Self::Unused => "unused",
        }
    }
}

/// Why a server is in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// healthy: its checks pass.
    ChecksPassed,
    /// initial: its first check has not ended.
    CheckPending,
    /// It refuses connections.
    ConnectionRefused,
    /// The connection ended before the check had its response.
    ConnectionClosed,
    /// It cannot be reached.
    Unreachable,
    /// No response within the check's timeout.
    Timeout,
    /// The status of the response is one that the check does not expect.
    ResponseCodeMismatch,
    /// The response is not valid HTTP, or too long.
    InvalidResponse,
    /// draining: it is being removed.
    RemovalInProgress,
    /// draining: an operator drains it.
    DrainedByOperator,
    /// unused: in maintenance.
    InMaintenance,
    /// unused: its weight is 0.
    WeightZero,
    /// unused: this node itself listens on its address.
    OwnAddress,
    /// unhealthy: requests to it failed, and it is ejected for a time.
    Ejected,
    /// The body of the response does not contain what the check expects.
    ResponseBodyMismatch,
    /// The TLS handshake with it fails, for example because its certificate is not accepted.
    TlsFailed,
}

impl Reason {
    /// The code for programs: the proto's name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChecksPassed => "checks_passed",
            Self::CheckPending => "check_pending",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionClosed => "connection_closed",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::ResponseCodeMismatch => "response_code_mismatch",
            Self::InvalidResponse => "invalid_response",
            Self::RemovalInProgress => "removal_in_progress",
            Self::DrainedByOperator => "drained_by_operator",
            Self::InMaintenance => "in_maintenance",
            Self::WeightZero => "weight_zero",
            Self::OwnAddress => "own_address",
            Self::Ejected => "ejected",
            Self::ResponseBodyMismatch => "response_body_mismatch",
            Self::TlsFailed => "tls_failed",
        }
    }
}
