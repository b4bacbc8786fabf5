//! Reads the configuration file, whatever is at its path.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use rustix::fs::OFlags;

use super::ConfigError;

/// How long reading may take. A disk behind a network that is gone does not respond.
const PATIENCE: Duration = Duration::from_secs(5);

/// The length of the longest file, in bytes.
const LONGEST: usize = 1 << 20;

/// How many readings may be under way. Those that are not waited for any more stay until the disk responds.
const MOST_READINGS: usize = 64;

/// The readings that are under way.
static READINGS: AtomicUsize = AtomicUsize::new(0);

/// The text of the file at `path`.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let too_slow = || ConfigError::TooSlow {
        path: path.to_owned(),
        patience: PATIENCE,
    };
    let reading = Reading::begin().ok_or_else(too_slow)?;
    let (done, text) = mpsc::sync_channel(1);
    let file = path.to_owned();
    thread::Builder::new()
        .name("weldr-config".to_owned())
        .spawn(move || {
            let _reading = reading;
            // The caller may have given up.
            let _ = done.send(read_at_once(&file));
        })
        .map_err(ConfigError::Thread)?;
    text.recv_timeout(PATIENCE).map_err(|_| too_slow())?
}

fn read_at_once(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // Before it is opened, because opening some devices changes them.
    let is_file = fs::metadata(path).map_err(unreadable)?.is_file();
    if !is_file {
        return Err(ConfigError::NotAFile(path.to_owned()));
    }
    // If a named pipe takes the place of the file now, opening it does not wait for a writer.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut opening = OpenOptions::new();
    let file = opening.read(true).custom_flags(flags).open(path);
    let file = file.map_err(unreadable)?;
    let mut bytes = Vec::new();
    let mut most = file.take(LONGEST as u64 + 1);
    most.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > LONGEST {
        return Err(ConfigError::TooLong(path.to_owned()));
    }
    let text = String::from_utf8(bytes);
    text.map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// Counts a reading until it has ended.
struct Reading;

impl Reading {
    /// `None` when too many are under way.
    fn begin() -> Option<Self> {
        let begun = Self;
        (READINGS.fetch_add(1, SeqCst) < MOST_READINGS).then_some(begun)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        READINGS.fetch_sub(1, SeqCst);
    }
}
