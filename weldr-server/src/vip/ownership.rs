//! Decides when to add, announce, refresh and remove an address. Pure: no clock and no I/O.
//!
//! ```text
//!            eligible                         not eligible
//!   Absent ───────────► Acquire ─► Held ─────────────────────► Release ─► Absent
//!      ▲                   │        │ Announce, Refresh           │
//!      └──── Release ◄── Unknown ◄──┴────── any failure ◄──────────┘
//! ```

use std::time::{Duration, Instant};

use super::status::Absence;

/// How long before the end of its lease a node removes the address, to allow for delays of the timer, the thread and
/// the kernel. If the renewal of a lease takes longer than the lease less this margin, the address is lost for a
/// moment.
pub(super) const MARGIN: Duration = Duration::from_millis(50);
/// The intervals between the first announcements. There are five in the first second, because one may be lost. The last two come
/// when the kernel of a machine that stands still has certainly removed the address: until then it has answered for it.
const FIRST_GAPS: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(150),
    Duration::from_millis(250),
    Duration::from_millis(400),
    Duration::from_millis(600),
    Duration::from_secs(1),
];
/// The interval between later announcements, for switches and neighbours that forget the address.
const LATER_GAP: Duration = Duration::from_secs(30);
/// The minimum interval between two refreshes. The shortest lifetime of an address in the kernel is a second.
const REFRESH_GAP: Duration = Duration::from_millis(400);
/// The shortest and the longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// How many times a stopping node tries to remove the address.
const LAST_TRIES: u32 = 3;

/// What decides whether this node may hold the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Eligibility {
    /// Until when the node is certainly the leader.
    pub(super) lease: Option<Instant>,
    /// Why the node must not hold the address, whoever leads.
    pub(super) obstacle: Option<Absence>,
    /// Whether the node is stopping.
    pub(super) stopping: bool,
}

impl Eligibility {
    /// When the address must be removed, or why it must not be here at `now`.
    pub(super) fn end(self, now: Instant) -> Result<Instant, Absence> {
        if self.stopping {
            return Err(Absence::Stopping);
        }
        if let Some(obstacle) = self.obstacle {
            return Err(obstacle);
        }
        let lease = self.lease.ok_or(Absence::NotLeader)?;
        let end = lease.checked_sub(MARGIN).filter(|end| *end > now);
        end.ok_or(Absence::LeaseOver)
    }
}

/// An action on the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Add it, with this lifetime unless it is refreshed.
    Acquire(Duration),
    /// Announce it to the neighbours.
    Announce,
    /// Set its lifetime to this, from now on.
    Refresh(Duration),
    /// Remove it.
    Release,
}

/// The result of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ActionOutcome {
    /// It succeeded.
    Done,
    /// A refresh found the address missing and added it again.
    Restored,
    /// It failed, completely or partly.
    Failed,
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Perform this action now.
    Do(Action),
    /// Wait until this time, or until the eligibility changes.
    Wait(Option<Instant>),
    /// Nothing more: the node is stopping and the address is removed.
    Finished,
}

/// The ownership of one address by this node.
#[derive(Debug)]
pub(super) struct AddressOwnership {
    phase: Phase,
    acquire: Retry,
    release: Retry,
}

#[derive(Debug)]
enum Phase {
    Absent,
    Held(Held),
    /// An action failed: the address may be here.
    Unknown,
}

#[derive(Debug)]
struct Held {
    announced: usize,
    announce_at: Instant,
    refresh_at: Instant,
    /// The end of the lease when the address was last refreshed.
    covers: Option<Instant>,
}

/// When to retry after failures.
#[derive(Debug, Default)]
struct Retry {
    failures: u32,
    at: Option<Instant>,
}

impl Retry {
    fn failed(&mut self, now: Instant) {
        let (shortest, longest) = RETRY;
        let doubled = shortest.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.at = Some(now + doubled.min(longest));
    }

    /// The time of the next attempt, if it is after `now`.
    fn not_before(&self, now: Instant) -> Option<Instant> {
        self.at.filter(|at| *at > now)
    }
}

