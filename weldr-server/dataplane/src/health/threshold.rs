//! How many results in a row change a server's health. Pure: the caller gives the time.
//!
//! ```text
//! initial ── 1 pass ──────────────────────► healthy       or it begins healthy
//! initial, healthy ── N failures in a row ─► unhealthy     N = unhealthy_threshold
//! unhealthy ── M passes in a row ──────────► healthy       M = healthy_threshold
//! ```

use std::time::{Duration, SystemTime};

use super::Failure;
use crate::model::{Health, HealthCheck, HealthState, Reason};

/// How many results in a row change the state. Both are at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FlipThresholds {
    /// Passes that make an unhealthy server healthy.
    pub(super) passes: u32,
    /// Failures that make a server unhealthy.
    pub(super) failures: u32,
    /// Whether failures do not count yet for a server that has passed no check.
    pub(super) in_grace: bool,
}

impl FlipThresholds {
    /// Those of `check`, `since` the checks have begun.
    pub(super) fn new(check: &HealthCheck, since: Duration) -> Self {
        Self {
            passes: check.healthy_threshold,
            failures: check.unhealthy_threshold,
            in_grace: since < check.grace,
        }
    }
}

/// The effect of a result on the health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// No change to report.
    None,
    /// The reason or the description changed.
    Told,
    /// The state changed; this was the state before.
    Flipped(HealthState),
}

/// The health of a server, derived from the results of its checks.
///
/// Descriptions contain nothing that changes with every result, so a server whose results are all equal causes a bounded
/// number of reports.
#[derive(Debug)]
pub(super) struct Threshold {
    health: Health,
    /// Results in a row that contradict the state: passes when unhealthy, failures otherwise.
    contrary: u32,
    /// Whether a check has passed.
    has_passed: bool,
    /// The last failure.
    failure: Option<Failure>,
    /// Why the server became or stayed unhealthy.
    fall: Fall,
}

/// Why a server is unhealthy.
#[derive(Debug, Clone, Copy)]
enum Fall {
    /// This many checks failed in a row; further failures are not counted.
    InARow(u32),
    /// While it recovered, this many of the required checks passed, then one failed.
    Relapse(u32, u32),
}

impl Threshold {
    /// The health of a server that was not checked yet.
    pub(super) fn new(now: SystemTime, begins_healthy: bool) -> Self {
        Self {
            health: Health::unchecked(now, begins_healthy),
            contrary: 0,
            has_passed: false,
            failure: None,
            fall: Fall::InARow(0),
        }
    }

    /// The health as it is now.
    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Whether the next results may change the state: it is still initial, or the last result contradicts it.
    pub(super) fn is_pending(&self) -> bool {
        self.health.state == HealthState::Initial || self.contrary > 0
    }

