//! The deadlines of a worker: one coarse clock instead of a timer for each wait.
//!
//! Requests arm and disarm deadlines all the time and almost none of them is ever reached. So arming is a
//! store into a slab, and one task checks all of them every [`TICK`]. A deadline is reached up to two
//! ticks late, never early. Time in which the process did not run does not count: what the peers sent in that time is read first.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use slab::Slab;
use tokio::{sync::Notify, time};

use crate::{clock::RunningTime, model::ServerId};

/// How often deadlines are checked.
const TICK: Duration = Duration::from_millis(50);

/// The longest time that is counted from one check to the next. With more, a deadline that is armed after the process was
/// stopped and before the next check would be reached early.
const LONGEST_STEP: Duration = Duration::from_millis(100);

const NEVER: u64 = u64::MAX;

/// All deadlines of a worker.
pub(super) struct Deadlines {
    entries: RefCell<Slab<WaitingTask>>,
    running: Cell<RunningTime>,
    /// Ticks since the worker started, as of the last check.
    now: Cell<u64>,
    first: Notify,
}

struct WaitingTask {
    expires: u64,
    /// The server for which the task waits.
    server: Option<ServerId>,
    reached: Option<Reached>,
    waker: Option<Waker>,
}

impl WaitingTask {
    fn reach(&mut self, reached: Reached) {
        self.reached = self.reached.or(Some(reached));
        self.expires = NEVER;
        self.wake();
    }

    /// Waking only puts the task into the runtime's queue: nothing runs while the entry is borrowed.
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Identifies a deadline, so that other code can end its wait early.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExpiryKey(usize);

/// Why a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// The armed time is over.
    Expired,
    /// The server was removed, and the deadline of its running requests is over.
    Cut,
}

impl Deadlines {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            entries: RefCell::new(Slab::new()),
            running: Cell::new(RunningTime::start(Instant::now(), LONGEST_STEP)),
            now: Cell::new(0),
            first: Notify::new(),
        })
    }

    /// Makes a deadline that is not armed.
    pub(super) fn register(self: &Rc<Self>) -> Deadline {
        let entry = WaitingTask {
            expires: NEVER,
            server: None,
            reached: None,
            waker: None,
        };
        let mut entries = self.entries.borrow_mut();
        if entries.is_empty() {
            // The clock may have stood still while there were no deadlines.
            self.read_clock();
            self.first.notify_one();
        }
        Deadline {
            key: entries.insert(entry),
            deadlines: Rc::clone(self),
        }
    }

    /// Checks the deadlines, without end.
    pub(super) async fn run(&self) {
        loop {
            if self.entries.borrow().is_empty() {
                self.first.notified().await;
            }
            time::sleep(TICK).await;
            self.check();
        }
    }

    fn check(&self) {
        self.read_clock();
        let now = self.now.get();
        self.wake_where(Some(Reached::Expired), |entry| entry.expires <= now);
    }

    fn read_clock(&self) {
        let mut running = self.running.get();
        let ticks = running.advance(Instant::now()).as_millis() / TICK.as_millis();
        self.running.set(running);
        self.now.set(u64::try_from(ticks).unwrap_or(NEVER - 1));
    }

    /// Marks the deadline of `key` as expired. The deadline must still exist.
    pub(super) fn expire(&self, key: ExpiryKey) {
        let mut entries = self.entries.borrow_mut();
        if let Some(entry) = entries.get_mut(key.0) {
            entry.reach(Reached::Expired);
        }
    }

    /// Ends every wait for `server`.
    pub(super) fn cut(&self, server: ServerId) {
        self.wake_where(Some(Reached::Cut), |entry| entry.server == Some(server));
    }

    /// Wakes every task that has registered a deadline, so that it checks its state again.
    pub(super) fn wake_all(&self) {
        self.wake_where(None, |_| true);
    }

    fn wake_where(&self, reached: Option<Reached>, chosen: impl Fn(&WaitingTask) -> bool) {
        let mut entries = self.entries.borrow_mut();
        for (_, entry) in entries.iter_mut().filter(|(_, entry)| chosen(entry)) {
            match reached {
                Some(reached) => entry.reach(reached),
                None => entry.wake(),
            }
        }
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.entries.borrow().len()
    }
}

/// One deadline, removed when dropped.
pub(super) struct Deadline {
    deadlines: Rc<Deadlines>,
    key: usize,
}

impl Deadline {
    /// Sets the deadline to `after` from now, and replaces an earlier one. If the server was removed, the deadline stays reached.
    pub(super) fn arm(&self, after: Duration) {
        let ticks = after.as_nanos().div_ceil(TICK.as_nanos());
        let ticks = u64::try_from(ticks).unwrap_or(NEVER);
        // One tick more: the current one has partly passed.
        let expires = self
            .deadlines
            .now
            .get()
            .saturating_add(ticks)
            .saturating_add(1);
        self.update(|entry| {
            entry.expires = expires.min(NEVER - 1);
            entry.reached = entry.reached.filter(|reached| *reached == Reached::Cut);
        });
    }

