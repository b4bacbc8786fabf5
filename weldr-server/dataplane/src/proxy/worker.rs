//! A thread of the data path: its runtime, its tasks, and how it stops.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::{Builder, LocalOptions},
    sync::{mpsc, watch},
    task::{JoinSet, spawn_local},
    time,
};

use crate::{
    clock::within,
    liveness::Tick,
    model::ListenerName,
    snapshot::{ListenerView, Snapshots},
};
use tokio_util::sync::CancellationToken;

use super::{
    access_log::{self, AccessLogEnd, AccessLogError, AccessLogWriter},
    binder::{Binder, MOST_WAITING, OpenListener},
    context::{SharedLimits, WorkerContext, WorkerParts},
    drain::Drain,
    listener::{self, Listeners, ListeningSocket, Security},
    served_listener::ServedListener,
};

/// How long a draining worker still serves requests on connections that were idle. A client that sends a request just
/// then learns from the response that the connection closes, not from a reset.
const LAME_DUCK: Duration = Duration::from_millis(200);
/// How often unused connections and memory are freed.
const SWEEP: Duration = Duration::from_secs(1);

/// Ready sockets that the runtime handles before it asks the kernel for more. A larger number makes batches of writes
/// more effective; a smaller one keeps the state of the first connection in the caches until its batch is written.
const SOCKETS_PER_POLL: u32 = 64;
/// Polls of tasks before the runtime asks the kernel for ready sockets: enough for all that one call made ready.
const TASK_POLLS_PER_POLL: u32 = 4 * SOCKETS_PER_POLL;

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<thread::JoinHandle<()>>,
    /// The way of a listener that is opened at run time to each worker.
    openers: Vec<mpsc::Sender<OpenListener>>,
    access_log: Option<AccessLogWriter>,
    stop_timeout: Duration,
    /// Closed when the last thread has ended.
    alive: watch::Receiver<()>,
}

/// Why the workers cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum WorkersError {
    /// The system cannot start a thread for a worker.
    #[error("cannot start a thread: raise the limit of processes (ulimit -u, TasksMax)")]
    Thread(#[source] io::Error),
    /// The access log cannot be written.
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
}

impl Workers {
    /// Starts a worker for each set of `listeners`.
    pub fn start(listeners: Listeners, parts: &WorkerParts) -> Result<Self, WorkersError> {
        let access_log = AccessLogWriter::open(&parts.access_log)?;
        let limits = SharedLimits::new(parts, listeners.workers.len());
        let (alive_sender, alive) = watch::channel(());
        let alive_sender = Arc::new(alive_sender);
        let mut openers = Vec::new();
        let start = |(index, sockets): (usize, Vec<ListeningSocket>)| {
            let (sender, opened) = mpsc::channel(MOST_WAITING);
            openers.push(sender);
            let (parts, limits) = (parts.clone(), limits.clone());
            let alive_sender = Arc::clone(&alive_sender);
            let log = access_log.as_ref().map(AccessLogWriter::log);
            let tick = parts.tasks.register(format!("worker {index}"));
            thread::Builder::new()
                .name(format!("weldr-worker-{index}"))
                .spawn(move || {
                    let _alive = alive_sender;
                    let _end = tick.end();
                    let runtime = Builder::new_current_thread()
                        .enable_all()
                        .max_io_events_per_tick(SOCKETS_PER_POLL as usize)
                        .event_interval(TASK_POLLS_PER_POLL)
                        .build_local(LocalOptions::default());
                    let ran = runtime.and_then(|runtime| {
                        let tick = tick.clone();
                        let sockets = Sockets {
                            first: sockets,
                            opened,
                        };
                        runtime.block_on(run(index, sockets, parts, limits, log, tick))
                    });
                    if let Err(error) = ran {
                        tracing::error!(%error, worker = index, "a worker cannot start");
                    }
                })
        };
        let threads = listeners
            .workers
            .into_iter()
            .enumerate()
            .map(start)
            .collect::<io::Result<_>>()
            .map_err(WorkersError::Thread)?;
        Ok(Self {
            threads,
            openers,
            access_log,
            stop_timeout: parts.stop_timeout,
            alive,
        })
    }

    /// What opens and closes listeners at run time, as `snapshots` say. `addresses`: those that listeners have on this node
    /// instead of their own. `most`: how many listeners may be open at once besides the default one.
    pub fn binder(
        &self,
        snapshots: Snapshots,
        addresses: BTreeMap<ListenerName, SocketAddr>,
        most: usize,
    ) -> Binder {
        Binder::new(snapshots, addresses, most, self.openers.clone())
    }

    /// Returns when all workers have ended, for any reason.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut alive = self.alive.clone();
        async move { while alive.changed().await.is_ok() {} }
    }

    /// Opens the file of the access log again, if there is one.
    pub fn reopen_access_log(&self) {
        if let Some(access_log) = &self.access_log {
            access_log.reopen();
        }
    }

    /// Blocks until every worker has finished; they do after [`WorkerParts::stop`] is cancelled, from which on the
    /// shutdown timeout counts.
    pub fn join(self) {
        let begun = Instant::now();
        for worker in self.threads {
            if worker.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
        if let Some(access_log) = self.access_log {
            access_log.join(begun, self.stop_timeout);
        }
    }
}

/// The listening sockets of a worker.
struct Sockets {
    /// Those of the default listener.
    first: Vec<ListeningSocket>,
    /// Those that are opened at run time.
    opened: mpsc::Receiver<OpenListener>,
}

