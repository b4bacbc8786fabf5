//! The task of one address: performs the actions that [`AddressOwnership`] asks for.

use std::{
    error::Error as _,
    future::poll_fn,
    mem::{self, Discriminant},
    pin::pin,
    task::Poll,
    time::Instant,
};

use tokio::{sync::watch, time};

use super::{
    backend::{AddressBackend, Found},
    error::BackendError,
    inputs::Sources,
    ownership::{Action, ActionOutcome, AddressOwnership, Eligibility, Next},
    status::{Absence, AddressStatus, Standing},
};
use crate::{
    clock::dates,
    liveness::{TICK, Tick},
    model::VirtualAddress,
};

/// One address, its backend and the state of its ownership.
pub(super) struct Holder<B> {
    backend: B,
    sources: Sources,
    ownership: AddressOwnership,
    report: Report,
}

impl<B: AddressBackend> Holder<B> {
    /// A holder of an address that is not on this machine. It reports its state in entry `at` of `statuses`.
    pub(super) fn new(
        backend: B,
        sources: Sources,
        statuses: watch::Sender<Vec<AddressStatus>>,
        at: usize,
    ) -> Self {
        Self {
            backend,
            sources,
            ownership: AddressOwnership::new(),
            report: Report {
                statuses,
                at,
                failing: None,
                keeps: false,
            },
        }
    }

    /// Manages the address until the node stops.
    pub(super) async fn run(mut self, tick: Tick) {
        loop {
            tick.tick();
            // The clock is read first, because the process may have been stopped for a long time.
            let now = now();
            let eligibility = self.sources.eligibility();
            self.report.keeps(self.sources.keeps());
            match self.ownership.next(now, eligibility) {
                Next::Do(action) => self.act(action, now, eligibility).await,
                Next::Wait(wake) => {
                    self.report.rests(now, &self.ownership, eligibility);
                    let next_tick = now + TICK;
                    let wake = wake.map_or(next_tick, |wake| wake.min(next_tick));
                    self.sources.changed_before(Some(wake)).await;
                }
                Next::Finished => return,
            }
        }
    }

    async fn act(&mut self, action: Action, asked_at: Instant, eligibility: Eligibility) {
        if matches!(action, Action::Acquire(_)) {
            self.report.takes();
        }
        let result = match action {
            Action::Acquire(lifetime) | Action::Refresh(lifetime) => {
                let holding = self.backend.hold(lifetime);
                while_entitled(&mut self.sources, holding)
                    .await
                    .map(outcome_of)
            }
            Action::Announce => self.backend.announce().await.map(|()| ActionOutcome::Done),
            Action::Release => self.backend.release().await.map(|()| ActionOutcome::Done),
        };
        let outcome = match &result {
            Ok(outcome) => *outcome,
            Err(_) => ActionOutcome::Failed,
        };
        // The time of a success is when it was requested; a retry is counted from the end of the failure.
        let noted_at = if result.is_ok() { asked_at } else { now() };
        self.ownership.note(noted_at, eligibility, action, outcome);
        match result {
            Ok(outcome) => self
                .report
                .did(action, outcome, eligibility.end(now()).err()),
            Err(error) => self.report.failed(action, &error),
        }
    }
}

fn outcome_of(found: Found) -> ActionOutcome {
    match found {
        Found::Missing => ActionOutcome::Restored,
        Found::Present => ActionOutcome::Done,
    }
}

/// Polls `holding` as long as this node is eligible, and reads the clock before each poll: a process that was stopped
/// in between must not add an address that another node has by now. A request that has reached the kernel already
/// cannot be taken back.
async fn while_entitled<T>(
    sources: &mut Sources,
    holding: impl Future<Output = Result<T, BackendError>>,
) -> Result<T, BackendError> {
    let mut holding = pin!(holding);
    loop {
        let end = sources
            .eligibility()
            .end(now())
            .map_err(BackendError::GivenUp)?;
        let step = poll_fn(|cx| {
            if now() >= end {
                return Poll::Ready(None);
            }
            holding.as_mut().poll(cx).map(Some)
        });
        tokio::select! {
            biased;
            () = sources.changed_before(Some(end)) => {}
            held = step => if let Some(held) = held {
                return held;
            },
        }
    }
}

