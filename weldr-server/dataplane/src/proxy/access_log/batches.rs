//! A worker's end of the access log: lines are collected in memory and handed over in batches.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    time::Duration,
};

use crate::policy::{AccessLogFields, AccessLogFormat, AccessLogOptions, MILLION, SampleRatio};

use super::{
    line::LogEntry,
    style::{Json, Logfmt},
    writer_progress::WriterProgress,
};

/// Bytes of lines that are handed over together. Each time costs the writer a wake-up, and the worker its core where
/// both have the same: a quarter of this costs a request 4 % more.
const BATCH: usize = 128 * 1024;
/// Memory of batches that waits to be used again.
const MOST_SPARE: usize = 4;
/// The maximum time that a line stays in the memory of its worker.
pub(in crate::proxy) const FLUSH: Duration = Duration::from_millis(200);

/// Which lines there are, and how they are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinePolicy {
    format: AccessLogFormat,
    fields: AccessLogFields,
    sample: SampleRatio,
}

impl From<&AccessLogOptions> for LinePolicy {
    fn from(options: &AccessLogOptions) -> Self {
        Self {
            format: options.format,
            fields: options.fields,
            sample: options.sample,
        }
    }
}

/// A worker's end of the log.
#[derive(Debug)]
pub(in crate::proxy) struct AccessLog {
    policy: LinePolicy,
    rng: RefCell<fastrand::Rng>,
    lines: RefCell<Vec<u8>>,
    count: Cell<u64>,
    batches: SyncSender<Batch>,
    progress: Arc<WriterProgress>,
    /// Memory of batches that were written, and the other end of it.
    spare: (SyncSender<Vec<u8>>, Receiver<Vec<u8>>),
}

/// Lines that are handed over together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) lines: Vec<u8>,
    /// How many lines there are.
    pub(super) count: u64,
    /// Returns their memory when they are written.
    pub(super) spare: SyncSender<Vec<u8>>,
}

impl AccessLog {
    pub(super) fn new(
        policy: LinePolicy,
        batches: SyncSender<Batch>,
        progress: Arc<WriterProgress>,
    ) -> Self {
        Self {
            policy,
            rng: RefCell::default(),
            lines: RefCell::new(Vec::with_capacity(BATCH)),
            count: Cell::new(0),
            batches,
            progress,
            spare: mpsc::sync_channel(MOST_SPARE),
        }
    }

    /// Whether a request has a line: each that failed, and of the others the part that is sampled.
    pub(in crate::proxy) fn admits(&self, has_failed: bool) -> bool {
        let sample = self.policy.sample;
        has_failed
            || sample == SampleRatio::ALL
            || sample.includes(self.rng.borrow_mut().u32(..MILLION))
    }

    /// Writes a line.
    pub(in crate::proxy) fn write(&self, entry: &LogEntry<'_>) {
        let mut lines = self.lines.borrow_mut();
        let fields = self.policy.fields;
        match self.policy.format {
            AccessLogFormat::Off => return,
            AccessLogFormat::Json => entry.write::<Json>(fields, &mut lines),
            AccessLogFormat::Logfmt => entry.write::<Logfmt>(fields, &mut lines),
            AccessLogFormat::Combined => entry.write_combined(&mut lines),
        }
        self.count.set(self.count.get() + 1);
        let is_full = lines.len() >= BATCH - 2048;
        drop(lines);
        if is_full {
            self.flush();
        }
    }

    /// Hands over the collected lines.
    pub(in crate::proxy) fn flush(&self) {
        if self.lines.borrow().is_empty() {
            return;
        }
        let (back, spare) = &self.spare;
        let next = spare.try_recv();
        let next = next.unwrap_or_else(|_| Vec::with_capacity(BATCH));
        let count = self.count.take();
        let batch = Batch {
            lines: self.lines.replace(next),
            count,
            spare: back.clone(),
        };
        self.progress.queued(count);
        match self.batches.try_send(batch) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                if self.progress.dropped(count) {
                    tracing::warn!(
                        "lines of the access log are lost: it is not written fast enough"
                    );
                }
            }
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(sample: &str, has_failed: bool) -> usize {
        let policy = LinePolicy {
            format: AccessLogFormat::Json,
            fields: AccessLogFields::default(),
            sample: sample.parse().unwrap(),
        };
        let (batches, _queued) = mpsc::sync_channel(1);
        let log = AccessLog::new(policy, batches, Arc::default());
        *log.rng.borrow_mut() = fastrand::Rng::with_seed(7);
        (0..10_000).filter(|_| log.admits(has_failed)).count()
    }

    #[test]
    fn successes_are_sampled_and_failures_never() {
        assert_eq!(admitted("1", false), 10_000);
        assert_eq!(admitted("0", false), 0);
        let some = admitted("0.1", false);
        assert!((800..1200).contains(&some), "{some}");
        for sample in ["0", "0.1", "1"] {
            assert_eq!(admitted(sample, true), 10_000);
        }
    }
}