impl AddressOwnership {
    /// The ownership of an address that is not here.
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Absent,
            acquire: Retry::default(),
            release: Retry::default(),
        }
    }

    /// Whether this node certainly has the address.
    pub(super) fn holds(&self) -> bool {
        matches!(self.phase, Phase::Held(_))
    }

    /// The next step at `now`.
    pub(super) fn next(&self, now: Instant, eligibility: Eligibility) -> Next {
        match (&self.phase, eligibility.end(now)) {
            (Phase::Held(held), Ok(end)) => held.next(now, eligibility, end),
            (Phase::Absent | Phase::Unknown, Ok(end)) => match self.acquire.not_before(now) {
                Some(at) => Next::Wait(Some(at.min(end))),
                None => Next::Do(Action::Acquire(lifetime(now, end))),
            },
            (Phase::Absent, Err(Absence::Stopping)) => Next::Finished,
            (Phase::Absent, Err(_)) => Next::Wait(None),
            (Phase::Held(_) | Phase::Unknown, Err(absence)) => {
                if absence == Absence::Stopping && self.release.failures >= LAST_TRIES {
                    return Next::Finished;
                }
                match self.release.not_before(now) {
                    Some(at) => Next::Wait(Some(at)),
                    None => Next::Do(Action::Release),
                }
            }
        }
    }

    /// Records the result of `action`, which [`Self::next`] asked for with this `eligibility`.
    pub(super) fn note(
        &mut self,
        now: Instant,
        eligibility: Eligibility,
        action: Action,
        outcome: ActionOutcome,
    ) {
        match (action, outcome) {
            (Action::Acquire(_), ActionOutcome::Done | ActionOutcome::Restored) => {
                self.acquire = Retry::default();
                self.phase = Phase::Held(Held::since(now, eligibility));
            }
            (Action::Refresh(_), ActionOutcome::Restored) => {
                self.phase = Phase::Held(Held::since(now, eligibility));
            }
            (Action::Refresh(_), ActionOutcome::Done) => {
                if let Phase::Held(held) = &mut self.phase {
                    held.refreshed(now, eligibility);
                }
            }
            (Action::Acquire(_) | Action::Refresh(_), ActionOutcome::Failed) => {
                self.acquire.failed(now);
                self.release = Retry::default();
                self.phase = Phase::Unknown;
            }
            // A lost announcement is followed by another one.
            (Action::Announce, _) => {
                if let Phase::Held(held) = &mut self.phase {
                    held.announced(now);
                }
            }
            (Action::Release, ActionOutcome::Done | ActionOutcome::Restored) => {
                self.release = Retry::default();
                self.phase = Phase::Absent;
            }
            (Action::Release, ActionOutcome::Failed) => {
                self.release.failed(now);
                self.phase = Phase::Unknown;
            }
        }
    }
}

impl Held {
    fn since(now: Instant, eligibility: Eligibility) -> Self {
        Self {
            announced: 0,
            announce_at: now,
            refresh_at: now + REFRESH_GAP,
            covers: eligibility.lease,
        }
    }

    fn refreshed(&mut self, now: Instant, eligibility: Eligibility) {
        self.refresh_at = now + REFRESH_GAP;
        self.covers = eligibility.lease;
    }

    fn announced(&mut self, now: Instant) {
        let gap = FIRST_GAPS.get(self.announced).copied();
        self.announced += 1;
        self.announce_at = now + gap.unwrap_or(LATER_GAP);
    }

    fn next(&self, now: Instant, eligibility: Eligibility, end: Instant) -> Next {
        let is_renewed = eligibility.lease > self.covers;
        if is_renewed && self.refresh_at <= now {
            return Next::Do(Action::Refresh(lifetime(now, end)));
        }
        if self.announce_at <= now {
            return Next::Do(Action::Announce);
        }
        let refresh_at = is_renewed.then_some(self.refresh_at);
        let wake = refresh_at.map_or(end, |at| at.min(end));
        Next::Wait(Some(wake.min(self.announce_at)))
    }
}

