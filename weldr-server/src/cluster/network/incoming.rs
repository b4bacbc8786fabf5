//! The connections of other nodes, as they are accepted.

use std::{
    io,
    time::{Duration, Instant},
};

use futures_util::{
    Stream, StreamExt as _,
    future::BoxFuture,
    stream::{FuturesUnordered, unfold},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time,
};
use tracing::{debug, warn};

use super::death_notice::{DeathNotice, FIRST_BYTE, receive};
use crate::warnings::Repeats;

/// The time before the next `accept` after one failed for lack of a resource.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How often a warning about failures of `accept` is logged.
const WARNING_PERIOD: Duration = Duration::from_secs(10);

/// How long a connection may take to send its first byte.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a notice of a death may take.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(1);
/// How many connections may wait for their first byte. Further ones wait to be accepted.
const MOST_WAITING: usize = 256;

/// The listener, and the connections that have sent nothing yet.
struct Incoming {
    listener: TcpListener,
    failures: Repeats<()>,
    waiting: FuturesUnordered<BoxFuture<'static, Option<TcpStream>>>,
    notices: mpsc::Sender<DeathNotice>,
}

/// Accepts connections for as long as it is polled. Neither a connection that failed nor a lack of descriptors or memory
/// ends it: the gRPC server would stop serving other nodes at the first such error. A connection that brings a notice of
/// a death is not passed on; its notice goes to `notices`.
pub(in crate::cluster) fn incoming(
    listener: TcpListener,
    notices: mpsc::Sender<DeathNotice>,
) -> impl Stream<Item = io::Result<TcpStream>> + Send + 'static {
    let incoming = Incoming {
        listener,
        failures: Repeats::new(WARNING_PERIOD, 1),
        waiting: FuturesUnordered::new(),
        notices,
    };
    unfold(incoming, |mut incoming| async move {
        let stream = incoming.next().await;
        Some((Ok(stream), incoming))
    })
}

impl Incoming {
    /// The next connection that calls this node.
    async fn next(&mut self) -> TcpStream {
        loop {
            tokio::select! {
                Some(stream) = self.waiting.next(), if !self.waiting.is_empty() => if let Some(stream) = stream {
                    return stream;
                },
                (stream, _) = retry(|| self.listener.accept(), &mut self.failures),
                    if self.waiting.len() < MOST_WAITING =>
                {
                    if let Err(error) = stream.set_nodelay(true) {
                        debug!(%error, "a connection of another node keeps delaying small packets");
                    }
                    self.waiting.push(Box::pin(sorted(stream, self.notices.clone())));
                }
            }
        }
    }
}

/// The connection, unless it brings a notice or nothing.
async fn sorted(stream: TcpStream, notices: mpsc::Sender<DeathNotice>) -> Option<TcpStream> {
    let mut first = [0];
    let peeked = time::timeout(FIRST_BYTE_TIMEOUT, stream.peek(&mut first)).await;
    if peeked.ok()?.ok()? == 0 {
        return None;
    }
    if first != [FIRST_BYTE] {
        return Some(stream);
    }
    let notice = time::timeout(NOTICE_TIMEOUT, receive(stream))
        .await
        .ok()??;
    // A queue that is full is full of forgeries.
    let _ = notices.try_send(notice);
    None
}

/// Calls `accept` until it succeeds.
async fn retry<T, F>(mut accept: impl FnMut() -> F, failures: &mut Repeats<()>) -> T
where
    F: Future<Output = io::Result<T>>,
{
    loop {
        match accept().await {
            Ok(accepted) => return accepted,
            Err(error) if ends_one_connection(&error) => {}
            Err(error) => {
                if let Some(suppressed) = failures.occurred(&(), Instant::now()) {
                    let suppressed = (suppressed > 0).then_some(suppressed);
                    warn!(%error, suppressed, "cannot accept connections of other nodes");
                }
                time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Whether an error of `accept` concerns only the connection that was accepted.
fn ends_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_error_ends_it() {
        let mut results = [
            Err(Errno::MFILE),
            Err(Errno::NFILE),
            Err(Errno::NOBUFS),
            Err(Errno::NOMEM),
            Err(Errno::CONNABORTED),
            Ok("connection"),
        ]
        .into_iter();
        let accept = || {
            let result = results.next().unwrap();
            async move { result.map_err(io::Error::from) }
        };
        let mut failures = Repeats::new(WARNING_PERIOD, 1);
        let begun = time::Instant::now();
        assert_eq!(retry(accept, &mut failures).await, "connection");
        assert_eq!(
            begun.elapsed(),
            4 * ACCEPT_BACKOFF,
            "each lack is waited out"
        );
    }
}
