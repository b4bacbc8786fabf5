//! Load while something else happens: keep-alive clients that count what failed.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

use crate::{
    http1::{ReadError, Reader},
    wait,
};

/// How many failures are kept as text.
const KEPT: usize = 5;

/// Clients that ask for a target again and again until they are stopped.
#[derive(Debug)]
pub struct Load {
    clients: JoinSet<Tally>,
    stop: Arc<AtomicBool>,
    completed: Arc<AtomicU64>,
}

/// What a load saw.
#[derive(Debug, Default)]
pub struct Tally {
    /// Responds with a status below 400.
    pub ok: u64,
    /// Everything else, those that were turned away included.
    pub failed: u64,
    /// Requests that were never made: nothing listens there (any more).
    pub turned_away: u64,
    /// How the first ones failed, each way once.
    pub failures: Vec<String>,
}

impl Tally {
    fn fail(&mut self, why: impl fmt::Display) {
        self.failed += 1;
        let why = why.to_string();
        // One of a kind says enough, and leaves room for others.
        if self.failures.len() < KEPT && !self.failures.contains(&why) {
            self.failures.push(why);
        }
    }

    /// Asserts that no request failed, and that there were some.
    #[track_caller]
    pub fn assert_none_failed(&self) {
        assert!(self.ok > 0, "no request was made");
        assert_eq!(
            self.failed,
            0,
            "of {} requests: {:#?}",
            self.ok + self.failed,
            self.failures
        );
    }

    /// Asserts that each request that found a listener was completed well, and that there were some.
    #[track_caller]
    pub fn assert_none_lost(&self) {
        assert!(self.ok > 0, "no request was made");
        let lost = self.failed - self.turned_away;
        assert_eq!(
            lost,
            0,
            "of {} requests: {:#?}",
            self.ok + lost,
            self.failures
        );
    }
}

impl Load {
    /// Starts `clients` connections that each send one GET for `target` after the other.
    pub fn start(address: SocketAddr, clients: usize, target: &str) -> Self {
        Self::with_fields(address, clients, target, "")
    }

    /// [`Self::start`] with a new connection for each request.
    pub fn start_unkept(address: SocketAddr, clients: usize, target: &str) -> Self {
        Self::with_fields(address, clients, target, "Connection: close\r\n")
    }

    fn with_fields(address: SocketAddr, clients: usize, target: &str, fields: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let completed = Arc::new(AtomicU64::new(0));
        let request: Arc<str> =
            format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n").into();
        let clients = (0..clients)
            .map(|_| {
                let (request, stop) = (Arc::clone(&request), Arc::clone(&stop));
                let completed = Arc::clone(&completed);
                async move { client(address, &request, &stop, &completed).await }
            })
            .collect();
        Self {
            clients,
            stop,
            completed,
        }
    }

    /// Waits until `more` requests more than now have been completed or have failed.
    pub async fn passes(&self, more: u64) {
        let goal = self.completed.load(Relaxed) + more;
        wait::until(format!("{goal} requests"), async || {
            match self.completed.load(Relaxed) {
                enough if enough >= goal => Ok(()),
                few => Err(few),
            }
        })
        .await;
    }

    /// Lets running requests end, and says what was seen.
    pub async fn stop(mut self) -> Tally {
        self.stop.store(true, Relaxed);
        let mut sum = Tally::default();
        while let Some(ended) = wait::bounded("the load to end", self.clients.join_next()).await {
            let tally = ended.expect("a client of the load panicked");
            sum.ok += tally.ok;
            sum.failed += tally.failed;
            sum.turned_away += tally.turned_away;
            sum.failures.extend(tally.failures);
        }
        sum.failures.truncate(KEPT);
        sum
    }
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("nothing listens there")]
    TurnedAway,
    #[error("connect: {0}")]
    Connect(io::Error),
    #[error("send: {0}")]
    Send(io::Error),
    #[error("response: {0}")]
    Response(ReadError),
}

async fn client(
    address: SocketAddr,
    request: &str,
    stop: &AtomicBool,
    completed: &AtomicU64,
) -> Tally {
    let mut tally = Tally::default();
    let mut connection = None;
    while !stop.load(Relaxed) {
        match wait::bounded(
            "a response under load",
            ask(address, request, &mut connection),
        )
        .await
        {
            Ok(..400) => tally.ok += 1,
            Ok(status) => tally.fail(format_args!("status {status}")),
            Err(why) => {
                connection = None;
                tally.turned_away += u64::from(matches!(why, Failure::TurnedAway));
                tally.fail(why);
            }
        }
        completed.fetch_add(1, Relaxed);
    }
    tally
}

async fn ask(
    address: SocketAddr,
    request: &str,
    connection: &mut Option<Reader<TcpStream>>,
) -> Result<u16, Failure> {
    let reader = if let Some(reader) = connection {
        reader
    } else {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::TurnedAway,
            _ => Failure::Connect(error),
        })?;
        connection.insert(Reader::new(stream))
    };
    let sent = reader.get_mut().write_all(request.as_bytes()).await;
    sent.map_err(Failure::Send)?;
    let response = reader.response("GET").await.map_err(Failure::Response)?;
    let closing = response.fields.all("connection").join(",");
    if closing.to_ascii_lowercase().contains("close") {
        *connection = None;
    }
    Ok(response.status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{origin::Origin, serve};

    #[tokio::test]
    async fn counts_completed_and_failed_requests() {
        let mut origin = Origin::saying("hi");
        let load = Load::start(origin.address(), 2, "/");
        load.passes(10).await;
        origin.stop().await;
        load.passes(10).await;
        let tally = load.stop().await;
        assert!(tally.ok >= 8 && tally.failed >= 8, "{tally:?}");
        assert!(tally.turned_away >= 6, "{tally:?}");
        assert!(tally.failures.len() <= KEPT, "{tally:?}");
    }

    #[tokio::test]
    #[should_panic(expected = "status 503")]
    async fn a_bad_status_is_a_failure() {
        let origin = Origin::serve(|_| async { serve::response(503, "") });
        let load = Load::start(origin.address(), 1, "/");
        load.passes(1).await;
        let mut tally = load.stop().await;
        tally.ok += 1;
        tally.assert_none_failed();
    }
}