    /// Takes the result of a check that ended at `now`.
    pub(super) fn record(
        &mut self,
        result: Result<(), Failure>,
        limits: FlipThresholds,
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
    fn pass(&mut self, limits: FlipThresholds) -> HealthState {
        if self.health.state == HealthState::Unhealthy {
            self.contrary = self.contrary.saturating_add(1);
            if self.contrary < limits.passes {
                return HealthState::Unhealthy;
            }
        }
        self.contrary = 0;
        self.has_passed = true;
        self.failure = None;
        HealthState::Healthy
    }

    /// The state after a failure.
    fn fail(&mut self, failure: Failure, limits: FlipThresholds) -> HealthState {
        self.failure = Some(failure);
        if self.health.state == HealthState::Unhealthy {
            if self.contrary > 0 {
                self.fall = Fall::Relapse(self.contrary, limits.passes);
                self.contrary = 0;
            }
            return HealthState::Unhealthy;
        }
        if limits.in_grace && !self.has_passed {
            return self.health.state;
        }
        self.contrary = self.contrary.saturating_add(1);
        if self.contrary < limits.failures {
            return self.health.state;
        }
        self.fall = Fall::InARow(self.contrary);
        self.contrary = 0;
        HealthState::Unhealthy
    }

    /// The reason and description for `state`.
    fn explain(&self, state: HealthState, limits: FlipThresholds) -> (Reason, String) {
        let count = self.contrary;
        let FlipThresholds {
            passes,
            failures,
            in_grace,
        } = limits;
        let Some(Failure { reason, detail, .. }) = &self.failure else {
            return (Reason::ChecksPassed, "checks pass".to_owned());
        };
        if in_grace && !self.has_passed {
            return (*reason, format!("{detail} (within its grace period)"));
        }
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

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;
    use HealthState::{Healthy, Initial, Unhealthy};

    const LIMITS: FlipThresholds = FlipThresholds {
        passes: 2,
        failures: 3,
        in_grace: false,
    };

    fn refused() -> Result<(), Failure> {
        Err(Failure::met_by_request(Reason::ConnectionRefused))
    }

    fn timed_out() -> Result<(), Failure> {
        Err(Failure::timeout(Duration::from_secs(2)))
    }

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    /// Records `results`, one a second, and expects the change and the text that each makes.
    fn expect(results: &[(Result<(), Failure>, Change, Reason, &str)]) -> Threshold {
        let mut threshold = Threshold::new(at(0), false);
        for (second, (result, change, reason, description)) in (1..).zip(results) {
            let made = threshold.record(result.clone(), LIMITS, at(second));
            let health = threshold.health();
            assert_eq!(
                (made, health.reason, health.description.as_str()),
                (*change, *reason, *description),
                "at second {second}"
            );
        }
        threshold
    }

    #[test]
    fn one_pass_makes_a_new_server_healthy() {
        use Reason::ChecksPassed;
        let threshold = expect(&[
            (
                Ok(()),
                Change::Flipped(Initial),
                ChecksPassed,
                "checks pass",
            ),
            (Ok(()), Change::None, ChecksPassed, "checks pass"),
        ]);
        assert_eq!(threshold.health().state, Healthy);
        assert_eq!(threshold.health().since, at(1));
        assert!(!threshold.is_pending());
    }

    #[test]
    fn a_new_server_says_why_it_is_not_healthy_yet() {
        use Reason::{ConnectionRefused, Timeout};
        let threshold = expect(&[
            (
                refused(),
                Change::Told,
                ConnectionRefused,
                "connection refused (1 of 3 failed checks)",
            ),
            (
                timed_out(),
                Change::Told,
                Timeout,
                "no response within 2s (2 of 3 failed checks)",
            ),
        ]);
        assert_eq!(threshold.health().state, Initial);
        assert_eq!(threshold.health().since, at(0));
        assert!(threshold.is_pending());
    }

    #[test]
    fn a_server_that_stays_down_is_reported_once() {
        use Reason::{ConnectionRefused, Timeout};
        let first = "connection refused (1 of 3 failed checks)";
        let second = "connection refused (2 of 3 failed checks)";
        let down = "connection refused (3 checks failed in a row)";
        let other = "no response within 2s (3 checks failed in a row)";
        let threshold = expect(&[
            (refused(), Change::Told, ConnectionRefused, first),
            (refused(), Change::Told, ConnectionRefused, second),
            (refused(), Change::Flipped(Initial), ConnectionRefused, down),
            (refused(), Change::None, ConnectionRefused, down),
            (refused(), Change::None, ConnectionRefused, down),
            (timed_out(), Change::Told, Timeout, other),
            (timed_out(), Change::None, Timeout, other),
        ]);
        assert_eq!(threshold.health().state, Unhealthy);
        assert_eq!(threshold.health().since, at(3));
        assert!(!threshold.is_pending());
    }

    #[test]
    fn a_failure_between_passes_is_reported_and_forgotten() {
        use Reason::ChecksPassed;
        let up = "checks pass";
        let threshold = expect(&[
            (Ok(()), Change::Flipped(Initial), ChecksPassed, up),
            (
                refused(),
                Change::Told,
                ChecksPassed,
                "1 of 3 failed checks: connection refused",
            ),
            (
                timed_out(),
                Change::Told,
                ChecksPassed,
                "2 of 3 failed checks: no response within 2s",
            ),
            (Ok(()), Change::Told, ChecksPassed, up),
            (Ok(()), Change::None, ChecksPassed, up),
        ]);
        assert_eq!(threshold.health().since, at(1));
    }

    #[test]
    fn recovery_takes_passes_in_a_row() {
        use Reason::{ChecksPassed, ConnectionRefused};
        let down = "connection refused (3 checks failed in a row)";
        let relapse = "connection refused (again, after 1 of 2 passed checks)";
        let first = "connection refused (1 of 3 failed checks)";
        let second = "connection refused (2 of 3 failed checks)";
        let recovering = "1 of 2 passed checks";
        let told = Change::Told;
        let threshold = expect(&[
            (refused(), told, ConnectionRefused, first),
            (refused(), told, ConnectionRefused, second),
            (refused(), Change::Flipped(Initial), ConnectionRefused, down),
            (Ok(()), told, ConnectionRefused, recovering),
            (refused(), told, ConnectionRefused, relapse),
            (refused(), Change::None, ConnectionRefused, relapse),
            (Ok(()), told, ConnectionRefused, recovering),
            (
                Ok(()),
                Change::Flipped(Unhealthy),
                ChecksPassed,
                "checks pass",
            ),
        ]);
        assert_eq!(threshold.health().state, Healthy);
        assert_eq!(threshold.health().since, at(8));
    }

    #[test]
    fn a_threshold_of_one_needs_one_result() {
        let limits = FlipThresholds {
            passes: 1,
            failures: 1,
            ..LIMITS
        };
        let mut threshold = Threshold::new(at(0), false);
        let change = threshold.record(refused(), limits, at(1));
        assert_eq!(change, Change::Flipped(Initial));
        assert_eq!(
            threshold.health().description,
            "connection refused (1 check failed)"
        );
        let change = threshold.record(Ok(()), limits, at(2));
        assert_eq!(change, Change::Flipped(Unhealthy));
    }

    #[test]
    fn a_lower_threshold_applies_to_earlier_results() {
        let mut threshold = Threshold::new(at(0), false);
        threshold.record(Ok(()), LIMITS, at(1));
        threshold.record(refused(), LIMITS, at(2));
        let limits = FlipThresholds {
            failures: 2,
            ..LIMITS
        };
        let change = threshold.record(refused(), limits, at(3));
        assert_eq!(change, Change::Flipped(Healthy));
    }

    #[test]
    fn failures_within_the_grace_period_count_only_after_a_pass() {
        let grace = FlipThresholds {
            in_grace: true,
            ..LIMITS
        };
        let mut threshold = Threshold::new(at(0), false);
        for second in 1..9 {
            let change = threshold.record(refused(), grace, at(second));
            assert_eq!(change == Change::Told, second == 1, "{change:?}");
        }
        let health = threshold.health();
        assert_eq!((health.state, health.since), (Initial, at(0)));
        let text = "connection refused (within its grace period)";
        assert_eq!(health.description, text);
        threshold.record(Ok(()), grace, at(9));
        for second in 10..13 {
            threshold.record(refused(), grace, at(second));
        }
        assert_eq!(threshold.health().state, Unhealthy);
        let mut late = Threshold::new(at(0), false);
        late.record(refused(), grace, at(1));
        for second in 2..5 {
            assert_eq!(late.health().state, Initial);
            late.record(refused(), LIMITS, at(second));
        }
        assert_eq!(late.health().state, Unhealthy, "three after its end");
    }

    #[test]
    fn a_server_may_begin_healthy() {
        let mut threshold = Threshold::new(at(0), true);
        assert_eq!(threshold.health().state, Healthy);
        assert_eq!(threshold.health().reason, Reason::CheckPending);
        for second in 1..3 {
            threshold.record(refused(), LIMITS, at(second));
            assert_eq!(threshold.health().state, Healthy);
        }
        let change = threshold.record(refused(), LIMITS, at(3));
        assert_eq!(change, Change::Flipped(Healthy));
    }

    /// The state by its definition, computed from all results so far.
    fn by_definition(results: &[(bool, FlipThresholds)]) -> HealthState {
        let mut state = Initial;
        let mut in_state = 0;
        for end in 1..=results.len() {
            let since = &results[in_state..end];
            let (_, limits) = since[since.len() - 1];
            let tail = |wanted: bool| {
                let unlike = since.iter().rposition(|&(passed, _)| passed != wanted);
                since.len() - unlike.map_or(0, |at| at + 1)
            };
            let next = match state {
                Initial if tail(true) >= 1 => Healthy,
                Unhealthy if tail(true) >= limits.passes as usize => Healthy,
                Initial | Healthy if tail(false) >= limits.failures as usize => Unhealthy,
                same => same,
            };
            if next != state {
                (state, in_state) = (next, end);
            }
        }
        state
    }

    fn any_limits() -> impl Strategy<Value = FlipThresholds> {
        (1..5_u32, 1..5_u32).prop_map(|(passes, failures)| FlipThresholds {
            passes,
            failures,
            ..LIMITS
        })
    }

    proptest! {
        /// Runs of results, each with thresholds of its own, as when a check is replaced.
        #[test]
        fn the_state_is_what_the_results_in_a_row_make_it(
            runs in prop::collection::vec(
                (any_limits(), prop::collection::vec(any::<bool>(), 0..12)),
                0..6,
            ),
        ) {
            let results: Vec<(bool, FlipThresholds)> = runs
                .iter()
                .flat_map(|(limits, run)| run.iter().map(|&passed| (passed, *limits)))
                .collect();
            let mut threshold = Threshold::new(at(0), false);
            let mut since = at(0);
            for (index, &(passed, limits)) in results.iter().enumerate() {
                let before = threshold.health().clone();
                let now = at(index as u64 + 1);
                let change = threshold.record(if passed { Ok(()) } else { refused() }, limits, now);
                let health = threshold.health();
                prop_assert_eq!(health.state, by_definition(&results[..=index]));
                match change {
                    Change::None => prop_assert_eq!(&before, health),
                    Change::Told => {
                        prop_assert_eq!(before.state, health.state);
                        prop_assert_ne!(&before, health);
                    }
                    Change::Flipped(from) => {
                        prop_assert_eq!(before.state, from);
                        prop_assert_ne!(from, health.state);
                        since = now;
                    }
                }
                prop_assert_eq!(health.since, since);
            }
        }

        /// A server that stays up or down causes few observations, no matter how long.
        #[test]
        fn results_all_alike_come_to_rest(
            before in prop::collection::vec(any::<bool>(), 0..20),
            passed: bool,
            limits in any_limits(),
        ) {
            let result = |passed| if passed { Ok(()) } else { refused() };
            let mut threshold = Threshold::new(at(0), false);
            for passed in before {
                threshold.record(result(passed), limits, at(1));
            }
            let told = (0..50)
                .filter(|_| threshold.record(result(passed), limits, at(2)) != Change::None)
                .count();
            prop_assert!(told <= 4, "told {} times", told);
            prop_assert!(!threshold.is_pending());
        }
    }
}
