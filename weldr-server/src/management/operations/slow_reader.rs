//! A stream whose reader takes nothing for too long ends with an error that says so, and what it kept is freed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc::{self, error::SendTimeoutError};

use crate::management::error::Error;

use super::ResponseStream;

/// How long a message may wait for its reader, after the buffers of the connection are full.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// The stream, which ends when a message has waited for its reader for `patience`.
pub(super) fn ended_when_slow<T: Send + 'static>(
    mut messages: ResponseStream<T>,
    patience: Duration,
) -> ResponseStream<T> {
    let (send, receive) = mpsc::channel(1);
    let is_slow = Arc::new(AtomicBool::new(false));
    let slow = Arc::clone(&is_slow);
    tokio::spawn(async move {
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                () = send.closed() => return,
            };
            let Some(message) = message else { return };
            match send.send_timeout(message, patience).await {
                Ok(()) => {}
                Err(SendTimeoutError::Closed(_)) => return,
                Err(SendTimeoutError::Timeout(_)) => {
                    slow.store(true, Relaxed);
                    return;
                }
            }
        }
    });
    Box::pin(stream::unfold(
        (receive, is_slow),
        move |(mut receive, is_slow)| async move {
            if let Some(message) = receive.recv().await {
                return Some((message, (receive, is_slow)));
            }
            let is_slow_now = is_slow.swap(false, Relaxed);
            is_slow_now.then(|| (Err(Error::SlowReader { patience }), (receive, is_slow)))
        },
    ))
}

#[cfg(test)]
mod tests {
    use tokio::time;

    use super::*;

    fn numbers() -> ResponseStream<u64> {
        Box::pin(stream::iter(0..).map(Ok))
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_told_why_its_stream_ends() {
        let mut stream = ended_when_slow(numbers(), PATIENCE);
        for n in 0..10 {
            time::sleep(PATIENCE * 9 / 10).await;
            assert_eq!(stream.next().await.unwrap().unwrap(), n);
        }
        time::sleep(PATIENCE + Duration::from_secs(1)).await;
        assert_eq!(stream.next().await.unwrap().unwrap(), 10, "it was sent");
        let ended = stream.next().await.unwrap().unwrap_err();
        assert!(matches!(ended, Error::SlowReader { .. }), "{ended:?}");
        assert!(stream.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_by_itself_ends_without_an_error() {
        let short: ResponseStream<u64> = Box::pin(stream::iter([Ok(1)]));
        let mut stream = ended_when_slow(short, PATIENCE);
        assert_eq!(stream.next().await.unwrap().unwrap(), 1);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_gone_frees_the_source() {
        let (held, mut dropped) = mpsc::channel::<()>(1);
        let source: ResponseStream<u64> = Box::pin(stream::unfold(held, |held| async move {
            std::future::pending::<()>().await;
            Some((Ok(0), held))
        }));
        drop(ended_when_slow(source, PATIENCE));
        assert_eq!(dropped.recv().await, None);
    }
}
