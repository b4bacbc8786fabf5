//! Connections that do nothing: what a proxy keeps in memory for each.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use super::{
    response::{Expected, Reader},
    spec::{LoadSpec, Outcome},
};
use crate::usage;

/// Requests on the first connection, after which what the proxy allocates once is there.
const FIRST_REQUESTS: usize = 200;

/// How long a proxy has to give back what an idle connection does not need.
const SETTLING: Duration = Duration::from_secs(2);

/// How long one response may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the connections one after the other, asks once on each, looks, and asks once more on each.
pub(super) fn run(spec: &LoadSpec) -> io::Result<Outcome> {
    let mut first = Idle::open(spec)?;
    for _ in 0..FIRST_REQUESTS {
        first.ask()?;
    }
    thread::sleep(SETTLING);
    let before = usage::memory(spec.process);
    let mut connections = Vec::with_capacity(spec.connections);
    for _ in 0..spec.connections {
        let mut connection = Idle::open(spec)?;
        connection.ask()?;
        connections.push(connection);
    }
    thread::sleep(SETTLING);
    let after = usage::memory(spec.process);
    let cpu = usage::cpu(spec.process);
    let started = Instant::now();
    for connection in &mut connections {
        connection.ask()?;
    }
    let growth = after as f64 - before as f64;
    Ok(Outcome {
        requests: connections.len() as u64,
        elapsed: started.elapsed(),
        cpu: usage::cpu(spec.process).since(&cpu),
        idle_bytes: Some(growth / spec.connections as f64),
        ..Outcome::default()
    })
}

struct Idle {
    stream: TcpStream,
    request: String,
}

impl Idle {
    fn open(spec: &LoadSpec) -> io::Result<Self> {
        let stream = TcpStream::connect(spec.target)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            request: format!("GET /bytes/128 HTTP/1.1\r\nHost: {}\r\n\r\n", spec.target),
        })
    }

    fn ask(&mut self) -> io::Result<()> {
        const EXPECTED: Expected = Expected::Response {
            status: 200,
            body: 128,
        };
        self.stream.write_all(self.request.as_bytes())?;
        let mut reader = Reader::default();
        let mut chunk = [0; 4096];
        loop {
            let got = self.stream.read(&mut chunk)?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match reader.take(&chunk[..got], EXPECTED) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(fault) => return Err(io::Error::other(fault)),
            }
        }
    }
}
