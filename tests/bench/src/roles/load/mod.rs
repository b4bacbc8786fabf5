//! The load: a fixed number of connections, driven by one thread, that ask as fast as they are completed or at
//! a fixed rate.
//!
//! At a fixed rate each request has a time when it is due, whether a connection is free then or not, and its
//! latency counts from that time: a proxy that stalls is charged for every request that it kept waiting.

mod client;
mod idle;
mod pace;
mod response;
mod run;
pub(crate) mod spec;

use std::io::{self, Write as _};

use self::spec::{LoadSpec, Shape};

/// Makes the load that `spec` describes and prints what came of it, as JSON.
pub(crate) fn run(spec: &LoadSpec) -> io::Result<()> {
    let outcome = match spec.shape {
        Shape::Idle => idle::run(spec)?,
        _ => run::run(spec)?,
    };
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, &outcome)?;
    stdout.write_all(b"\n")
}
