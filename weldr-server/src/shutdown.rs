//! Signals, and the limit of file descriptors.

use std::io;

use rustix::process::{Resource, Rlimit, Signal as Number, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that Weldr handles, from the moment that this is created. Signals that would end the process by default and
/// have no meaning for Weldr are caught too:
///
/// - SIGUSR2 does nothing.
/// - SIGXFSZ: with a handler, writing more of a file than the process may fails with EFBIG, like a full disk.
/// - SIGPIPE is ignored by the runtime of Rust, so that writing to a closed connection fails with EPIPE.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
    user_1: Signal,
    _ignored: [Signal; 2],
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// SIGTERM, SIGINT or SIGQUIT: to stop. The name of the signal.
    Stop(&'static str),
    /// SIGHUP: to open log files again, and to read again what is read from files.
    Reload,
    /// SIGUSR1: to open log files again.
    ReopenLogs,
}

impl Signals {
    /// Registers handlers for the signals, whose default action would end the process.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
            _ignored: [
                signal(SignalKind::user_defined2())?,
                signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?,
            ],
        })
    }

    /// Waits for the next signal to handle.
    pub async fn received(&mut self) -> Order {
        tokio::select! {
            _ = self.terminate.recv() => Order::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Order::Stop("SIGINT"),
            _ = self.quit.recv() => Order::Stop("SIGQUIT"),
            _ = self.hang_up.recv() => Order::Reload,
            _ = self.user_1.recv() => Order::ReopenLogs,
        }
    }

    /// Waits for a signal to stop, and gives its name; others are dropped.
    pub async fn stop(&mut self) -> &'static str {
        loop {
            if let Order::Stop(name) = self.received().await {
                return name;
            }
        }
    }
}

/// How many descriptors the process may have open; `None`: any number.
pub fn descriptor_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Takes as many descriptors as the hard limit allows: a proxied connection needs two, and the usual soft
/// limit of 1024 is over soon.
pub fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "the limit of open descriptors cannot be raised");
    }
}
