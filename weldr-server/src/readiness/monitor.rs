//! The thread that observes, derives and tells.

use std::{
    collections::HashMap,
    error::Error,
    fmt::Write as _,
    future, io,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::BoxFuture;
use tokio::{
    runtime::Builder,
    sync::watch,
    time::{self, MissedTickBehavior},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    clock::dates,
    cluster::{Handle, NodeMembership},
    liveness::Tasks,
    snapshot::Snapshots,
    stats::{ClientShard, Sharded},
};

use super::{
    Code, Readiness, Reason, Status,
    derive::{Finding, Observations, Verdict, derive},
    first_checks::FirstChecks,
    rounds::{Rounds, Sample},
};

/// From one round to the next.
const ROUND: Duration = Duration::from_secs(1);
/// How long the word that the node stops may take to be told.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What is observed.
pub struct Sources {
    /// The threads and tasks of the node.
    pub tasks: Tasks,
    /// What the data path acts on.
    pub snapshots: Snapshots,
    /// The disk, and whether changes are applied.
    pub cluster: Handle,
    /// What the workers say of their descriptors.
    pub clients: Arc<Sharded<ClientShard>>,
    /// The interface of the virtual addresses, and whether it has a link; `None` without virtual addresses.
    pub link: Option<(String, watch::Receiver<bool>)>,
    /// Whether the node is a witness: it sends no requests to servers, so their first checks are not waited for.
    pub witness: bool,
    /// Returns when no worker is left; never at a witness, which has none.
    pub workers_ended: BoxFuture<'static, ()>,
}

/// Derives the readiness of a node for as long as this is kept, on a thread of its own.
#[derive(Debug)]
pub struct Monitor {
    readiness: watch::Receiver<Readiness>,
    stopping: CancellationToken,
    _end: DropGuard,
}

impl Monitor {
    /// Starts; what it first derives is there when this returns. `react` runs on the same thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start<R>(
        sources: Sources,
        react: impl FnOnce(watch::Receiver<Readiness>) -> R + Send + 'static,
    ) -> io::Result<Self>
    where
        R: Future<Output = ()>,
    {
        let mut collector = Collector::new(sources);
        let (told, readiness) = watch::channel(Readiness::of(Status::Ready));
        collector.look(&told, false);
        let (stopping, end) = (CancellationToken::new(), CancellationToken::new());
        let monitor = Self {
            readiness: readiness.clone(),
            stopping: stopping.clone(),
            _end: end.clone().drop_guard(),
        };
        let runtime = Builder::new_current_thread().enable_time().build()?;
        thread::Builder::new()
            .name("weldr-readiness".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let work = async {
                        tokio::join!(collector.run(&told, stopping), react(readiness));
                    };
                    end.run_until_cancelled(work).await;
                });
            })?;
        Ok(monitor)
    }

    /// The newest readiness.
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.clone()
    }

    /// Says that the node shuts down; returns when everybody is told.
    pub async fn stops(&self) {
        self.stopping.cancel();
        let mut readiness = self.readiness.clone();
        let told = readiness.wait_for(|readiness| readiness.status == Status::Stopping);
        // A thread that has ended can tell nobody.
        let _ = time::timeout(LAST_WORD, told).await;
    }
}

/// Observes, and remembers what needs more than one look.
struct Collector {
    sources: Sources,
    rounds: Rounds,
    first_checks: FirstChecks,
    stopping: bool,
    no_worker: bool,
    /// Since when each reason holds.
    since: HashMap<(Code, String), SystemTime>,
}

impl Collector {
    fn new(sources: Sources) -> Self {
        let first_checks = if sources.witness {
            FirstChecks::Done
        } else {
            FirstChecks::Unknown
        };
        Self {
            sources,
            rounds: Rounds::default(),
            first_checks,
            stopping: false,
            no_worker: false,
            since: HashMap::new(),
        }
    }

    /// Looks again and again, at once where something says that it has changed.
    async fn run(mut self, told: &watch::Sender<Readiness>, stopping: CancellationToken) {
        let mut rounds = time::interval(ROUND);
        // After a suspension, one round and not all that were missed.
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut snapshots = self.sources.snapshots.subscribe();
        let mut outdated = self.sources.cluster.stopped();
        let tasks = self.sources.tasks.clone();
        loop {
            let is_round = tokio::select! {
                () = stopping.cancelled(), if !self.stopping => {
                    self.stopping = true;
                    false
                }
                () = &mut self.sources.workers_ended, if !self.no_worker => {
                    self.no_worker = true;
                    false
                }
                _ = rounds.tick() => true,
                () = tasks.ended() => false,
                Ok(()) = snapshots.changed(), if !self.first_checks.are_done() => false,
                Ok(()) = outdated.changed() => false,
                () = link_changed(&mut self.sources.link) => false,
            };
            self.look(told, is_round);
        }
    }

