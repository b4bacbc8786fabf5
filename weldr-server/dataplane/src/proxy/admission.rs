//! Admission of client connections: how many may be open, and who waits until all are closed.

use std::{cell::Cell, sync::Arc};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// The client connections of one worker, within the limit that all workers share.
#[derive(Debug)]
pub(super) struct Admission {
    permits: Arc<Semaphore>,
    open: Cell<usize>,
    all_closed: Notify,
}

impl Admission {
    /// `permits`: one for each connection that the process may have open.
    pub(super) fn new(permits: Arc<Semaphore>) -> Self {
        Self {
            permits,
            open: Cell::new(0),
            all_closed: Notify::new(),
        }
    }

    /// Waits until one more connection may be open. `None` when none may be any more.
    pub(super) async fn admit(&self) -> Option<OwnedSemaphorePermit> {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Err(TryAcquireError::NoPermits) => Arc::clone(&self.permits).acquire_owned().await.ok(),
            permit => permit.ok(),
        }
    }

    /// A connection is open from here on.
    pub(super) fn opened(&self) {
        self.open.set(self.open.get() + 1);
    }

    /// A connection has closed.
    pub(super) fn closed(&self) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.all_closed.notify_one();
        }
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> usize {
        self.open.get()
    }

    /// Returns when no connection is open.
    pub(super) async fn all_closed(&self) {
        while self.open.get() > 0 {
            self.all_closed.notified().await;
        }
    }
}
