//! Rise and fall: which results in a row change a server's health. Pure: the time is given.
//!
//! ```text
//! initial ── 1 pass ──────────────────────► healthy
//! initial, healthy ── N failures in a row ─► unhealthy     N = unhealthy_threshold
//! unhealthy ── M passes in a row ──────────► healthy       M = healthy_threshold
//! ```

use std::time::SystemTime;

use super::Failure;
use crate::model::{Health, HealthCheck, HealthState, Reason};

/// How many results in a row change the state. Both are at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Passes that make an unhealthy server healthy.
    pub(super) passes: u32,
    /// Failures that make a server unhealthy.
    pub(super) failures: u32,
}

impl From<&HealthCheck> for Limits {
    fn from(check: &HealthCheck) -> Self {
        Self {
            passes: check.healthy_threshold,
            failures: check.unhealthy_threshold,
        }
    }
}

/// What a result did to the health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that anyone is told.
    None,
    /// The reason or the description changed.
    Told,
    /// The state changed, from this one.
    Flipped(HealthState),
}

/// The health of a server as its results make it.
///
/// Each description is a function of what changes at most once a result *and* comes to rest: a server
/// whose results are all alike is told of a bounded number of times.
#[derive(Debug)]
pub(super) struct Threshold {
    health: Health,
    /// Results in a row against the state: passes when unhealthy, failures otherwise.
    contrary: u32,
    /// The last failure.
    failure: Option<Failure>,
    /// How it came to be unhealthy, or to stay so.
    fall: Fall,
}

/// How an unhealthy server came to be so.
#[derive(Debug, Clone, Copy)]
enum Fall {
    /// By this many failures in a row; more of them are not counted.
    InARow(u32),
    /// It recovered for this many of as many checks, then failed again.
    Relapse(u32, u32),
}

impl Threshold {
    /// A server of which nothing is known.
    pub(super) fn new(now: SystemTime) -> Self {
        Self {
            health: Health::initial(now),
            contrary: 0,
            failure: None,
            fall: Fall::InARow(0),
        }
    }

    /// The health as it is now.
    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Whether the next results may change the state: it was never decided, or the last result spoke
    /// against it.
    pub(super) fn is_pending(&self) -> bool {
        self.health.state == HealthState::Initial || self.contrary > 0
    }

    /// Takes the result of a check that ended at `now`.
    pub(super) fn record(
        &mut self,
        result: Result<(), Failure>,
        limits: Limits,
        now: SystemTime,
    ) -> Change {
        let from = self.health.state;
        let state = match result {
            Ok(()) => self.pass(limits),
            Err(failure) => self.fail(failure, limits),
        };
        let (reason, description) = self.explain(state, limits);
        if state != from {
            self.health = Health {
                state,
                reason,
                description,
                since: now,
            };
            return Change::Flipped(from);
        }
        if (reason, &description) == (self.health.reason, &self.health.description) {
            return Change::None;
        }
        self.health.reason = reason;
        self.health.description = description;
        Change::Told
    }

    /// The state after a pass.
    fn pass(&mut self, limits: Limits) -> HealthState {
        if self.health.state == HealthState::Unhealthy {
            self.contrary = self.contrary.saturating_add(1);
            if self.contrary < limits.passes {
                return HealthState::Unhealthy;
            }
        }
        self.contrary = 0;
        self.failure = None;
        HealthState::Healthy
    }

    /// The state after a failure.
    fn fail(&mut self, failure: Failure, limits: Limits) -> HealthState {
        self.failure = Some(failure);
        if self.health.state == HealthState::Unhealthy {
            if self.contrary > 0 {
                self.fall = Fall::Relapse(self.contrary, limits.passes);
                self.contrary = 0;
            }
            return HealthState::Unhealthy;
        }
        self.contrary = self.contrary.saturating_add(1);
        if self.contrary < limits.failures {
            return self.health.state;
        }
        self.fall = Fall::InARow(self.contrary);
        self.contrary = 0;
        HealthState::Unhealthy
    }

    /// What is told of `state`.
    fn explain(&self, state: HealthState, limits: Limits) -> (Reason, String) {
        let (count, Limits { passes, failures }) = (self.contrary, limits);
        let Some(Failure { reason, detail }) = &self.failure else {
            return (Reason::ChecksPassed, "checks pass".to_owned());
        };
        let description = match state {
            HealthState::Healthy => {
                let description = format!("{count} of {failures} failed checks: {detail}");
                return (Reason::ChecksPassed, description);
            }
            HealthState::Unhealthy if count > 0 => format!("{count} of {passes} passed checks"),
            HealthState::Unhealthy => match self.fall {
                Fall::InARow(1) => format!("{detail} (1 check failed)"),
                Fall::InARow(many) => format!("{detail} ({many} checks failed in a row)"),
                Fall::Relapse(passed, needed) => {
                    format!("{detail} (again, after {passed} of {needed} passed checks)")
                }
            },
            _ => format!("{detail} ({count} of {failures} failed checks)"),
        };
        (*reason, description)
    }
}
