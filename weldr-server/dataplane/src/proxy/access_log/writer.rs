//! The thread that writes the access log.

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    output::Unwritten,
    policy::{AccessLogFormat, AccessLogOptions},
};

use super::{
    batches::{AccessLog, Batch, LinePolicy},
    sink::{AccessLogError, Sink},
    writer_progress::WriterProgress,
};

/// Batches that may wait to be written.
const MOST_WAITING: usize = 256;
/// How often the thread checks whether the file was moved, and how often lost lines are reported.
const LOOK: Duration = Duration::from_secs(1);
/// How long the last lines may make no progress when the workers have ended.
const STALLED: Duration = Duration::from_secs(1);
/// The minimum time for the last lines, because the workers may have used all of the shutdown timeout.
const LAST_LINES: Duration = Duration::from_millis(500);

/// The access log. Its thread ends when the last worker has dropped its [`AccessLogEnd`].
#[derive(Debug)]
pub(in crate::proxy) struct AccessLogWriter {
    policy: LinePolicy,
    batches: SyncSender<Batch>,
    progress: Arc<WriterProgress>,
    thread: thread::JoinHandle<()>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

impl AccessLogWriter {
    /// Opens the log; `None` when the format is `off`.
    pub(in crate::proxy) fn open(
        options: &AccessLogOptions,
    ) -> Result<Option<Self>, AccessLogError> {
        if options.format == AccessLogFormat::Off {
            return Ok(None);
        }
        let sink = Sink::open(options)?;
        let (batches, queued) = mpsc::sync_channel(MOST_WAITING);
        let (lives, ended) = mpsc::sync_channel(0);
        let progress = Arc::<WriterProgress>::default();
        let writing = Writing {
            sink,
            progress: Arc::clone(&progress),
            failed: None,
            looked: Instant::now(),
        };
        let thread = thread::Builder::new()
            .name("weldr-access-log".to_owned())
            .spawn(move || {
                let _lives = lives;
                writing.run(&queued);
            })
            .map_err(AccessLogError::Thread)?;
        Ok(Some(Self {
            policy: LinePolicy::from(options),
            batches,
            progress,
            thread,
            ended,
        }))
    }

    /// The end for one worker.
    pub(in crate::proxy) fn log(&self) -> AccessLogEnd {
        AccessLogEnd {
            policy: self.policy,
            batches: self.batches.clone(),
            progress: Arc::clone(&self.progress),
        }
    }

    /// Opens the file again, within a second. Later lines go to the file that is then at the path.
    pub(in crate::proxy) fn reopen(&self) {
        self.progress.ask_to_reopen();
    }

    /// Waits until everything is written, as long as writing makes progress, and at most until `timeout` after `begun`.
    pub(in crate::proxy) fn join(self, begun: Instant, timeout: Duration) {
        drop(self.batches);
        let mut done = self.progress.done();
        loop {
            let left = timeout.saturating_sub(begun.elapsed());
            match self.ended.recv_timeout(left.clamp(LAST_LINES, STALLED)) {
                Err(RecvTimeoutError::Timeout) => {
                    let is_stalled = self.progress.done() == done;
                    if is_stalled || timeout <= begun.elapsed() {
                        let lost = self.progress.waiting() + self.progress.take_lost();
                        tracing::warn!(lost, "the access log could not be written in time");
                        return;
                    }
                    done = self.progress.done();
                }
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if self.thread.join().is_err() {
            tracing::error!("the thread of the access log panicked");
        }
    }
}

/// The end of the log that is sent to a worker's thread, where it becomes an [`AccessLog`].
#[derive(Debug, Clone)]
pub(in crate::proxy) struct AccessLogEnd {
    policy: LinePolicy,
    batches: SyncSender<Batch>,
    progress: Arc<WriterProgress>,
}

impl From<AccessLogEnd> for AccessLog {
    fn from(end: AccessLogEnd) -> Self {
        Self::new(end.policy, end.batches, end.progress)
    }
}

/// The state of the thread.
struct Writing {
    sink: Sink,
    progress: Arc<WriterProgress>,
    /// When writing last failed; `None` when it works.
    failed: Option<Instant>,
    /// When the thread last checked whether the file was moved, and reported lost lines.
    looked: Instant,
}

impl Writing {
    fn run(mut self, queued: &Receiver<Batch>) {
        loop {
            let received = queued.recv_timeout(LOOK.saturating_sub(self.looked.elapsed()));
            if self.progress.take_reopen() {
                self.sink.reopen();
            }
            match received {
                Ok(batch) => self.write(batch),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.looked.elapsed() >= LOOK {
                self.sink.follow();
                if self.failed.is_none() {
                    self.report_lost();
                }
                self.looked = Instant::now();
            }
        }
        self.report_lost();
    }

    fn write(&mut self, batch: Batch) {
        let Batch {
            mut lines,
            count,
            spare,
        } = batch;
        let written = self.sink.write(&lines);
        lines.clear();
        // If the worker has enough memory or has ended, this memory is freed.
        let _ = spare.try_send(lines);
        let lost = written
            .as_ref()
            .err()
            .map_or(0, |unwritten| unwritten.lines);
        self.progress.written(count, lost);
        self.note(written);
    }

    /// Logs when writing begins to fail, and when it works again.
    fn note(&mut self, written: Result<(), Unwritten>) {
        match (written, self.failed) {
            (Ok(()), Some(failed)) if self.sink.works_again_after(failed.elapsed()) => {
                self.failed = None;
                tracing::info!("the access log is written again");
                self.report_lost();
            }
            (Ok(()), _) => {}
            (Err(Unwritten { source, .. }), failed) => {
                self.failed = Some(Instant::now());
                if failed.is_none() {
                    tracing::error!(error = %source, "the access log cannot be written; lines are lost");
                }
            }
        }
    }

    fn report_lost(&self) {
        let lost = self.progress.take_lost();
        if lost > 0 {
            tracing::warn!(lost, "lines of the access log were lost");
        }
    }
}