/// How long the address may exist without a refresh: until the lease ends.
fn lifetime(now: Instant, end: Instant) -> Duration {
    (end + MARGIN).saturating_duration_since(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(1);

    /// An ownership with a manual clock, and a node that is the leader by default.
    struct Bench {
        ownership: AddressOwnership,
        now: Instant,
        began: Instant,
        eligibility: Eligibility,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::now();
            Self {
                ownership: AddressOwnership::new(),
                now,
                began: now,
                eligibility: Eligibility {
                    lease: Some(now + LEASE),
                    obstacle: None,
                    stopping: false,
                },
            }
        }

        fn holding() -> Self {
            let mut bench = Self::new();
            assert_eq!(bench.next(), Next::Do(Action::Acquire(LEASE)));
            bench.note(Action::Acquire(LEASE), ActionOutcome::Done);
            bench
        }

        fn next(&self) -> Next {
            self.ownership.next(self.now, self.eligibility)
        }

        fn note(&mut self, action: Action, outcome: ActionOutcome) {
            self.ownership
                .note(self.now, self.eligibility, action, outcome);
        }

        fn pass(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
        }

        fn renew(&mut self) {
            self.eligibility.lease = Some(self.now + LEASE);
        }

        fn wait(&self) -> u128 {
            match self.next() {
                Next::Wait(Some(at)) => at.duration_since(self.now).as_millis(),
                other => panic!("no wait: {other:?}"),
            }
        }

        /// Advances the clock for `millis` with a lease that is renewed every 100 ms. Returns the actions and their
        /// times in milliseconds.
        fn run(&mut self, millis: u64) -> Vec<(u128, Action)> {
            let mut done = Vec::new();
            let until = self.now + Duration::from_millis(millis);
            while self.now < until {
                match self.next() {
                    Next::Do(action) => {
                        done.push((self.now.duration_since(self.began).as_millis(), action));
                        self.note(action, ActionOutcome::Done);
                    }
                    Next::Wait(wake) => {
                        let tick = self.now + Duration::from_millis(100);
                        self.now = wake.map_or(tick, |wake| wake.min(tick)).min(until);
                        self.renew();
                    }
                    Next::Finished => break,
                }
            }
            done
        }
    }

    #[test]
    fn is_taken_only_by_a_leader_that_serves() {
        let mut bench = Bench::new();
        bench.eligibility.lease = None;
        assert_eq!(bench.next(), Next::Wait(None));
        bench.renew();
        bench.eligibility.obstacle = Some(Absence::NotServing);
        assert_eq!(bench.next(), Next::Wait(None));
        bench.eligibility.obstacle = None;
        assert_eq!(bench.next(), Next::Do(Action::Acquire(LEASE)));
    }

    #[test]
    fn is_announced_often_in_the_first_seconds_and_then_now_and_then() {
        let mut bench = Bench::holding();
        let announced: Vec<_> = bench
            .run(65_000)
            .into_iter()
            .filter_map(|(at, action)| (action == Action::Announce).then_some(at))
            .collect();
        assert_eq!(
            announced,
            [0, 100, 250, 500, 900, 1500, 2500, 32_500, 62_500]
        );
    }

    #[test]
    fn is_refreshed_as_often_as_the_lease_is_renewed_but_no_more_than_it_takes() {
        let mut bench = Bench::holding();
        let done = bench.run(10_000);
        let refreshed: Vec<_> = done
            .iter()
            .filter(|(_, action)| matches!(action, Action::Refresh(_)))
            .collect();
        assert_eq!(refreshed.len(), 24, "{refreshed:?}");
        assert!(
            refreshed
                .iter()
                .all(|(_, action)| *action == Action::Refresh(LEASE))
        );
    }

    #[test]
    fn is_not_refreshed_on_an_old_lease() {
        let mut bench = Bench::holding();
        bench.pass(700);
        while bench.next() == Next::Do(Action::Announce) {
            bench.note(Action::Announce, ActionOutcome::Done);
        }
        assert_eq!(bench.wait(), 100, "the next announcement");
        bench.pass(100);
        bench.note(Action::Announce, ActionOutcome::Done);
        assert_eq!(bench.wait(), 150, "the end of the lease less the margin");
    }

    #[test]
    fn is_dropped_before_the_lease_ends() {
        let mut bench = Bench::holding();
        bench.note(Action::Announce, ActionOutcome::Done);
        bench.pass(949);
        assert_ne!(bench.next(), Next::Do(Action::Release));
        bench.pass(1);
        assert_eq!(bench.next(), Next::Do(Action::Release));
        bench.note(Action::Release, ActionOutcome::Done);
        assert_eq!(bench.next(), Next::Wait(None));
    }

    #[test]
    fn nothing_is_announced_or_refreshed_after_a_long_stop() {
        let mut bench = Bench::holding();
        // Between SIGSTOP and SIGCONT both the announcements and the end of the lease became overdue.
        bench.pass(60_000);
        assert_eq!(bench.next(), Next::Do(Action::Release));
    }

    #[test]
    fn is_dropped_at_once_when_the_grounds_are_gone() {
        type Edit = fn(&mut Eligibility);
        let changes: [Edit; 3] = [
            |eligibility| eligibility.lease = None,
            |eligibility| eligibility.obstacle = Some(Absence::NotServing),
            |eligibility| eligibility.stopping = true,
        ];
        for change in changes {
            let mut bench = Bench::holding();
            change(&mut bench.eligibility);
            assert_eq!(bench.next(), Next::Do(Action::Release));
        }
    }

    #[test]
    fn a_node_that_stops_finishes_without_the_address() {
        let mut bench = Bench::holding();
        bench.eligibility.stopping = true;
        bench.note(Action::Release, ActionOutcome::Done);
        assert_eq!(bench.next(), Next::Finished);
    }

    #[test]
    fn a_node_that_stops_and_cannot_drop_it_gives_up() {
        let mut bench = Bench::holding();
        bench.eligibility.stopping = true;
        let mut tries = 0;
        loop {
            match bench.next() {
                Next::Do(action) => {
                    tries += 1;
                    bench.note(action, ActionOutcome::Failed);
                }
                Next::Wait(at) => bench.now = at.unwrap(),
                Next::Finished => break,
            }
        }
        assert_eq!(tries, LAST_TRIES);
    }

    #[test]
    fn taking_it_is_tried_again_at_a_slowing_pace() {
        let mut bench = Bench::new();
        let mut waits = Vec::new();
        for _ in 0..8 {
            bench.eligibility.lease = Some(bench.now + Duration::from_mins(1));
            assert!(matches!(bench.next(), Next::Do(Action::Acquire(_))));
            bench.note(Action::Acquire(LEASE), ActionOutcome::Failed);
            let wait = bench.wait();
            waits.push(wait);
            bench.pass(u64::try_from(wait).unwrap());
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    }

    #[test]
    fn what_may_be_left_of_a_failed_try_is_dropped_at_once_when_the_lease_is_gone() {
        let mut bench = Bench::new();
        bench.note(Action::Acquire(LEASE), ActionOutcome::Failed);
        bench.eligibility.lease = None;
        assert_eq!(bench.next(), Next::Do(Action::Release));
        bench.note(Action::Release, ActionOutcome::Failed);
        assert_eq!(bench.wait(), 250);
        bench.pass(250);
        assert_eq!(bench.next(), Next::Do(Action::Release));
    }

    #[test]
    fn an_address_that_somebody_took_away_is_announced_anew_when_it_is_back() {
        let mut bench = Bench::holding();
        bench.run(5_000);
        bench.note(Action::Refresh(LEASE), ActionOutcome::Restored);
        assert_eq!(bench.next(), Next::Do(Action::Announce));
    }

    #[test]
    fn a_refresh_that_fails_leads_to_a_new_start() {
        let mut bench = Bench::holding();
        bench.note(Action::Refresh(LEASE), ActionOutcome::Failed);
        assert!(!bench.ownership.holds());
        assert_eq!(bench.wait(), 250);
        bench.pass(250);
        assert!(matches!(bench.next(), Next::Do(Action::Acquire(_))));
    }
}
