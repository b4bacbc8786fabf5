//! The thread that applies proposals, writes what they change and publishes the result.

use std::{path::PathBuf, sync::Arc, thread};

use tokio::{
    runtime, select,
    sync::{mpsc, oneshot, watch},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::error;

use super::{
    batch::Batch,
    error::{OpenError, StoreError},
    handle::{Handle, Proposal, ProposeError},
    store::{OpenedStore, Store},
};
use crate::model::{DesiredState, PoolSettings};

/// How many proposals may wait; further ones wait at their callers, who give up after a while.
const MOST_WAITING: usize = 1024;

/// How many proposals share one transaction, and so one wait for the disk.
const MOST_IN_BATCH: usize = 256;

/// Where the desired state is kept, and how it begins.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// Created where it is missing; `None` keeps nothing on disk.
    pub data_dir: Option<PathBuf>,
    /// The settings of the default pool when the store is new.
    pub initial: PoolSettings,
}

/// A desired state that can be proposed to.
#[derive(Debug)]
pub struct Opened {
    /// Proposes and watches.
    pub handle: Handle,
    /// Ends it.
    pub log: Log,
    /// Whether there was nothing before: the moment to add the servers that are present from the start.
    pub is_new: bool,
}

/// The thread behind a [`Handle`]. It ends, soon, when this is dropped; [`Log::stop`] waits for it.
#[derive(Debug)]
pub struct Log {
    stop: DropGuard,
    ended: oneshot::Receiver<()>,
}

/// Opens the store, verifies and reads it, and starts the thread that serves proposals. Blocks on the
/// disk: milliseconds for thousands of servers.
pub fn open(options: StoreOptions) -> Result<Opened, OpenError> {
    let StoreOptions { data_dir, initial } = options;
    let (store, state, is_new) = match data_dir {
        None => (None, DesiredState::new(initial), true),
        Some(directory) => {
            let OpenedStore {
                store,
                state,
                is_new,
            } = Store::open(&directory, initial)?;
            (Some(store), state, is_new)
        }
    };
    let (handle, log) = start(store, state)?;
    Ok(Opened {
        handle,
        log,
        is_new,
    })
}

impl Log {
    /// Takes no further proposals, answers those that were taken, closes the database and returns when
    /// that is done. Later proposals find the node shutting down; the last state can still be read.
    pub async fn stop(self) {
        drop(self.stop);
        // An error is a thread that ended by a panic, which has been reported.
        let _ = self.ended.await;
    }
}

/// A thread of its own, because each commit blocks it until the disk has answered.
pub(super) fn start(store: Option<Store>, state: DesiredState) -> Result<(Handle, Log), OpenError> {
    let (proposals, waiting) = mpsc::channel(MOST_WAITING);
    let (published, watched) = watch::channel(Arc::new(state));
    let (end, ended) = oneshot::channel();
    let stop = CancellationToken::new();
    let writer = Writer { store, published };
    let stopped = stop.clone();
    let runtime = runtime::Builder::new_current_thread()
        .build()
        .map_err(OpenError::Thread)?;
    thread::Builder::new()
        .name("weldr-log".to_owned())
        .spawn(move || {
            runtime.block_on(writer.run(waiting, stopped));
            // Nobody waits when the log was dropped.
            let _ = end.send(());
        })
        .map_err(OpenError::Thread)?;
    let stop = stop.drop_guard();
    Ok((Handle::new(proposals, watched), Log { stop, ended }))
}

/// What the thread works with.
pub(super) struct Writer {
    /// `None`: nothing is kept on disk.
    pub(super) store: Option<Store>,
    /// Holds what is on disk, never more.
    pub(super) published: watch::Sender<Arc<DesiredState>>,
}

impl Writer {
    async fn run(mut self, mut waiting: mpsc::Receiver<Proposal>, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(MOST_IN_BATCH);
        loop {
            select! {
                biased;
                () = stop.cancelled(), if !waiting.is_closed() => waiting.close(),
                taken = waiting.recv_many(&mut batch, MOST_IN_BATCH) => {
                    if taken == 0 {
                        break;
                    }
                    self.answer(batch.drain(..));
                }
            }
        }
        if let Some(Err(failure)) = self.store.map(Store::close) {
            error!(
                error = &failure as &dyn std::error::Error,
                "the database was not closed cleanly"
            );
        }
    }

    /// Applies the proposals, makes the result durable, publishes it, and then answers: also those that
    /// were refused or changed nothing, because that may be due to a proposal beside them.
    pub(super) fn answer(&mut self, proposals: impl Iterator<Item = Proposal>) {
        let (commands, answers): (Vec<_>, Vec<_>) = proposals
            .map(|Proposal { command, answer }| (command, answer))
            .unzip();
        let before = Arc::clone(&self.published.borrow());
        let batch = Batch::apply(&before, commands);
        let failure = self.write(&before, &batch).err().map(Arc::new);
        if failure.is_none() && !batch.changes.is_empty() {
            self.published.send_replace(Arc::new(batch.after));
        }
        for (answer, outcome) in answers.into_iter().zip(batch.outcomes) {
            let result = match &failure {
                None => outcome.map_err(ProposeError::Rejected),
                Some(failure) => Err(ProposeError::NotDurable(Arc::clone(failure) as Arc<_>)),
            };
            // Whoever asked may have given up.
            let _ = answer.send(result);
        }
    }

    fn write(&mut self, before: &DesiredState, batch: &Batch) -> Result<(), StoreError> {
        match &mut self.store {
            Some(store) if !batch.changes.is_empty() => {
                store.write(before, &batch.after, &batch.changes)
            }
            _ => Ok(()),
        }
    }
}