fn now() -> Instant {
    time::Instant::now().into_std()
}

/// Publishes the state of the address, and logs its changes.
struct Report {
    statuses: watch::Sender<Vec<AddressStatus>>,
    at: usize,
    /// The kind of action that failed last and has not succeeded since.
    failing: Option<Discriminant<Action>>,
    /// Whether the address is kept without a lease.
    keeps: bool,
}

impl Report {
    fn rests(&self, now: Instant, ownership: &AddressOwnership, eligibility: Eligibility) {
        if self.failing.is_some() {
            return;
        }
        self.stands(match eligibility.end(now) {
            _ if ownership.holds() => Standing::Holding,
            Err(absence) => Standing::Absent(absence),
            // The address will be added next.
            Ok(_) => return,
        });
    }

    /// Logs when the address begins to be kept without a quorum, and when that ends.
    fn keeps(&mut self, keeps: bool) {
        if mem::replace(&mut self.keeps, keeps) == keeps {
            return;
        }
        let (address, interface) = self.subject();
        if keeps {
            tracing::warn!(%address, %interface, "the quorum is lost, and the virtual address is kept: another node may have it too");
        } else {
            tracing::info!(%address, %interface, "the virtual address is no longer kept without a quorum");
        }
    }

    /// Published before the address is added, so that nobody finds it reported absent when it is there.
    fn takes(&self) {
        if self.failing.is_none() {
            self.stands(Standing::Taking);
        }
    }

    fn did(&mut self, action: Action, outcome: ActionOutcome, absence: Option<Absence>) {
        let (address, interface) = self.subject();
        match (action, outcome) {
            (Action::Acquire(_), _) => {
                self.failing = None;
                tracing::info!(%address, %interface, "virtual address taken");
                self.stands(Standing::Holding);
            }
            (Action::Release, _) => {
                self.failing = None;
                let reason = absence.unwrap_or(Absence::LeaseOver);
                tracing::info!(%address, %interface, %reason, "virtual address dropped");
                self.stands(Standing::Absent(reason));
            }
            (Action::Refresh(_), ActionOutcome::Restored) => {
                tracing::warn!(%address, %interface, "virtual address was missing, and is added again");
            }
            (Action::Refresh(_) | Action::Announce, _) => {}
        }
        self.failing
            .take_if(|kind| *kind == mem::discriminant(&action));
    }

    fn failed(&mut self, action: Action, error: &BackendError) {
        if matches!(error, BackendError::GivenUp(_)) {
            return;
        }
        let (address, interface) = self.subject();
        let what = match action {
            Action::Acquire(_) => "virtual address cannot be taken",
            Action::Announce => "virtual address cannot be announced",
            Action::Refresh(_) => "virtual address cannot be refreshed",
            Action::Release => "virtual address cannot be dropped",
        };
        let cause = error.source().map(ToString::to_string);
        let kind = Some(mem::discriminant(&action));
        if self.failing == kind {
            tracing::debug!(%address, %interface, %error, cause, "{what}");
        } else {
            tracing::error!(%address, %interface, %error, cause, "{what}; trying again");
        }
        self.failing = kind;
        let detail = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        self.stands(Standing::Failing(format!("{what}: {detail}")));
    }

    fn subject(&self) -> (VirtualAddress, String) {
        let entry = &self.statuses.borrow()[self.at];
        (entry.address, entry.interface.clone())
    }

