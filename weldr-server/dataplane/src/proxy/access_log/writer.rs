//! The thread that writes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread,
    time::{Duration, Instant},
};

use crate::policy::{AccessLogFormat, AccessLogOptions};

use super::{AccessLog, Batch};

/// Batches that may wait to be written.
const MOST_WAITING: usize = 256;
/// How often it is looked whether the file was moved away.
const LOOK: Duration = Duration::from_secs(1);

/// Why there is no access log.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be opened.
    #[error("the access log {} cannot be written", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The thread cannot be started.
    #[error("the thread that writes the access log cannot be started")]
    Thread(#[source] io::Error),
}

/// Where lines go. It ends when the last worker has dropped its end.
#[derive(Debug)]
pub(in crate::proxy) struct Writer {
    format: AccessLogFormat,
    batches: SyncSender<Batch>,
    thread: thread::JoinHandle<()>,
}

impl Writer {
    /// Opens the log; `None` when there is to be none.
    pub(in crate::proxy) fn open(options: &AccessLogOptions) -> Result<Option<Self>, OpenError> {
        if options.format == AccessLogFormat::Off {
            return Ok(None);
        }
        let sink = Sink::open(options.file.clone())?;
        let (batches, waiting) = mpsc::sync_channel(MOST_WAITING);
        let thread = thread::Builder::new()
            .name("weldr-access-log".to_owned())
            .spawn(move || write(sink, &waiting))
            .map_err(OpenError::Thread)?;
        Ok(Some(Self {
            format: options.format,
            batches,
            thread,
        }))
    }

    /// A worker's end.
    pub(in crate::proxy) fn log(&self) -> AccessLogEnd {
        AccessLogEnd {
            format: self.format,
            batches: self.batches.clone(),
        }
    }

    /// Waits until everything is written.
    pub(in crate::proxy) fn join(self) {
        drop(self.batches);
        if self.thread.join().is_err() {
            tracing::error!("the thread of the access log panicked");
        }
    }
}

/// What is handed to a worker's thread, which makes its [`AccessLog`] of it.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct AccessLogEnd {
    format: AccessLogFormat,
    batches: SyncSender<Batch>,
}

impl From<AccessLogEnd> for AccessLog {
    fn from(end: AccessLogEnd) -> Self {
        Self::new(end.format, end.batches)
    }
}

fn write(mut sink: Sink, waiting: &Receiver<Batch>) {
    let mut failing = false;
    let mut looked = Instant::now();
    loop {
        match waiting.recv_timeout(LOOK.saturating_sub(looked.elapsed())) {
            Ok(Batch { mut lines, spare }) => {
                let written = sink.write(&lines);
                lines.clear();
                // When the worker has enough, or has ended, nobody needs it.
                let _ = spare.try_send(lines);
                // What is told is the change.
                match (&written, failing) {
                    (Ok(()), true) => tracing::info!("the access log is written again"),
                    (Err(error), false) => {
                        tracing::error!(%error, "the access log cannot be written; lines are lost");
                    }
                    (Ok(()), false) | (Err(_), true) => {}
                }
                failing = written.is_err();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if looked.elapsed() >= LOOK {
            sink.follow();
            looked = Instant::now();
        }
    }
}

enum Sink {
    Output(io::Stdout),
    File { path: PathBuf, file: File },
}

impl Sink {
    fn open(path: Option<PathBuf>) -> Result<Self, OpenError> {
        let Some(path) = path else {
            return Ok(Self::Output(io::stdout()));
        };
        match append_to(&path) {
            Ok(file) => Ok(Self::File { path, file }),
            Err(source) => Err(OpenError::File { path, source }),
        }
    }

    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        match self {
            Self::Output(output) => {
                output.write_all(batch)?;
                output.flush()
            }
            Self::File { file, .. } => file.write_all(batch),
        }
    }

    /// Goes on in a new file when the old one was moved or removed, as log rotation does.
    fn follow(&mut self) {
        let Self::File { path, file } = self else {
            return;
        };
        let is_same = match (fs::metadata(&*path), file.metadata()) {
            (Ok(there), Ok(open)) => (there.dev(), there.ino()) == (open.dev(), open.ino()),
            (Err(error), _) => error.kind() != io::ErrorKind::NotFound,
            (_, Err(_)) => true,
        };
        if is_same {
            return;
        }
        match append_to(path) {
            Ok(new) => *file = new,
            Err(error) => {
                tracing::warn!(%error, "the access log was moved, and cannot be opened anew");
            }
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}