    /// The time for which the worker has run, in steps of a tick.
    pub(super) fn running(&self) -> Duration {
        let ticks = u32::try_from(self.deadlines.now.get()).unwrap_or(u32::MAX);
        TICK.saturating_mul(ticks)
    }

    /// Waits for `future` until the deadline is reached.
    pub(super) async fn within<T>(&self, future: impl Future<Output = T>) -> Result<T, Reached> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            self.poll(cx).map(Err)
        })
        .await
    }

    /// The key for [`Deadlines::expire`].
    pub(super) fn expiry_key(&self) -> ExpiryKey {
        ExpiryKey(self.key)
    }

    /// Sets the server for which the task waits: its removal reaches the deadline too.
    pub(super) fn wait_for(&self, server: ServerId) {
        self.update(|entry| {
            entry.server = Some(server);
            entry.reached = None;
        });
    }

    /// Unsets the server of [`Self::wait_for`].
    pub(super) fn wait_for_none(&self) {
        self.update(|entry| {
            entry.server = None;
            entry.reached = None;
        });
    }

    /// Ready when the deadline is reached, and until it is armed again or another server is waited for.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Reached> {
        self.update(|entry| {
            if let Some(reached) = entry.reached {
                return Poll::Ready(reached);
            }
            match &mut entry.waker {
                Some(waker) if waker.will_wake(cx.waker()) => {}
                waker => *waker = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
    }

    fn update<T>(&self, change: impl FnOnce(&mut WaitingTask) -> T) -> T {
        // The key is in the slab for as long as this deadline lives.
        change(&mut self.deadlines.entries.borrow_mut()[self.key])
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.deadlines.entries.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn poll(deadline: &Deadline) -> Poll<Reached> {
        deadline.poll(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn only_what_is_due_is_reached() {
        let deadlines = Deadlines::new();
        let (soon, later, never) = (
            deadlines.register(),
            deadlines.register(),
            deadlines.register(),
        );
        soon.arm(Duration::ZERO);
        later.arm(Duration::from_hours(1));
        deadlines.now.set(1);
        deadlines.wake_where(Some(Reached::Expired), |entry| entry.expires <= 1);
        assert_eq!(poll(&soon), Poll::Ready(Reached::Expired));
        assert_eq!(poll(&later), Poll::Pending);
        assert_eq!(poll(&never), Poll::Pending);
    }

    #[test]
    fn a_deadline_is_never_early() {
        let deadlines = Deadlines::new();
        let deadline = deadlines.register();
        deadline.arm(TICK * 3);
        let expires = deadlines.entries.borrow()[deadline.key].expires;
        assert_eq!(expires, 4, "three whole ticks after the current one");
    }

    #[test]
    fn time_in_which_the_process_did_not_run_does_not_count() {
        let deadlines = Deadlines::new();
        let (long, short) = (deadlines.register(), deadlines.register());
        long.arm(Duration::from_secs(1));
        let an_hour_ago = Instant::now().checked_sub(Duration::from_hours(1)).unwrap();
        let stopped = RunningTime::start(an_hour_ago, LONGEST_STEP);
        deadlines.running.set(stopped);
        // Armed after the stop, before the next check.
        short.arm(LONGEST_STEP);
        deadlines.check();
        assert_eq!(poll(&long), Poll::Pending);
        assert_eq!(poll(&short), Poll::Pending, "early");
        assert_eq!(long.running(), LONGEST_STEP);
    }

    #[test]
    fn a_cut_server_ends_only_its_own_waits() {
        let deadlines = Deadlines::new();
        let (cut, other) = (deadlines.register(), deadlines.register());
        cut.wait_for(ServerId(1));
        other.wait_for(ServerId(2));
        deadlines.cut(ServerId(1));
        assert_eq!(poll(&cut), Poll::Ready(Reached::Cut));
        assert_eq!(poll(&other), Poll::Pending);
    }

    #[test]
    fn a_dropped_deadline_leaves_nothing_behind() {
        let deadlines = Deadlines::new();
        drop(deadlines.register());
        assert_eq!(deadlines.count(), 0);
    }

    #[tokio::test]
    async fn the_waiting_task_is_woken() {
        let deadlines = Deadlines::new();
        let deadline = deadlines.register();
        deadline.arm(Duration::from_millis(1));
        let reached = poll_fn(|cx| deadline.poll(cx));
        let reached = tokio::select! {
            reached = reached => reached,
            () = deadlines.run() => unreachable!("runs for ever"),
        };
        assert_eq!(reached, Reached::Expired);
    }
}
