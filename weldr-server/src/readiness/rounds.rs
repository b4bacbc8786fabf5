//! What has lasted for how many rounds. Pure, and without a clock.
//!
//! A round is a look at everything, about a second after the one before. A process that was stopped, or a machine that was
//! suspended, makes one round when it goes on, however long that took; so no task looks late that has had no time to run.

use std::collections::HashMap;

use crate::liveness::Reading;

use super::derive::TaskObservation;

/// For how many rounds no connection could be accepted, until that counts.
const EXHAUSTED: u32 = 1;
/// For how many rounds in a row no worker may lack descriptors, until they count as available again. While none is left, one
/// that is closed is taken at once, so that now and then a round finds none lacking.
const DESCRIPTORS_RECOVERY: u32 = 5;
/// For how many rounds the same write to the disk is under way, until that counts.
const DISK_STALLED: u32 = 5;
/// For how many rounds the engine does not run, until that counts: it is started again after a failure of the disk.
const ENGINE_STOPPED: u32 = 5;
/// For how many rounds a disk that has refused a write counts as failing, though it may take writes again.
const DISK_RECOVERY: u32 = 3;

/// What one round sees.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    pub(super) tasks: Vec<Reading>,
    /// For each worker, the episode in which it has no descriptors.
    pub(super) exhausted: Vec<Option<u64>>,
    pub(super) engine_runs: bool,
    /// Why the disk takes no writes now.
    pub(super) disk_failure: Option<String>,
    /// How often it has refused a write so far.
    pub(super) disk_failures: u64,
    /// The write that is under way.
    pub(super) disk_write: Option<u64>,
}

/// What the rounds so far have shown.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    tasks: HashMap<String, Missed>,
    exhausted: Vec<Lasting>,
    /// How many more rounds have to find no worker without descriptors; 0: they are not exhausted.
    exhausted_rounds_left: u32,
    disk_write: Lasting,
    engine_stopped: u32,
    disk: DiskHistory,
}

/// How often a task had ticked when it last did, and in how many rounds it has not since.
#[derive(Debug, Default)]
struct Missed {
    ticks: u64,
    rounds: u32,
}

/// In how many rounds an episode was there, after the one that saw it first.
#[derive(Debug, Default)]
struct Lasting {
    episode: Option<u64>,
    rounds: u32,
}

#[derive(Debug, Default)]
struct DiskHistory {
    failures: u64,
    /// What it said last, and how many more rounds that counts.
    last: Option<(String, u32)>,
}

impl Lasting {
    fn see(&mut self, episode: Option<u64>) {
        let lasts = episode.is_some() && self.episode == episode;
        self.rounds = if lasts {
            self.rounds.saturating_add(1)
        } else {
            0
        };
        self.episode = episode;
    }
}

impl Rounds {
    /// Takes the sample of one round in.
    pub(super) fn see(&mut self, sample: &Sample) {
        for reading in &sample.tasks {
            let missed = self.tasks.entry(reading.name.clone()).or_default();
            if missed.ticks == reading.ticks {
                missed.rounds = missed.rounds.saturating_add(1);
            } else {
                *missed = Missed {
                    ticks: reading.ticks,
                    rounds: 0,
                };
            }
        }
        self.exhausted
            .resize_with(sample.exhausted.len(), Lasting::default);
        for (lasting, episode) in self.exhausted.iter_mut().zip(&sample.exhausted) {
            lasting.see(*episode);
        }
        self.exhausted_rounds_left = self.exhausted_rounds_left();
        self.disk_write.see(sample.disk_write);
        self.engine_stopped = if sample.engine_runs {
            0
        } else {
            self.engine_stopped.saturating_add(1)
        };
        self.disk.see(sample);
    }

