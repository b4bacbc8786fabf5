//! The log, and other text for people.
//!
//! Lines of the log go through a bounded queue to a thread that writes them to standard error. No other thread waits for
//! that, and none fails when it does: lines that find the queue full or cannot be written are lost, and their number is
//! logged as soon as writing works again. Control characters are escaped.

mod escape;
mod queue;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    env,
    io::{self, IsTerminal as _},
    os::fd::AsFd,
    panic::{self, PanicHookInfo},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pipe::PIPE_BUF,
};
use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

use crate::output::Destination;
use escape::Escaping;
use queue::Queue;

/// The default filter. The consensus engine logs each failed heartbeat; the cluster logs once what that means.
const DEFAULT: &str = "weldr=info,openraft=off,warn";
/// How long the end of the process waits for lines that are not written yet.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The queue of the log, once there is one.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// `RUST_LOG` does not say what to log.
    #[error("RUST_LOG is {value:?}, which is no filter such as `weldr=debug` or `weldr=info,warn`")]
    Filter {
        /// What it says.
        value: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Standard error cannot be used.
    #[error("the log cannot be written to standard error")]
    Output(#[source] io::Error),
    /// There is no thread to write the log.
    #[error("cannot start a thread: raise the limit of processes (ulimit -u, TasksMax)")]
    Thread(#[source] io::Error),
}

/// Sends the log to standard error: as lines for people, or as a JSON object a line. `RUST_LOG` says how
/// much, as in `RUST_LOG=weldr=debug`; without it, information and worse.
///
/// A second call changes nothing: tests start many nodes in one process.
pub fn init(json: bool) -> Result<(), InitError> {
    let value = env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let directives = if value.is_empty() { DEFAULT } else { &value };
    let filter = match EnvFilter::try_new(directives) {
        Ok(filter) => filter,
        Err(source) => return Err(InitError::Filter { value, source }),
    };
    let output = Destination::of(io::stderr()).map_err(InitError::Output)?;
    let queue = Queue::start(output, log_lost).map_err(InitError::Thread)?;
    let colored = !json && io::stderr().is_terminal();
    let log = fmt()
        .with_env_filter(filter)
        .with_writer(Escaping {
            writer: queue.clone(),
            colored,
        })
        // They would be printed to standard error, without the queue.
        .log_internal_errors(false)
        .with_target(false);
    let installed = if json {
        log.json().flatten_event(true).try_init()
    } else {
        log.with_ansi(colored).try_init()
    };
    if installed.is_ok() {
        drop(QUEUE.set(queue));
    }
    Ok(())
}

fn log_lost(lines: u64) {
    tracing::warn!(
        lines,
        "lines of the log were lost: it could not be written, or not fast enough"
    );
}

/// Logs panics instead of printing them, which could block or fail. The binary calls it; a test prints its own panics.
pub fn log_panics() {
    panic::set_hook(Box::new(log_panic));
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let message = info.payload_as_str().unwrap_or("no message");
    let place = info.location().map(tracing::field::display);
    let backtrace = Backtrace::capture();
    let is_captured = backtrace.status() == BacktraceStatus::Captured;
    let backtrace = is_captured.then(|| tracing::field::display(&backtrace));
    tracing::error!(thread = name, place, backtrace, "panic: {message}");
    if name == "main" {
        // The process may end before the queue is empty.
        flush();
    }
}

/// Waits until what was logged so far is written, for a second at most.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(LAST_LINES);
    }
}

/// Writes `text` to standard error, for a second at most. For the last words of a process that ends.
pub fn print_error(text: &str) {
    flush();
    match print(io::stderr(), text.to_owned()) {
        // Whether it was written cannot be told to anybody.
        Ok(printed) => drop(printed.recv_timeout(LAST_LINES)),
        Err(_no_thread) => print_here(text),
    }
}

/// Writes to standard error without another thread, if that is possible within a second and without waiting.
fn print_here(text: &str) {
    let stderr = io::stderr();
    let patience = Timespec {
        tv_sec: LAST_LINES.as_secs().try_into().unwrap_or(1),
        tv_nsec: 0,
    };
    let ready = poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&patience));
    if ready.is_ok_and(|ready| ready > 0) {
        // A pipe that can be written takes so much at once.
        let at_once = text.len().min(PIPE_BUF);
        // An error here cannot be reported.
        let _ = rustix::io::write(&stderr, &text.as_bytes()[..at_once]);
    }
}

/// Writes `text` to standard output, on a thread of its own. What cannot be written is lost.
pub fn print_aside(text: String) {
    drop(print(io::stdout(), text));
}

/// Writes `text` on a thread of its own. The receiver is disconnected when that is done.
fn print(descriptor: impl AsFd + Send + 'static, text: String) -> io::Result<mpsc::Receiver<()>> {
    let (working, done) = mpsc::sync_channel(0);
    thread::Builder::new()
        .name("weldr-print".to_owned())
        .spawn(move || {
            let _working = working;
            if let Ok(mut output) = Destination::of(descriptor) {
                // An error here cannot be reported.
                let _ = output.write(text.as_bytes());
            }
        })?;
    Ok(done)
}
