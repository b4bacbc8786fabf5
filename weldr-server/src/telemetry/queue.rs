//! The queue of the log, and the thread that writes what is in it.

use std::{
    cell::RefCell,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

use crate::output::LineWriter;

/// Lines that may wait to be written.
const MOST_LINES: usize = 2048;
/// Bytes of lines that may wait to be written.
const MOST_BYTES: usize = 4 << 20;
/// The time between two reports of lost lines, and between two attempts to write one.
const REPORT: Duration = Duration::from_secs(1);
/// The time between two attempts to put the request for a flush into a full queue.
const RETRY: Duration = Duration::from_millis(5);

thread_local! {
    /// What the thread that writes logs itself: it cannot wait for its own queue. `None` on every other thread.
    static OWN: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// The end of the queue into which lines are put. None of its calls but [`Queue::flush`] waits.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    messages: SyncSender<Message>,
    load: Arc<Load>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Drop the sender when everything before this was written or lost.
    Flush(SyncSender<()>),
}

/// What is in the queue, and what found no place there.
#[derive(Debug, Default)]
struct Load {
    bytes: AtomicUsize,
    /// Lines that were lost and not yet reported.
    lost: AtomicU64,
}

impl Queue {
    /// Starts a thread that writes to `output`.
    ///
    /// `report` is called on that thread to log how many lines were lost.
    pub(super) fn start(
        output: LineWriter<impl Write + Send + 'static>,
        report: fn(u64),
    ) -> io::Result<Self> {
        let (messages, waiting) = mpsc::sync_channel(MOST_LINES);
        let load = Arc::<Load>::default();
        let writer = Writer {
            output,
            load: Arc::clone(&load),
            report,
            reported: None,
        };
        thread::Builder::new()
            .name("weldr-log".to_owned())
            .spawn(move || writer.run(&waiting))?;
        Ok(Self { messages, load })
    }

    /// Puts a line into the queue, or counts it as lost.
    fn push(&self, line: &[u8]) {
        let is_own = OWN.try_with(|own| {
            let mut own = own.borrow_mut();
            own.as_mut()
                .map(|own| own.extend_from_slice(line))
                .is_some()
        });
        if is_own == Ok(true) {
            return;
        }
        let load = &self.load;
        let has_room = load.bytes.fetch_add(line.len(), Relaxed) < MOST_BYTES;
        if has_room && self.messages.try_send(Message::Line(line.to_vec())).is_ok() {
            return;
        }
        load.bytes.fetch_sub(line.len(), Relaxed);
        load.lost.fetch_add(1, Relaxed);
    }

    /// Waits until what is in the queue was written or lost, for `limit` at most; says whether it was.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let begun = Instant::now();
        let (working, done) = mpsc::sync_channel(0);
        let mut message = Message::Flush(working);
        loop {
            match self.messages.try_send(message) {
                Ok(()) => {
                    let left = limit.saturating_sub(begun.elapsed());
                    return done.recv_timeout(left) == Err(RecvTimeoutError::Disconnected);
                }
                Err(TrySendError::Full(unsent)) if begun.elapsed() < limit => {
                    message = unsent;
                    thread::sleep(RETRY);
                }
                Err(_) => return false,
            }
        }
    }
}

impl<'q> MakeWriter<'q> for Queue {
    type Writer = Line<'q>;

    fn make_writer(&'q self) -> Line<'q> {
        Line(self)
    }
}

/// Takes one line. Never an error: the subscriber would print it.
#[derive(Debug)]
pub(super) struct Line<'q>(&'q Queue);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The state of the thread that writes.
#[derive(Debug)]
struct Writer<W> {
    output: LineWriter<W>,
    load: Arc<Load>,
    report: fn(u64),
    /// When it was last tried to report lost lines.
    reported: Option<Instant>,
}

