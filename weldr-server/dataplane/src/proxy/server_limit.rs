//! The limit of connections to all servers together, which all workers share.
//!
//! It keeps the data path from taking the file descriptors that other parts of the process need. Idle connections count
//! as well: when the limit is reached, a new connection takes the place of an idle one, also of another worker.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time,
};

/// The time after which an attempt that waits asks for an idle connection again.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(20);

/// The limit.
#[derive(Debug)]
pub(super) struct ServerLimit {
    permits: Arc<Semaphore>,
    /// For each worker: another one needs an idle connection of it closed.
    wanted: Box<[Notify]>,
    /// For each worker: requests of another one wait for a server that is full.
    waited_for: Box<[Notify]>,
}

impl ServerLimit {
    /// At most `connections` over all of `workers` workers.
    pub(super) fn new(connections: usize, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            wanted: (0..workers).map(|_| Notify::new()).collect(),
            waited_for: (0..workers).map(|_| Notify::new()).collect(),
        })
    }

    /// Room for one more connection, if there is any.
    pub(super) fn try_acquire(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// Waits for room, for which `close_idle` closes an idle connection of the worker `asking`, or says that it has none.
    pub(super) async fn acquire(
        &self,
        asking: usize,
        close_idle: impl Fn() -> bool,
    ) -> Option<OwnedSemaphorePermit> {
        let mut permit = pin!(Arc::clone(&self.permits).acquire_owned());
        loop {
            if !close_idle() {
                self.ask_others(asking);
            }
            if let Ok(permit) = time::timeout(ASK_AGAIN, permit.as_mut()).await {
                return permit.ok();
            }
        }
    }

    /// Asks all workers but `asking` to close an idle connection each.
    pub(super) fn ask_others(&self, asking: usize) {
        notify_others(&self.wanted, asking);
    }

    /// Asks all workers but `asking` to close an idle connection to each server that is full and waited for.
    pub(super) fn ask_others_for_full(&self, asking: usize) {
        notify_others(&self.waited_for, asking);
    }

    /// Returns when requests of another worker than `worker` wait for a server that is full.
    pub(super) async fn waited_for(&self, worker: usize) {
        self.waited_for[worker].notified().await;
    }

    /// Returns when another worker needs an idle connection of `worker` closed.
    pub(super) async fn wanted(&self, worker: usize) {
        self.wanted[worker].notified().await;
    }
}

fn notify_others(workers: &[Notify], asking: usize) {
    for (index, worker) in workers.iter().enumerate() {
        if index != asking {
            worker.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_makes_room() {
        let limit = ServerLimit::new(1, 1);
        let idle = RefCell::new(limit.try_acquire());
        assert!(idle.borrow().is_some() && limit.try_acquire().is_none());
        let close_idle = || idle.borrow_mut().take().is_some();
        assert!(limit.acquire(0, close_idle).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_of_another_worker_makes_room() {
        let limit = ServerLimit::new(1, 2);
        let idle = limit.try_acquire();
        let others = async {
            limit.wanted(1).await;
            drop(idle);
        };
        let (permit, ()) = tokio::join!(limit.acquire(0, || false), others);
        assert!(permit.is_some());
    }
}
