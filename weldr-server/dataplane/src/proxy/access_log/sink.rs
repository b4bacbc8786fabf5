//! Where the lines go.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    output::{Destination, LineWriter, Unwritten},
    policy::AccessLogOptions,
};

use super::syslog::Syslog;

/// How long no datagram may be refused until a collector counts as there again: that one was sent does not say that it
/// arrived.
const ARRIVES: Duration = Duration::from_secs(5);

/// Why there is no access log.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// The file cannot be opened.
    #[error("the access log {} cannot be written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Standard output cannot be used.
    #[error("the access log cannot be written to standard output")]
    Output(#[source] io::Error),
    /// The thread cannot be started.
    #[error("cannot start a thread: raise the limit of processes (ulimit -u, TasksMax)")]
    Thread(#[source] io::Error),
}

/// Where the lines go.
pub(super) enum Sink {
    Output(LineWriter<Destination>),
    File {
        path: PathBuf,
        file: LineWriter<Destination>,
    },
    Syslog(Syslog),
}

impl Sink {
    /// Opens it. A collector need not be there yet.
    pub(super) fn open(options: &AccessLogOptions) -> Result<Self, AccessLogError> {
        if let Some(address) = &options.syslog {
            return Ok(Self::Syslog(Syslog::new(address.clone())));
        }
        let Some(path) = options.file.clone() else {
            return Destination::of(io::stdout())
                .map(Self::Output)
                .map_err(AccessLogError::Output);
        };
        match Destination::append_to(&path) {
            Ok(file) => Ok(Self::File { path, file }),
            Err(source) => Err(AccessLogError::File { path, source }),
        }
    }

    /// Writes `lines`, each of which ends with a line feed.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), Unwritten> {
        match self {
            Self::Output(writer) | Self::File { file: writer, .. } => writer.write(lines),
            Self::Syslog(syslog) => syslog.send(lines),
        }
    }

    /// Whether lines arrive again if they were written, and the last failure was `since`.
    pub(super) fn works_again_after(&self, since: Duration) -> bool {
        match self {
            Self::Output(_) | Self::File { .. } => true,
            Self::Syslog(_) => since >= ARRIVES,
        }
    }

    /// Opens a new file if the old one was moved or removed, as log rotation does.
    pub(super) fn follow(&mut self) {
        if let Self::File { path, file } = self
            && was_moved(path, file.output())
        {
            self.reopen();
        }
    }

    /// Opens the file at the path, or the socket.
    pub(super) fn reopen(&mut self) {
        let (path, file) = match self {
            Self::Output(_) => return,
            Self::Syslog(syslog) => {
                syslog.close();
                return;
            }
            Self::File { path, file } => (path, file),
        };
        match Destination::append_to(path) {
            Ok(new) => {
                *file = new;
                tracing::info!(file = %path.display(), "access log reopened");
            }
            Err(error) => {
                tracing::warn!(%error, file = %path.display(), "the access log cannot be reopened");
            }
        }
    }
}

/// Whether another file is at `path` than the open one, or none.
fn was_moved(path: &Path, open: &Destination) -> bool {
    match (fs::metadata(path), open.file().metadata()) {
        (Ok(there), Ok(open)) => (there.dev(), there.ino()) != (open.dev(), open.ino()),
        (Err(error), _) => error.kind() == io::ErrorKind::NotFound,
        (_, Err(_)) => false,
    }
}
