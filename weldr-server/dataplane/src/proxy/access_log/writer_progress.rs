//! How many lines were queued, written and lost: counted by the workers and the writer, read by the writer and by the
//! thread that waits for its end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The progress of the writer, in lines. Updated once for each batch.
#[derive(Debug, Default)]
pub(super) struct WriterProgress {
    /// Lines that were offered to the writer.
    queued: AtomicU64,
    /// Lines that were written or lost.
    done: AtomicU64,
    /// Lines that were lost and not yet reported.
    lost: AtomicU64,
    /// Whether the log is to be opened again.
    reopen: AtomicBool,
}

impl WriterProgress {
    /// Counts lines that were offered to the writer.
    pub(super) fn queued(&self, lines: u64) {
        self.queued.fetch_add(lines, Relaxed);
    }

    /// Counts lines that were lost before they reached the writer. Returns whether they are the first since the last report.
    pub(super) fn dropped(&self, lines: u64) -> bool {
        self.done.fetch_add(lines, Relaxed);
        self.lost.fetch_add(lines, Relaxed) == 0
    }

    /// Counts lines that the writer tried to write, of which `lost` were lost.
    pub(super) fn written(&self, lines: u64, lost: u64) {
        self.lost.fetch_add(lost, Relaxed);
        self.done.fetch_add(lines, Relaxed);
    }

    /// Lines that were written or lost.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    /// Lines that wait to be written.
    pub(super) fn waiting(&self) -> u64 {
        self.queued.load(Relaxed).saturating_sub(self.done())
    }

    /// Lines that were lost since the last report; what is not zero has to be reported.
    pub(super) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Relaxed)
    }

    /// Asks for the log to be opened again.
    pub(super) fn ask_to_reopen(&self) {
        self.reopen.store(true, Relaxed);
    }

    /// Whether that was asked for since the last call.
    pub(super) fn take_reopen(&self) -> bool {
        self.reopen.swap(false, Relaxed)
    }
}