    /// The tasks that are not well, by the newest readings.
    pub(super) fn unwell(&self, readings: &[Reading]) -> Vec<(String, TaskObservation)> {
        let observation = |reading: &Reading| {
            if reading.ended {
                return Some(TaskObservation::Ended);
            }
            let missed = self.tasks.get(&reading.name)?;
            let is_late = missed.ticks == reading.ticks && missed.rounds > reading.patience?;
            is_late.then_some(TaskObservation::Stalled)
        };
        let unwell = |reading: &Reading| Some((reading.name.clone(), observation(reading)?));
        readings.iter().filter_map(unwell).collect()
    }

    fn exhausted_rounds_left(&self) -> u32 {
        let left = self.exhausted_rounds_left;
        let lasts = |worker: &Lasting| worker.rounds >= EXHAUSTED;
        let lacks = |worker: &Lasting| worker.episode.is_some();
        if self.exhausted.iter().any(lasts) || (left > 0 && self.exhausted.iter().any(lacks)) {
            return DESCRIPTORS_RECOVERY;
        }
        left.saturating_sub(1)
    }

    /// Whether a worker could accept no connection for want of descriptors, until there were some for a while.
    pub(super) fn descriptors_exhausted(&self) -> bool {
        self.exhausted_rounds_left > 0
    }

    pub(super) fn engine_stopped(&self) -> bool {
        self.engine_stopped >= ENGINE_STOPPED
    }

    pub(super) fn disk_stalled(&self) -> bool {
        self.disk_write.rounds >= DISK_STALLED
    }

    /// What the disk said when it last refused a write, while that counts.
    pub(super) fn disk_failure(&self) -> Option<String> {
        self.disk.last.as_ref().map(|(failure, _)| failure.clone())
    }
}

