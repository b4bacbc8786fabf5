//! Opens what a node keeps and starts what keeps it, on a runtime of its own.

use std::{thread, time::Duration};

use tokio::{runtime, sync::oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    error::OpenError,
    handle::Handle,
    options::StoreOptions,
    running::RunningNode,
    storage::store::{OpenedStore, Store},
};

/// Threads of the engine's runtime: apart from everything else, so that a busy control plane holds up no
/// heartbeat.
const THREADS: usize = 2;

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

/// The threads behind a [`Handle`]. They end, soon, when this is dropped; [`Log::stop`] waits for them.
#[derive(Debug)]
pub struct Log {
    stop: DropGuard,
    ended: oneshot::Receiver<()>,
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

/// Opens the store, verifies and reads it, and starts what keeps it: founds a cluster, joins one, or goes on in
/// the one it belongs to. Blocks: milliseconds where there are no other nodes.
pub fn open(options: StoreOptions) -> Result<Opened, OpenError> {
    let store = options.data_dir.as_deref().map(Store::open).transpose()?;
    open_store(options, store)
}

/// [`open`] with a store that is open.
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
            run(options, store, &token, &started);
            // Nobody waits when the log was dropped.
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
        // Once the node has stopped, nothing of it is left but what its callers hold.
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
    // What is left waits for nothing that matters.
    runtime.shutdown_timeout(Duration::from_millis(500));
}
