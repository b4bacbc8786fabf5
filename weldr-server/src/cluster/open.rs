//! Opens the storage of a node and starts the node on a runtime of its own.

use std::{thread, time::Duration};

use tokio::{runtime, sync::oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::priority;

use super::{
    error::OpenError,
    handle::Handle,
    options::StoreOptions,
    running::RunningNode,
    storage::store::{OpenedStore, Store},
};

/// Threads of the engine's runtime. It is separate from the control plane's runtime, so that a busy control plane does
/// not delay heartbeats.
const THREADS: usize = 2;

/// A started node.
#[derive(Debug)]
pub struct Opened {
    /// Proposes commands and watches the state.
    pub handle: Handle,
    /// Stops the node.
    pub log: Log,
    /// Whether this node founded a new cluster just now. If so, the caller adds the servers that the configuration
    /// names.
    pub is_new: bool,
}

/// Owner of the threads behind a [`Handle`]. Dropping it stops them soon after; [`Log::stop`] waits for them.
#[derive(Debug)]
pub struct Log {
    stop: DropGuard,
    ended: oneshot::Receiver<()>,
}

impl Log {
    /// Refuses new proposals, finishes those that were accepted, closes the database, and returns when that is done.
    /// Later proposals fail with `ShuttingDown`; the last state can still be read.
    pub async fn stop(self) {
        drop(self.stop);
        // An error means that the thread panicked, which the panic hook reported.
        let _ = self.ended.await;
    }
}

/// Opens and verifies the store, then founds a cluster, joins one, or continues in the cluster that the node belongs
/// to. Blocking: takes milliseconds for a node without others.
pub fn open(options: StoreOptions) -> Result<Opened, OpenError> {
    let store = options.data_dir.as_deref().map(Store::open).transpose()?;
    open_store(options, store)
}

/// [`open`] with a store that is already open.
pub(super) fn open_store(
    options: StoreOptions,
    store: Option<OpenedStore>,
) -> Result<Opened, OpenError> {
    let (stop, (end, ended)) = (CancellationToken::new(), oneshot::channel());
    let (started, start) = std::sync::mpsc::sync_channel(1);
    let token = stop.clone();
    let guard = stop.drop_guard();
    thread::Builder::new()
        .name("weldr-cluster".to_owned())
        .spawn(move || {
            // A node that sends its heartbeats late loses its addresses. All threads of the cluster inherit this.
            if options.network.is_some() {
                priority::raise();
            }
            run(options, store, &token, &started);
            // The receiver is gone if the `Log` was dropped.
            let _ = end.send(());
        })
        .map_err(OpenError::Thread)?;
    let ended_early = || OpenError::engine("its thread ended");
    let (handle, is_new) = start.recv().map_err(|_| ended_early())??;
    let log = Log { stop: guard, ended };
    Ok(Opened {
        handle,
        log,
        is_new,
    })
}

type Started = Result<(Handle, bool), OpenError>;

fn run(
    options: StoreOptions,
    store: Option<OpenedStore>,
    stop: &CancellationToken,
    started: &std::sync::mpsc::SyncSender<Started>,
) {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("weldr-raft")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(OpenError::Thread(error)));
            return;
        }
    };
    runtime.block_on(async {
        // The node's parts are dropped when it has stopped; only handles of callers remain.
        match RunningNode::start(options, store).await {
            Ok(running) => {
                let handle = Handle::new(&running.core, runtime::Handle::current());
                let told = started.send(Ok((handle, running.is_new)));
                if told.is_ok() {
                    stop.cancelled().await;
                }
                running.stop().await;
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    });
    // Tasks that are still running have nothing left to save.
    runtime.shutdown_timeout(Duration::from_millis(500));
}