impl<W: Write> Writer<W> {
    fn run(mut self, waiting: &Receiver<Message>) {
        OWN.set(Some(Vec::new()));
        loop {
            match self.next(waiting) {
                Ok(Message::Line(line)) => {
                    self.load.bytes.fetch_sub(line.len(), Relaxed);
                    self.report_lost();
                    // One write a line: other processes may write to the same pipe.
                    if self.output.write(&line).is_err() {
                        self.load.lost.fetch_add(1, Relaxed);
                    }
                }
                Ok(Message::Flush(working)) => {
                    self.reported = None;
                    self.report_lost();
                    drop(working);
                }
                Err(RecvTimeoutError::Timeout) => self.report_lost(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// The next message; while lost lines have to be reported, a timeout after some time.
    fn next(&self, waiting: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        if self.load.lost.load(Relaxed) > 0 {
            return waiting.recv_timeout(REPORT);
        }
        waiting.recv().map_err(RecvTimeoutError::from)
    }

    /// Reports how many lines were lost, unless that was tried just now. A report that cannot be written is made again.
    fn report_lost(&mut self) {
        let is_recent = self.reported.is_some_and(|at| at.elapsed() < REPORT);
        if is_recent || self.load.lost.load(Relaxed) == 0 {
            return;
        }
        self.reported = Some(Instant::now());
        let lost = self.load.lost.swap(0, Relaxed);
        (self.report)(lost);
        let report = OWN.with_borrow_mut(|own| own.as_mut().map(std::mem::take));
        // Empty where the subscriber is not ours, or leaves warnings out.
        if self.output.write(&report.unwrap_or_default()).is_err() {
            self.load.lost.fetch_add(lost, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// An output that can be held up and made to fail.
    #[derive(Debug, Clone, Default)]
    struct Output(Arc<Mutex<Inner>>);

    #[derive(Debug, Default)]
    struct Inner {
        text: Vec<u8>,
        fails: bool,
    }

    impl Output {
        fn inner(&self) -> MutexGuard<'_, Inner> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn text(&self) -> String {
            String::from_utf8(self.inner().text.clone()).unwrap()
        }
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut inner = self.inner();
            if inner.fails {
                return Err(io::ErrorKind::StorageFull.into());
            }
            inner.text.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start() -> (Queue, Output) {
        let output = Output::default();
        let queue = Queue::start(LineWriter::new(output.clone(), false), report).unwrap();
        (queue, output)
    }

    /// Logs as the subscriber does: on the thread of the queue, by a line.
    fn report(lost: u64) {
        OWN.with_borrow_mut(|own| writeln!(own.as_mut().unwrap(), "lost {lost}").unwrap());
    }

    fn lost(queue: &Queue) -> u64 {
        queue.load.lost.load(Relaxed)
    }

    #[test]
    fn a_flush_waits_for_what_was_put_in_before() {
        let (queue, output) = start();
        for line in ["one\n", "two\n"] {
            queue.push(line.as_bytes());
        }
        assert!(queue.flush(LIMIT));
        assert_eq!(output.text(), "one\ntwo\n");
        assert_eq!(queue.load.bytes.load(Relaxed), 0);
    }

    #[test]
    fn a_stalled_output_blocks_no_thread_and_dropped_lines_are_counted() {
        let (queue, output) = start();
        let stuck = output.inner();
        queue.push(b"a line\n");
        // A thread that begins later would report what was lost before, and be stuck with that.
        let begun = Instant::now();
        while queue.load.bytes.load(Relaxed) > 0 {
            assert!(begun.elapsed() < LIMIT, "the thread takes nothing");
            thread::yield_now();
        }
        for _ in 0..2 * MOST_LINES {
            queue.push(b"a line\n");
        }
        let few = lost(&queue);
        let most = u64::try_from(MOST_LINES).unwrap();
        assert_eq!(few, most);
        assert!(!queue.flush(Duration::from_millis(20)), "it is stuck");
        drop(stuck);
        assert!(queue.flush(LIMIT));
        let text = output.text();
        let kept = text.lines().filter(|line| *line == "a line").count();
        assert_eq!(kept as u64 + few, 2 * most + 1);
    }

    #[test]
    fn the_bytes_that_wait_are_bounded_too() {
        let (queue, output) = start();
        let stuck = output.inner();
        let line = vec![b'x'; MOST_BYTES / 4];
        for _ in 0..8 {
            queue.push(&line);
        }
        assert!(lost(&queue) >= 3, "{} lost", lost(&queue));
        drop(stuck);
    }

    #[test]
    fn lost_lines_are_reported_when_writing_works_again_and_only_once() {
        let (queue, output) = start();
        output.inner().fails = true;
        for _ in 0..3 {
            queue.push(b"lost\n");
        }
        assert!(queue.flush(LIMIT));
        output.inner().fails = false;
        queue.push(b"kept\n");
        assert!(queue.flush(LIMIT));
        assert!(queue.flush(LIMIT));
        // Which of them comes first depends on when the last attempt to report was.
        let text = output.text();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["kept", "lost 3"]);
    }
}
