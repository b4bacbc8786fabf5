//! What a process writes, and how a test reads it.

use std::{
    fs,
    os::fd::AsFd,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::pipe::fcntl_setpipe_size;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::watch,
    task::JoinHandle,
};

use crate::wait;

/// The least that a pipe can hold, in bytes.
const SMALLEST_PIPE: usize = 4096;

/// An output of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a process has written to one of its outputs.
#[derive(Debug)]
pub(super) enum Output {
    /// To a pipe or a terminal, read as it comes so that the process never waits for the test.
    Pipe {
        text: Arc<Mutex<Vec<u8>>>,
        reader: watch::Sender<Reader>,
        reading: JoinHandle<()>,
    },
    /// To a file.
    File(PathBuf),
}

/// What the reader of a pipe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Reads,
    Stalls,
    Closes,
}

impl Output {
    /// Reads `pipe` to its end.
    pub(super) fn collect(pipe: impl AsyncRead + AsFd + Unpin + Send + 'static) -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let (reader, told) = watch::channel(Reader::Reads);
        let reading = tokio::spawn(read(pipe, Arc::clone(&text), told));
        Self::Pipe {
            text,
            reader,
            reading,
        }
    }

    /// What was written so far.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Pipe { text, .. } => {
                let text = text.lock().unwrap_or_else(PoisonError::into_inner);
                String::from_utf8_lossy(&text).into_owned()
            }
            // A device such as /dev/full has no end.
            Self::File(path) if path.is_file() => {
                let bytes = fs::read(path).expect("a file of ours");
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Self::File(_) => String::new(),
        }
    }

    /// Stops reading.
    pub(super) fn stall(&self) {
        match self {
            Self::Pipe { reader, .. } => drop(reader.send_replace(Reader::Stalls)),
            Self::File(path) => panic!("{} does not stall", path.display()),
        }
    }

    /// Closes the pipe, and returns when it is closed.
    pub(super) async fn close(&mut self) {
        match self {
            Self::Pipe {
                reader, reading, ..
            } => {
                reader.send_replace(Reader::Closes);
                let closed = wait::bounded("the pipe to be closed", reading).await;
                closed.expect("the reader of the output panicked");
            }
            Self::File(path) => panic!("{} cannot be closed", path.display()),
        }
    }

    /// Waits for the end of the output, and gives what was written.
    pub(super) async fn finish(mut self) -> String {
        if let Self::Pipe {
            reader, reading, ..
        } = &mut self
        {
            reader.send_replace(Reader::Reads);
            if !reading.is_finished() {
                let read = wait::bounded("the end of the output", reading).await;
                read.expect("the reader of the output panicked");
            }
        }
        self.text()
    }
}

async fn read(
    mut pipe: impl AsyncRead + AsFd + Unpin,
    text: Arc<Mutex<Vec<u8>>>,
    mut told: watch::Receiver<Reader>,
) {
    let mut buffer = [0; 4096];
    loop {
        let reader = *told.borrow_and_update();
        if reader == Reader::Closes {
            return;
        }
        if reader == Reader::Stalls {
            // A pipe that holds more at the moment stays as it is.
            let _ = fcntl_setpipe_size(&pipe, SMALLEST_PIPE);
        }
        tokio::select! {
            changed = told.changed() => if changed.is_err() {
                return;
            },
            read = pipe.read(&mut buffer), if reader == Reader::Reads => match read {
                Ok(read @ 1..) => {
                    let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
                    text.extend_from_slice(&buffer[..read]);
                }
                Ok(_) | Err(_) => return,
            },
        }
    }
}
