//! Threads: whether there can be as many as a node needs, and work on a thread of its own.
//!
//! A runtime panics, or waits for ever, when the system gives it no thread. So the start checks that there are enough.

use std::{
    fs, io,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

/// How long the system may take to forget threads that have ended.
const FORGOTTEN: Duration = Duration::from_secs(1);

/// Why work cannot be done on a thread of its own.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    /// The system gives no thread.
    #[error("cannot start a thread: raise the limit of processes (ulimit -u, TasksMax)")]
    Start(#[source] io::Error),
    /// The thread panicked, which the panic hook reported.
    #[error("the thread {0} has panicked")]
    Panicked(&'static str),
}

/// Checks that the system gives `count` more threads, by starting as many for a moment.
///
/// # Errors
/// It does not.
pub fn check(count: usize) -> Result<(), ThreadError> {
    let before = running();
    let mut started = Vec::new();
    let mut refused = None;
    for _ in 0..count {
        let (end, ended) = mpsc::channel::<()>();
        let thread = thread::Builder::new().name("weldr-check".to_owned());
        match thread.spawn(move || {
            // The end of the sender is the word to end.
            let _ = ended.recv();
        }) {
            Ok(thread) => started.push((thread, end)),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    for (thread, end) in started {
        drop(end);
        // It does nothing that could panic.
        let _ = thread.join();
    }
    // The limit counts a thread for a moment after it was joined.
    let deadline = Instant::now() + FORGOTTEN;
    while running() > before && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    refused.map_or(Ok(()), |error| Err(ThreadError::Start(error)))
}

/// How many threads the process has; 0 where that is not known.
fn running() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Runs blocking `work` on a thread named `name`. Dropping the future does not end the thread.
///
/// # Errors
/// There is no thread, or it panicked.
pub async fn run<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ThreadError> {
    let (done, result) = oneshot::channel();
    thread::Builder::new()
        .name(name.to_owned())
        // The caller may have given up.
        .spawn(move || drop(done.send(work())))
        .map_err(ThreadError::Start)?;
    result.await.map_err(|_| ThreadError::Panicked(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_a_check_are_gone_when_it_returns() {
        let checked = |name: &str| {
            let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
            let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
            names.filter(|found| found.trim() == name).count()
        };
        check(50).unwrap();
        assert_eq!(checked("weldr-check"), 0);
    }

    #[tokio::test]
    async fn work_gives_its_result_and_a_panic_is_an_error() {
        assert_eq!(run("adds", || 1 + 1).await.unwrap(), 2);
        let panicked = run("panics", || panic!("by intent")).await;
        assert!(matches!(panicked, Err(ThreadError::Panicked("panics"))));
    }
}