impl DiskHistory {
    fn see(&mut self, sample: &Sample) {
        let refused_more = self.failures != sample.disk_failures;
        self.failures = sample.disk_failures;
        if let Some(failure) = &sample.disk_failure {
            self.last = Some((failure.clone(), DISK_RECOVERY));
        } else if refused_more {
            // It failed and recovered between two rounds.
            let failure = "it refused a write a moment ago".to_owned();
            self.last = Some((failure, DISK_RECOVERY));
        } else if let Some((_, left)) = &mut self.last {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.last = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::liveness::{PATIENCE, Tasks, Tick};

    fn well() -> Sample {
        Sample {
            engine_runs: true,
            ..Sample::default()
        }
    }

    struct Bench {
        tasks: Tasks,
        tick: Tick,
        rounds: Rounds,
    }

    impl Bench {
        fn new() -> Self {
            let tasks = Tasks::default();
            Self {
                tick: tasks.register("worker 0"),
                tasks,
                rounds: Rounds::default(),
            }
        }

        fn round(&mut self) -> Vec<(String, TaskObservation)> {
            let tasks = self.tasks.read();
            self.rounds.see(&Sample { tasks, ..well() });
            self.unwell()
        }

        fn unwell(&self) -> Vec<(String, TaskObservation)> {
            self.rounds.unwell(&self.tasks.read())
        }
    }

    fn stalled() -> Vec<(String, TaskObservation)> {
        vec![("worker 0".to_owned(), TaskObservation::Stalled)]
    }

    #[test]
    fn a_task_that_does_not_tick_is_stalled_until_it_does() {
        let mut bench = Bench::new();
        for _ in 0..PATIENCE {
            assert_eq!(bench.round(), []);
        }
        assert_eq!(bench.round(), stalled());
        assert_eq!(bench.round(), stalled());
        bench.tick.tick();
        assert_eq!(bench.unwell(), [], "the next round need not be waited for");
        for _ in 0..PATIENCE {
            assert_eq!(bench.round(), []);
        }
        assert_eq!(bench.round(), []);
        assert_eq!(bench.round(), stalled());
    }

    #[test]
    fn a_suspension_is_one_round_however_long_it_takes() {
        let mut bench = Bench::new();
        for _ in 0..100 {
            bench.tick.tick();
            assert_eq!(bench.round(), []);
            // The process is stopped, goes on, and looks before the task has had a chance to run.
            assert_eq!(bench.round(), []);
        }
    }

    #[test]
    fn an_end_needs_no_round() {
        let bench = Bench::new();
        drop(bench.tick.end());
        let ended = vec![("worker 0".to_owned(), TaskObservation::Ended)];
        assert_eq!(bench.unwell(), ended);
    }

    #[test]
    fn a_task_that_does_not_tick_by_nature_is_never_stalled() {
        let tasks = Tasks::default();
        let _silent = tasks.register_silent("health checks");
        let mut rounds = Rounds::default();
        for _ in 0..100 {
            let readings = tasks.read();
            rounds.see(&Sample {
                tasks: readings.clone(),
                ..well()
            });
            assert_eq!(rounds.unwell(&readings), []);
        }
    }

    #[test]
    fn descriptors_are_exhausted_when_the_same_episode_is_there_in_two_rounds() {
        let mut rounds = Rounds::default();
        let mut see = |exhausted: [Option<u64>; 2]| {
            rounds.see(&Sample {
                exhausted: exhausted.to_vec(),
                ..well()
            });
            rounds.descriptors_exhausted()
        };
        assert!(!see([None, Some(1)]));
        assert!(!see([None, Some(3)]), "there were some in between");
        assert!(see([None, Some(3)]));
        assert!(see([Some(1), Some(3)]));
    }

    #[test]
    fn descriptors_have_to_be_available_for_some_rounds_in_a_row() {
        let mut rounds = Rounds::default();
        let mut see = |exhausted| {
            rounds.see(&Sample {
                exhausted: vec![exhausted],
                ..well()
            });
            rounds.descriptors_exhausted()
        };
        see(Some(1));
        assert!(see(Some(1)));
        for _ in 1..DESCRIPTORS_RECOVERY {
            assert!(see(None));
        }
        assert!(see(Some(3)), "there are none again");
        for _ in 1..DESCRIPTORS_RECOVERY {
            assert!(see(None));
        }
        assert!(!see(None));
        assert!(!see(Some(5)), "it has to last again");
    }

    #[test]
    fn a_write_that_does_not_end_is_told_and_many_that_do_are_not() {
        let mut rounds = Rounds::default();
        let mut see = |disk_write| {
            rounds.see(&Sample {
                disk_write,
                ..well()
            });
            rounds.disk_stalled()
        };
        for write in 0..100 {
            assert!(!see(Some(2 * write + 1)));
        }
        for _ in 1..DISK_STALLED {
            assert!(!see(Some(199)));
        }
        assert!(see(Some(199)));
        assert!(!see(None));
    }

    #[test]
    fn a_disk_that_refused_a_write_has_to_work_for_a_while() {
        let mut rounds = Rounds::default();
        let mut see = |disk_failures, disk_failure: Option<&str>| {
            rounds.see(&Sample {
                disk_failures,
                disk_failure: disk_failure.map(ToOwned::to_owned),
                ..well()
            });
            rounds.disk_failure()
        };
        assert_eq!(see(0, None), None);
        assert_eq!(see(1, Some("full")).as_deref(), Some("full"));
        for _ in 1..DISK_RECOVERY {
            assert_eq!(see(1, None).as_deref(), Some("full"));
        }
        assert_eq!(see(1, None), None);
        assert!(see(2, None).is_some(), "it failed between two rounds");
    }

    #[test]
    fn an_engine_that_is_started_again_is_not_told() {
        let mut rounds = Rounds::default();
        let mut see = |engine_runs| {
            rounds.see(&Sample {
                engine_runs,
                ..Sample::default()
            });
            rounds.engine_stopped()
        };
        for _ in 1..ENGINE_STOPPED {
            assert!(!see(false));
        }
        assert!(!see(true));
        for _ in 1..ENGINE_STOPPED {
            assert!(!see(false));
        }
        assert!(see(false));
    }
}