    fn stands(&self, standing: Standing) {
        self.statuses.send_if_modified(|statuses| {
            let entry = &mut statuses[self.at];
            let is_new = entry.standing != standing;
            if is_new {
                entry.standing = standing;
                entry.since = dates::now().into();
            }
            is_new
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::VecDeque, future, io, rc::Rc, time::Duration};

    use tokio::sync::Notify;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        model::{OnLostQuorum, Timestamp},
        vip::inputs::{Inputs, Observed},
    };

    const LEASE: Duration = Duration::from_secs(1);

    /// A backend that records its calls and their times.
    #[derive(Clone, Default)]
    struct Notebook(Rc<RefCell<Notes>>);

    #[derive(Default)]
    struct Notes {
        calls: Vec<(Instant, &'static str)>,
        /// The results of the next calls of `hold`; `Some(None)` never ends.
        holds: VecDeque<Option<Result<Found, BackendError>>>,
        drops: VecDeque<Result<(), BackendError>>,
        /// What the second step of `hold` waits for, if there is one.
        second_step: Option<Rc<Notify>>,
    }

    impl Notebook {
        fn write(&self, what: &'static str) {
            self.0.borrow_mut().calls.push((now(), what));
        }
    }

    impl AddressBackend for Notebook {
        async fn hold(&mut self, _lifetime: Duration) -> Result<Found, BackendError> {
            self.write("hold");
            let second_step = self.0.borrow().second_step.clone();
            if let Some(second_step) = second_step {
                second_step.notified().await;
                self.write("second step");
            }
            let next = self.0.borrow_mut().holds.pop_front();
            match next {
                Some(Some(result)) => result,
                Some(None) => future::pending().await,
                None => Ok(Found::Present),
            }
        }

        async fn announce(&mut self) -> Result<(), BackendError> {
            self.write("announce");
            Ok(())
        }

        async fn release(&mut self) -> Result<(), BackendError> {
            self.write("drop");
            self.0.borrow_mut().drops.pop_front().unwrap_or(Ok(()))
        }
    }

    struct Bench {
        began: Instant,
        notes: Notebook,
        lease: watch::Sender<Option<Instant>>,
        serving: watch::Sender<bool>,
        stop: CancellationToken,
        _observed: watch::Sender<bool>,
        statuses: watch::Receiver<Vec<AddressStatus>>,
        task: tokio::task::JoinHandle<()>,
    }

    impl Bench {
        /// A holder on the local task set, whose node is the leader and serves.
        fn start(notes: Notes) -> Self {
            let notes = Notebook(Rc::new(RefCell::new(notes)));
            let (lease, serving) = (
                watch::Sender::new(Some(now() + LEASE)),
                watch::Sender::new(true),
            );
            let inputs = Inputs {
                lease: lease.subscribe(),
                serving: serving.subscribe(),
                led_last: watch::Sender::new(false).subscribe(),
                last_words: watch::Sender::new(None).subscribe(),
            };
            let stop = CancellationToken::new();
            let statuses = watch::Sender::new(vec![AddressStatus {
                address: "10.0.0.100/24".parse().unwrap(),
                interface: "eth0".to_owned(),
                standing: Standing::Absent(Absence::NotLeader),
                since: Timestamp(0),
            }]);
            let subscribed = statuses.subscribe();
            let (yes, holds) = watch::channel(true);
            let observed = Observed {
                linked: holds.clone(),
                guarded: holds,
            };
            let sources = Sources::new(inputs, observed, OnLostQuorum::Release, stop.clone());
            let holder = Holder::new(notes.clone(), sources, statuses, 0);
            Self {
                began: now(),
                notes,
                lease,
                serving,
                stop,
                _observed: yes,
                statuses: subscribed,
                task: tokio::task::spawn_local(holder.run(Tick::unwatched())),
            }
        }

        async fn pass(&self, millis: u64) {
            time::sleep(Duration::from_millis(millis)).await;
        }

        /// The recorded calls with milliseconds since the start; repeated calls are left out.
        fn done(&self) -> Vec<(u128, &'static str)> {
            let notes = self.notes.0.borrow();
            let since = |at: Instant| at.duration_since(self.began).as_millis();
            let mut done: Vec<_> = notes
                .calls
                .iter()
                .map(|(at, what)| (since(*at), *what))
                .collect();
            done.dedup_by_key(|(_, what)| *what);
            done
        }

        fn standing(&self) -> Standing {
            self.statuses.borrow()[0].standing.clone()
        }
    }

    fn refusal() -> BackendError {
        BackendError::Kernel(io::ErrorKind::PermissionDenied.into())
    }

    async fn local(test: impl Future<Output = ()>) {
        tokio::task::LocalSet::new().run_until(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn holds_while_the_lease_is_renewed_and_drops_before_it_ends() {
        local(async {
            let bench = Bench::start(Notes::default());
            for _ in 0..3 {
                bench.pass(300).await;
                bench.lease.send_replace(Some(now() + LEASE));
            }
            assert_eq!(bench.standing(), Standing::Holding);
            // The last renewal was at 900 ms.
            bench.pass(2000).await;
            let done = bench.done();
            assert_eq!(*done.last().unwrap(), (1850, "drop"), "{done:?}");
            assert_eq!(
                done.iter().filter(|(_, what)| *what == "drop").count(),
                1,
                "{done:?}"
            );
            assert_eq!(bench.standing(), Standing::Absent(Absence::LeaseOver));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn reads_the_clock_first_when_it_was_stopped_for_long() {
        local(async {
            let bench = Bench::start(Notes::default());
            bench.pass(10).await;
            // Time passes while the process is stopped.
            time::advance(Duration::from_mins(1)).await;
            bench.pass(1000).await;
            assert_eq!(
                bench.done(),
                [(0, "hold"), (0, "announce"), (60_010, "drop")]
            );
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn takes_no_second_step_when_it_was_stopped_after_the_first() {
        local(async {
            let second_step = Rc::new(Notify::new());
            let bench = Bench::start(Notes {
                second_step: Some(Rc::clone(&second_step)),
                ..Notes::default()
            });
            bench.pass(10).await;
            second_step.notify_one();
            time::advance(Duration::from_mins(1)).await;
            bench.pass(1000).await;
            assert_eq!(bench.done(), [(0, "hold"), (60_010, "drop")]);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn drops_at_once_when_the_data_path_stops_or_leadership_moves() {
        local(async {
            let bench = Bench::start(Notes::default());
            bench.pass(10).await;
            bench.serving.send_replace(false);
            bench.pass(10).await;
            assert_eq!(bench.standing(), Standing::Absent(Absence::NotServing));
            bench.serving.send_replace(true);
            bench.pass(10).await;
            bench.lease.send_replace(None);
            bench.pass(10).await;
            assert_eq!(bench.standing(), Standing::Absent(Absence::NotLeader));
            let expected = [
                (0, "hold"),
                (0, "announce"),
                (10, "drop"),
                (20, "hold"),
                (20, "announce"),
                (30, "drop"),
            ];
            assert_eq!(bench.done(), expected);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_no_longer_says_that_it_leads_does_not() {
        local(async {
            let mut bench = Bench::start(Notes::default());
            bench.pass(10).await;
            let (lease, _) = watch::channel(None);
            drop(mem::replace(&mut bench.lease, lease));
            bench.pass(10).await;
            assert_eq!(bench.standing(), Standing::Absent(Absence::NotLeader));
            // The loop does not spin; otherwise paused time would not advance.
            bench.pass(60_000).await;
            assert_eq!(bench.done().last(), Some(&(10, "drop")));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_a_slow_hook_when_the_lease_ends_and_undoes_it() {
        local(async {
            let bench = Bench::start(Notes {
                holds: [None].into(),
                ..Notes::default()
            });
            bench.pass(5000).await;
            assert_eq!(bench.done(), [(0, "hold"), (950, "drop")]);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn tells_what_fails_and_tries_again() {
        local(async {
            let bench = Bench::start(Notes {
                holds: [Some(Err(refusal()))].into(),
                drops: [Err(refusal())].into(),
                ..Notes::default()
            });
            bench.pass(100).await;
            let Standing::Failing(what) = bench.standing() else {
                panic!("{:?}", bench.standing())
            };
            assert_eq!(
                what,
                "virtual address cannot be taken: the kernel refused: permission denied"
            );
            bench.pass(200).await;
            assert_eq!(bench.standing(), Standing::Holding);
            bench.lease.send_replace(None);
            bench.pass(100).await;
            assert!(matches!(bench.standing(), Standing::Failing(_)));
            bench.pass(200).await;
            assert_eq!(bench.standing(), Standing::Absent(Absence::NotLeader));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn ends_without_the_address() {
        local(async {
            let bench = Bench::start(Notes::default());
            bench.pass(10).await;
            bench.stop.cancel();
            let ended = time::timeout(LEASE, bench.task).await;
            assert!(matches!(ended, Ok(Ok(()))));
            assert_eq!(bench.notes.0.borrow().calls.last().unwrap().1, "drop");
        })
        .await;
    }
}
