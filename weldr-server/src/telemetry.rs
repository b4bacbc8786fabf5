//! The log.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, fmt};

/// The engine of the cluster says each failed heartbeat anew; what it means is said by the cluster, once.
const DEFAULT_FILTER: &str = "weldr=info,openraft=off,warn";

/// Sends the log to standard error: as lines for people, or as a JSON object a line. `RUST_LOG` says how
/// much, as in `RUST_LOG=weldr=debug`; without it, information and worse.
///
/// A second call changes nothing: tests start many nodes in one process.
pub fn init(json: bool) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let log = fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false);
    let installed = if json {
        log.json().flatten_event(true).try_init()
    } else {
        log.with_ansi(io::stderr().is_terminal()).try_init()
    };
    drop(installed);
}
