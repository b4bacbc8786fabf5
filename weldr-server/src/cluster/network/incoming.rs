//! The connections of other nodes, as they are accepted.

use std::{
    io,
    time::{Duration, Instant},
};

use futures_util::{Stream, stream::unfold};
use tokio::{
    net::{TcpListener, TcpStream},
    time,
};
use tracing::{debug, warn};

use crate::warnings::Repeats;

/// The time before the next `accept` after one failed for lack of a resource.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How often a warning about failures of `accept` is logged.
const WARNING_PERIOD: Duration = Duration::from_secs(10);

/// Accepts connections for as long as it is polled. Neither a connection that failed nor a lack of descriptors or memory
/// ends it: the gRPC server would stop serving other nodes at the first such error.
pub(in crate::cluster) fn incoming(
    listener: TcpListener,
) -> impl Stream<Item = io::Result<TcpStream>> + Send + 'static {
    let failures = Repeats::new(WARNING_PERIOD, 1);
    unfold(
        (listener, failures),
        |(listener, mut failures)| async move {
            let (stream, _) = retry(|| listener.accept(), &mut failures).await;
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "a connection of another node keeps delaying small packets");
            }
            Some((Ok(stream), (listener, failures)))
        },
    )
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
