//! A proxy of others, if it is installed.

use std::net::{SocketAddr, TcpListener};

use crate::{
    process::{Process, Program, installed},
    wait,
};
use tokio::net::TcpStream;

/// The program of that name, started with `flag` and a file with `text`; `None`, and a sentence, if it is not installed.
///
/// # Panics
/// When its file cannot be written, or it does not listen.
pub async fn started(
    name: &str,
    flag: &str,
    address: SocketAddr,
    text: impl Fn(&str) -> String,
) -> Option<Process> {
    let Some(path) = installed(name) else {
        crate::say!("{name} is not installed: its part of this test was skipped");
        return None;
    };
    let program = Program::at(name, &path);
    let file = program.directory().join("configuration");
    let directory = program.directory().display().to_string();
    std::fs::write(&file, text(&directory)).expect("a file for the configuration");
    let process = program.arg(flag).arg(file).start();
    wait::until(format!("{name} to listen"), async || {
        let connected = TcpStream::connect(address).await;
        connected.map_err(|error| format!("{error}: {}", process.stderr()))
    })
    .await;
    Some(process)
}

/// An address on which nobody listens now.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("a bound listener")
}