async fn run(
    index: usize,
    sockets: Sockets,
    parts: WorkerParts,
    limits: SharedLimits,
    access_log: Option<AccessLogEnd>,
    tick: Tick,
) -> io::Result<()> {
    let context = Rc::new(WorkerContext::new(index, &parts, limits, access_log));
    let mut acceptors = JoinSet::new();
    let Sockets { first, mut opened } = sockets;
    if let (Some(view), changes) = context.listener_view(&ListenerName::default()) {
        let served = ServedListener::new(Rc::clone(&context), (view, changes), false);
        for ListeningSocket { socket, security } in first {
            let listener = watched(socket)?;
            let never = CancellationToken::new();
            let accept = listener::accept(Rc::clone(&served), listener, security, never);
            acceptors.spawn_local(tick.watch(accept));
        }
    }
    let deadlines = Rc::clone(&context.deadlines);
    spawn_local(tick.watch(async move { deadlines.run().await }));
    let follow = follow_snapshots(Rc::clone(&context), parts.snapshots);
    spawn_local(tick.watch(follow));
    spawn_local(tick.watch(sweep(Rc::clone(&context), tick.clone())));
    spawn_local(tick.watch(yield_to_others(Rc::clone(&context))));
    spawn_local(follow_hand_over(Rc::clone(&context)));
    if context.access_log.is_some() {
        spawn_local(tick.watch(flush_access_log(Rc::clone(&context))));
    }
    let timeout = parts.stop_timeout;
    loop {
        tokio::select! {
            () = context.stop.cancelled() => break,
            Some(open) = opened.recv() => {
                if let Some(serve) = serve_listener(&context, open, timeout) {
                    acceptors.spawn_local(serve);
                }
            }
            Some(_) = acceptors.join_next(), if !acceptors.is_empty() => {}
        }
    }
    let (finished, _) = within(parts.stop_timeout, finish(&context, acceptors)).await;
    if finished.is_none() {
        tracing::warn!(
            worker = index,
            open = context.admission.open(),
            "connections are cut: the shutdown timeout is over"
        );
    }
    Ok(())
}

#[expect(
    deprecated,
    reason = "the objection is to types whose descriptor changes; that of a listener does not"
)]
fn watched(socket: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// Serves a listener that was opened at run time until it is closed, and then its connections for as long as its removal says,
/// or for at most `timeout`.
fn serve_listener(
    context: &Rc<WorkerContext>,
    open: OpenListener,
    timeout: Duration,
) -> Option<impl Future<Output = ()> + use<>> {
    let OpenListener {
        view,
        socket,
        close,
    } = open;
    let socket = match watched(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(listener = %view.name(), %error, "a worker cannot serve a listener");
            return None;
        }
    };
    let (newest, changes) = context.listener_view(view.name());
    let newest: Arc<ListenerView> = newest.unwrap_or(view);
    let name = newest.name().clone();
    let context = Rc::clone(context);
    let served = ServedListener::new(Rc::clone(&context), (newest, changes), true);
    Some(async move {
        listener::accept(Rc::clone(&served), socket, Security::OfListener, close).await;
        let timeout = context.drain_deadline(&name).unwrap_or(timeout);
        served.set_drain(Drain::Closing);
        if within(timeout, served.all_closed()).await.0.is_none() {
            let open = served.open();
            tracing::warn!(
                open,
                "connections of a closed listener are reset: its drain is over"
            );
            served.set_drain(Drain::Resetting);
            served.all_closed().await;
        }
    })
}

/// Drains: closes the clients' connections, and returns when all are closed.
async fn finish(context: &WorkerContext, mut acceptors: JoinSet<()>) {
    context.set_drain(Drain::LameDuck);
    while acceptors.join_next().await.is_some() {}
    // Ends early when no client is connected.
    let _ = time::timeout(LAME_DUCK, context.admission.all_closed()).await;
    context.set_drain(Drain::Closing);
    context.admission.all_closed().await;
}

/// Acknowledges each snapshot, also while no request comes.
async fn follow_snapshots(context: Rc<WorkerContext>, snapshots: Snapshots) {
    let mut published = snapshots.subscribe();
    let mut removals = None;
    loop {
        let snapshot = context.acknowledge_snapshot();
        if removals.replace(snapshot.removals) != Some(snapshot.removals) {
            context.leave_removed_servers(&snapshot);
        }
        drop(snapshot);
        if published.changed().await.is_err() {
            return; // The control plane has ended; the last snapshot goes on being served.
        }
    }
}

/// Closes the clients' connections to an address that moves to another machine. The worker goes on serving.
async fn follow_hand_over(context: Rc<WorkerContext>) {
    let mut hand_over = context.hand_over.clone();
    while hand_over.changed().await.is_ok() && !context.stop.is_cancelled() {
        let drain = Drain::from(*hand_over.borrow_and_update());
        context.set_drain(drain);
    }
}

/// Hands over the lines of the access log before they are old.
async fn flush_access_log(context: Rc<WorkerContext>) {
    while let Some(log) = &context.access_log {
        time::sleep(access_log::FLUSH).await;
        log.flush();
    }
}

/// Closes idle connections when other workers need room for new ones.
async fn yield_to_others(context: Rc<WorkerContext>) {
    tokio::join!(
        context.admission.yield_to_others(),
        context.yield_server_connections(),
        context.yield_full_servers(),
    );
}

async fn sweep(context: Rc<WorkerContext>, tick: Tick) {
    loop {
        time::sleep(SWEEP).await;
        tick.tick();
        context.sweep();
    }
}
