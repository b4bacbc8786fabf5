//! When a backup is made, and what is told about it.

use std::{
    error::Error as _,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{self, Instant};

use crate::{
    clock::dates,
    liveness::Tick,
    model::{DesiredState, Revision},
    warnings::Repeats,
};

use super::BackupError;

/// The pause before a backup that failed is tried again. No interval is shorter.
const RETRY: Duration = Duration::from_mins(1);
/// How long a write may take before it counts as failing.
const LONGEST_WRITE: Duration = Duration::from_secs(30);
/// The same failure is logged once in this time.
const REPEAT: Duration = Duration::from_hours(1);
/// How many different failures are logged in that time.
const FAILURES: usize = 16;

/// The last backup, for the status of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupStatus {
    /// The revision of the last backup, and since when it is the newest one; `None` if this process has made none.
    pub last: Option<(Revision, SystemTime)>,
    /// Why backups fail; `None` while they do not.
    pub failure: Option<String>,
}

/// Makes backups for as long as it is polled.
///
/// `source` gives the state to back up, or `None` while this node has none that counts. `store` writes it. `told` is called
/// with each change of the status.
pub async fn follow<S>(
    interval: Duration,
    source: impl Fn() -> Option<Arc<DesiredState>>,
    mut store: impl FnMut(Arc<DesiredState>) -> S,
    told: impl Fn(&BackupStatus),
    tick: Tick,
) where
    S: Future<Output = Result<Revision, BackupError>>,
{
    let mut report = Report {
        status: BackupStatus::default(),
        repeats: Repeats::new(REPEAT, FAILURES),
        told,
    };
    let mut due = Instant::now();
    loop {
        tick.tick();
        let state = if Instant::now() >= due {
            source()
        } else {
            None
        };
        if let Some(state) = state {
            let is_new = report.status.last.map(|(last, _)| last) != Some(state.revision);
            let has_worked = !is_new || {
                let stored = report.waits_for(store(state), &tick).await;
                report.ended(stored)
            };
            due = Instant::now() + if has_worked { interval } else { RETRY };
        }
        Tick::due().await;
    }
}

struct Report<T> {
    status: BackupStatus,
    repeats: Repeats<String>,
    told: T,
}

impl<T: Fn(&BackupStatus)> Report<T> {
    /// Waits for the end of a write, however long it takes: a second one would not be faster.
    async fn waits_for<R>(&mut self, stored: impl Future<Output = R>, tick: &Tick) -> R {
        let mut stored = pin!(stored);
        let begun = Instant::now();
        loop {
            tokio::select! {
                stored = &mut stored => return stored,
                () = Tick::due() => tick.tick(),
            }
            if begun.elapsed() >= LONGEST_WRITE {
                self.fails("the write of a backup does not end".to_owned());
            }
        }
    }

    /// Returns whether there is a backup.
    fn ended(&mut self, stored: Result<Revision, BackupError>) -> bool {
        match stored {
            Ok(revision) => {
                if self.status.failure.take().is_some() {
                    tracing::info!(%revision, "backups are written again");
                }
                self.status.last = Some((revision, dates::now()));
                (self.told)(&self.status);
                true
            }
            Err(error) => {
                let cause = error.source().map(ToString::to_string);
                self.fails(
                    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
                );
                false
            }
        }
    }

    fn fails(&mut self, why: String) {
        let now = time::Instant::now().into_std();
        if let Some(left_out) = self.repeats.occurred(&why, now) {
            tracing::warn!(why, left_out, "no backup is made; trying again");
        }
        if self.status.failure.as_ref() != Some(&why) {
            self.status.failure = Some(why);
            (self.told)(&self.status);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future, io, rc::Rc};

    use super::*;
    use crate::model::PoolSettings;

    const HOUR: Duration = Duration::from_hours(1);

    /// What a test controls and sees.
    #[derive(Default)]
    struct Stage {
        /// `None`: the node has no state that counts.
        revision: Option<u64>,
        fails: bool,
        hangs: bool,
        /// The minutes since the start and the revisions of the attempts.
        attempts: Vec<(u64, u64)>,
        status: BackupStatus,
    }

    fn start(stage: &Rc<RefCell<Stage>>) {
        let begun = Instant::now();
        let (source, written, told) = (Rc::clone(stage), Rc::clone(stage), Rc::clone(stage));
        let current = move || {
            let mut desired = DesiredState::new(PoolSettings::default());
            desired.revision = Revision(source.borrow().revision?);
            Some(Arc::new(desired))
        };
        let store = move |state: Arc<DesiredState>| {
            let mut stage = written.borrow_mut();
            let minutes = begun.elapsed().as_secs() / 60;
            stage.attempts.push((minutes, state.revision.0));
            let (fails, hangs) = (stage.fails, stage.hangs);
            async move {
                if hangs {
                    future::pending::<()>().await;
                }
                if fails {
                    return Err(BackupError::Write {
                        path: "backup".into(),
                        source: io::ErrorKind::StorageFull.into(),
                    });
                }
                Ok(state.revision)
            }
        };
        let tell = move |status: &BackupStatus| told.borrow_mut().status = status.clone();
        tokio::task::spawn_local(follow(HOUR, current, store, tell, Tick::unwatched()));
    }

    async fn staged(stage: Stage, test: impl AsyncFnOnce(&RefCell<Stage>)) {
        let local = tokio::task::LocalSet::new();
        let stage = Rc::new(RefCell::new(stage));
        let run = async {
            start(&stage);
            test(&stage).await;
        };
        local.run_until(run).await;
    }

    async fn pass(minutes: u64) {
        time::sleep(Duration::from_secs(60 * minutes)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_one_at_the_start_and_one_an_interval_after_a_change() {
        let begun = Stage {
            revision: Some(1),
            ..Stage::default()
        };
        staged(begun, async |stage| {
            pass(10).await;
            assert_eq!(stage.borrow().attempts, [(0, 1)]);
            stage.borrow_mut().revision = Some(2);
            pass(40).await;
            stage.borrow_mut().revision = Some(3);
            pass(200).await;
            assert_eq!(stage.borrow().attempts, [(0, 1), (60, 3)]);
            let last = stage.borrow().status.last.map(|(last, _)| last);
            assert_eq!(last, Some(Revision(3)));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_without_a_state_that_counts_makes_none_until_it_has_one() {
        staged(Stage::default(), async |stage| {
            pass(90).await;
            assert_eq!(stage.borrow().attempts, []);
            stage.borrow_mut().revision = Some(7);
            pass(1).await;
            assert_eq!(stage.borrow().attempts, [(90, 7)]);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_and_tried_again_soon() {
        let begun = Stage {
            revision: Some(1),
            fails: true,
            ..Stage::default()
        };
        staged(begun, async |stage| {
            pass(5).await;
            assert!(stage.borrow().attempts.len() >= 4);
            let failure = stage.borrow().status.failure.clone().unwrap();
            assert!(failure.contains("cannot be written: "), "{failure}");
            stage.borrow_mut().fails = false;
            pass(2).await;
            let attempts = stage.borrow().attempts.len();
            assert_eq!(stage.borrow().status.failure, None);
            pass(50).await;
            assert_eq!(stage.borrow().attempts.len(), attempts);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_does_not_end_is_told_and_not_begun_again() {
        let begun = Stage {
            revision: Some(1),
            hangs: true,
            ..Stage::default()
        };
        staged(begun, async |stage| {
            pass(200).await;
            assert_eq!(stage.borrow().attempts.len(), 1);
            let failure = stage.borrow().status.failure.clone().unwrap();
            assert!(failure.contains("does not end"), "{failure}");
        })
        .await;
    }
}
