//! The log.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

/// How much is logged when nobody says it. The engine of the cluster says each failed heartbeat anew; what it means is
/// said by the cluster, once.
const DEFAULT: &str = "weldr=info,openraft=off,warn";

/// `RUST_LOG` does not say what to log.
#[derive(Debug, thiserror::Error)]
#[error("RUST_LOG is {value:?}, which is no filter such as `weldr=debug` or `weldr=info,warn`")]
pub struct FilterError {
    /// What it says.
    pub value: String,
    /// What is wrong with it.
    pub source: ParseError,
}

/// Sends the log to standard error: as lines for people, or as a JSON object a line. `RUST_LOG` says how
/// much, as in `RUST_LOG=weldr=debug`; without it, information and worse.
///
/// A second call changes nothing: tests start many nodes in one process.
pub fn init(json: bool) -> Result<(), FilterError> {
    let value = env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let directives = if value.is_empty() { DEFAULT } else { &value };
    let filter = match EnvFilter::try_new(directives) {
        Ok(filter) => filter,
        Err(source) => return Err(FilterError { value, source }),
    };
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
    Ok(())
}
