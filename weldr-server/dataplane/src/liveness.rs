//! Detects stalled and ended threads and tasks, which have to run for as long as the node does.
//!
//! Each of them counts a [`Tick`] at least once a second. The monitor compares readings that it takes at its own
//! pace, so no clock is involved: after a suspension (SIGSTOP, a paused virtual machine) no task looks late.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tokio::{sync::Notify, time};

/// The longest time between two ticks of a task that makes progress.
pub const TICK: Duration = Duration::from_secs(1);

/// How many periods of [`TICK`] a task may miss before it counts as stalled, unless it needs more.
pub const PATIENCE: u32 = 5;

/// The tasks of a node. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks(Arc<Registry>);

#[derive(Debug, Default)]
struct Registry {
    tasks: Mutex<Vec<Arc<TaskState>>>,
    ended: Notify,
}

#[derive(Debug)]
struct TaskState {
    name: String,
    patience: Option<u32>,
    ticks: AtomicU64,
    ended: AtomicBool,
}

/// The state of one task, as read by the monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The name of the task, for people: `worker 0`.
    pub name: String,
    /// How many periods of [`TICK`] it may miss; `None`: it does not tick, and can only end.
    pub patience: Option<u32>,
    /// How often it has ticked.
    pub ticks: u64,
    /// Whether it, or a part of it, has ended.
    pub ended: bool,
}

impl Tasks {
    fn tasks(&self) -> MutexGuard<'_, Vec<Arc<TaskState>>> {
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a task, which is expected to tick and not to end.
    pub fn register(&self, name: impl Into<String>) -> Tick {
        self.add(name.into(), Some(PATIENCE))
    }

    /// [`Self::register`] for a task that may be busy with one step for `longest`.
    pub fn register_slow(&self, name: impl Into<String>, longest: Duration) -> Tick {
        let longest = u32::try_from(longest.as_secs()).unwrap_or(u32::MAX);
        self.add(name.into(), Some(longest.saturating_add(PATIENCE)))
    }

    /// [`Self::register`] for a task that does not tick.
    pub fn register_silent(&self, name: impl Into<String>) -> Tick {
        self.add(name.into(), None)
    }

    fn add(&self, name: String, patience: Option<u32>) -> Tick {
        let state = Arc::new(TaskState {
            name,
            patience,
            ticks: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        self.tasks().push(Arc::clone(&state));
        Tick {
            state,
            registry: Arc::clone(&self.0),
        }
    }

    /// What each task has shown so far, in the order in which they were registered.
    pub fn read(&self) -> Vec<Reading> {
        let read = |state: &Arc<TaskState>| Reading {
            name: state.name.clone(),
            patience: state.patience,
            ticks: state.ticks.load(Relaxed),
            ended: state.ended.load(Relaxed),
        };
        self.tasks().iter().map(read).collect()
    }

    /// Returns when a task has ended since the last call.
    pub async fn ended(&self) {
        self.0.ended.notified().await;
    }
}

/// The sign of life of one task. Cheap to clone; the parts of a task share it.
#[derive(Clone)]
pub struct Tick {
    state: Arc<TaskState>,
    registry: Arc<Registry>,
}

impl fmt::Debug for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)
    }
}

impl Tick {
    /// The tick of a task that is not watched.
    pub fn unwatched() -> Self {
        Tasks::default().register_silent("")
    }

    /// Records that the task makes progress.
    pub fn tick(&self) {
        self.state.ticks.fetch_add(1, Relaxed);
    }

    /// Returns when the next tick is due: what a task that has nothing else to do waits for.
    pub async fn due() {
        time::sleep(TICK).await;
    }

    /// Runs `part` of the task, which is expected not to end before the node stops: not by returning, and not by a panic.
    pub fn watch<F: Future>(&self, part: F) -> impl Future<Output = F::Output> + use<F> {
        let end = self.end();
        async move {
            let _end = end;
            part.await
        }
    }

    /// Counts the task as ended when this is dropped.
    #[must_use]
    pub fn end(&self) -> End {
        End {
            tick: self.clone(),
            only_by_panic: false,
        }
    }

    /// Counts the task as ended when this is dropped by a panic.
    #[must_use]
    pub fn end_by_panic(&self) -> End {
        End {
            tick: self.clone(),
            only_by_panic: true,
        }
    }
}

/// Tells the end of a task, or of a part of it.
#[derive(Debug, Clone)]
pub struct End {
    tick: Tick,
    only_by_panic: bool,
}

impl Drop for End {
    fn drop(&mut self) {
        if self.only_by_panic && !thread::panicking() {
            return;
        }
        self.tick.state.ended.store(true, Relaxed);
        self.tick.registry.ended.notify_one();
    }
}

/// A condition that comes and goes, for those who look at it now and then: each time that it comes has a number of its own,
/// so that two looks can tell whether it has lasted from one to the other. It has one writer.
#[derive(Debug, Default)]
pub struct Episode(AtomicU64);

impl Episode {
    /// Says whether the condition holds. Costs a load where nothing changes.
    pub fn set(&self, holds: bool) {
        let number = self.0.load(Relaxed);
        // Odd numbers are those of episodes, even ones of the times between them.
        if (number % 2 == 1) != holds {
            self.0.store(number.wrapping_add(1), Relaxed);
        }
    }

    /// The number of the episode, while the condition holds.
    pub fn current(&self) -> Option<u64> {
        let number = self.0.load(Relaxed);
        (number % 2 == 1).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn ended(tasks: &Tasks) -> Vec<bool> {
        let readings = tasks.read().into_iter();
        readings.map(|reading| reading.ended).collect()
    }

    #[tokio::test]
    async fn the_end_of_a_part_is_the_end_of_its_task() {
        let tasks = Tasks::default();
        let (first, second) = (tasks.register("first"), tasks.register("second"));
        let endless = tokio::spawn(first.watch(std::future::pending::<()>()));
        assert_eq!(ended(&tasks), [false, false]);
        assert!(tasks.ended().now_or_never().is_none());
        second.watch(async {}).await;
        assert_eq!(ended(&tasks), [false, true]);
        tasks.ended().await;
        let panicked = tokio::spawn(first.watch(async { panic!("by intent") })).await;
        assert!(panicked.is_err());
        assert_eq!(ended(&tasks), [true, true]);
        endless.abort();
    }

    #[tokio::test]
    async fn an_end_by_panic_is_told_and_an_ordinary_one_is_not() {
        let tasks = Tasks::default();
        let tick = tasks.register_silent("checks");
        drop(tick.end_by_panic());
        assert_eq!(ended(&tasks), [false]);
        let end = tick.end_by_panic();
        let panicked = tokio::spawn(async move {
            let _end = end;
            panic!("by intent");
        });
        assert!(panicked.await.is_err());
        assert_eq!(ended(&tasks), [true]);
    }

    #[test]
    fn each_episode_has_a_number_of_its_own() {
        let episode = Episode::default();
        episode.set(false);
        assert_eq!(episode.current(), None);
        episode.set(true);
        let first = episode.current();
        episode.set(true);
        assert_eq!((episode.current(), first.is_some()), (first, true));
        episode.set(false);
        assert_eq!(episode.current(), None);
        episode.set(true);
        assert!(episode.current().is_some());
        assert_ne!(episode.current(), first);
    }
}