    /// One look; a round counts what lasts.
    fn look(&mut self, told: &watch::Sender<Readiness>, is_round: bool) {
        let observed = self.observe(is_round);
        let readiness = self.dated(derive(&observed));
        let changed = told.send_if_modified(|before| {
            let changed = *before != readiness;
            if changed {
                log(before, &readiness);
                before.clone_from(&readiness);
            }
            changed
        });
        if changed && readiness.is_ready() {
            tracing::info!("this node is ready");
        }
    }

    fn observe(&mut self, is_round: bool) -> Observations {
        let sources = &self.sources;
        let tasks = sources.tasks.read();
        if is_round {
            let disk = sources.cluster.disk();
            let workers = sources.clients.all();
            self.rounds.see(&Sample {
                tasks: tasks.clone(),
                exhausted: workers
                    .map(|worker| worker.descriptors_exhausted.current())
                    .collect(),
                engine_runs: sources.cluster.engine_runs(),
                disk_failure: disk.failure.map(|failure| chain(failure.as_ref())),
                disk_failures: disk.failures,
                disk_write: disk.write,
            });
        }
        let outdated = sources.cluster.stopped();
        let outdated = outdated.borrow().as_ref().map(ToString::to_string);
        let first_checks_pending = if self.first_checks.are_done() {
            0
        } else {
            let snapshot = sources.snapshots.current();
            self.first_checks.pending(&snapshot.pools, Instant::now())
        };
        let disk_failure = self.rounds.disk_failure();
        let membership = sources.cluster.membership();
        let other_cluster = sources.cluster.other_cluster();
        let other_cluster = other_cluster.filter(|other| other.prevails);
        Observations {
            stopping: self.stopping,
            no_worker: self.no_worker,
            tasks: self.rounds.unwell(&tasks),
            // A disk that fails stops the engine, and is the reason.
            engine_stopped: self.rounds.engine_stopped() && disk_failure.is_none(),
            disk_failure,
            disk_stalled: self.rounds.disk_stalled(),
            descriptors_exhausted: self.rounds.descriptors_exhausted(),
            no_link: no_link(sources.link.as_ref()),
            outdated,
            removed: membership == NodeMembership::Removed,
            other_cluster: other_cluster.map(|other| other.description),
            joining: membership == NodeMembership::Learner,
            first_checks_pending,
        }
    }

    /// Adds since when each reason holds.
    fn dated(&mut self, verdict: Verdict) -> Readiness {
        let key = |finding: &Finding| (finding.code, finding.subject.clone());
        let holds: Vec<_> = verdict.findings.iter().map(key).collect();
        self.since.retain(|key, _| holds.contains(key));
        let mut dated = |finding: Finding| Reason {
            since: *self.since.entry(key(&finding)).or_insert_with(dates::now),
            code: finding.code,
            description: finding.description,
        };
        Readiness {
            status: verdict.status,
            data_path: verdict.data_path,
            reasons: verdict.findings.into_iter().map(&mut dated).collect(),
        }
    }
}

/// Returns when the link may have changed.
async fn link_changed(link: &mut Option<(String, watch::Receiver<bool>)>) {
    let changed = match link {
        Some((_, linked)) => linked.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        future::pending::<()>().await;
    }
}

/// The interface, if it has no link.
fn no_link(link: Option<&(String, watch::Receiver<bool>)>) -> Option<String> {
    let (interface, linked) = link?;
    (!*linked.borrow()).then(|| interface.clone())
}

/// Logs each reason that is new.
fn log(before: &Readiness, now: &Readiness) {
    for reason in &now.reasons {
        let is_old = |old: &Reason| (old.code, old.since) == (reason.code, reason.since);
        if before.reasons.iter().any(is_old) {
            continue;
        }
        let (code, reason) = (reason.code.as_str(), reason.description.as_str());
        match now.status {
            Status::Stopping | Status::Starting => {
                tracing::info!(code, reason, "this node is not ready");
            }
            Status::Unready | Status::Outdated | Status::Ready => {
                tracing::error!(code, reason, "this node is not ready");
            }
        }
    }
}

/// An error and its causes, as one sentence.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string cannot fail.
        _ = write!(sentence, ": {cause}");
        source = cause.source();
    }
    sentence
}
