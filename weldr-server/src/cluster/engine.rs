//! Starts the consensus engine on a runtime of its own, keeps it running, and stops it.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64},
    },
    thread,
    time::Duration,
};

use openraft::{Config, async_runtime::watch::WatchReceiver as _};
use tokio::{
    runtime,
    sync::{oneshot, watch},
    time::{self, Instant},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tonic::transport::{Server, server::TcpIncoming};
use tracing::{error, info, warn};
use uuid::Uuid;
use weldr_proto::raft::v1::raft_server::RaftServer;

use crate::model::PoolSettings;

use super::{
    core::{Core, Role},
    disk::Disk,
    error::OpenError,
    handle::Handle,
    kept::{Change, Identity, Kept},
    lease,
    log_store::LogStore,
    membership,
    network::Network,
    peers::{LONGEST_MESSAGE, Peers},
    security::{self, Secret, Tls, TlsFiles},
    service::{Guard, Service},
    state_machine::StateMachine,
    store::{OpenedStore, Store},
    tuning::settings,
    types::{Member, Order, Raft, Record},
};

/// Threads of the engine's runtime: apart from everything else, so that a busy control plane holds up no
/// heartbeat.
const THREADS: usize = 2;
/// Between two attempts to use a disk that failed.
const DISK_PAUSE: Duration = Duration::from_millis(100);
/// How long a start waits for what must be there before it can serve.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How long orders that are under way may take when the node stops.
const LAST_ORDERS: Duration = Duration::from_secs(2);

/// What a node is told of its cluster.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// Created where it is missing; `None` keeps nothing on disk.
    pub data_dir: Option<PathBuf>,
    /// The settings of the default pool when the cluster is new.
    pub initial: PoolSettings,
    /// What operators call the node.
    pub name: String,
    /// How it meets other nodes; `None`: it is alone.
    pub network: Option<NetworkOptions>,
}

/// How a node meets others.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Where it listens for them.
    pub listen: SocketAddr,
    /// Where they reach it; `None`: where it listens.
    pub advertise: Option<SocketAddr>,
    /// Who lets it join; empty: it founds a cluster.
    pub join: Vec<SocketAddr>,
    /// The file of the shared secret.
    pub secret_file: Option<PathBuf>,
    /// Certificates.
    pub tls: Option<TlsFiles>,
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
    let ended_early = || OpenError::Engine("its thread ended".to_owned());
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
        match Running::start(options, store).await {
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

/// A node at work.
struct Running {
    core: Arc<Core>,
    tasks: TaskTracker,
    is_new: bool,
}

/// The listener of the other nodes, and how they know it.
struct Door {
    listener: TcpListener,
    address: SocketAddr,
}

impl Running {
    async fn start(options: StoreOptions, store: Option<OpenedStore>) -> Result<Self, OpenError> {
        let (kept, store) = match store {
            Some(OpenedStore { store, kept, .. }) => (kept, Some(store)),
            None => (Kept::new(Identity::random()), None),
        };
        let network = options.network.as_ref().map(listen).transpose()?;
        let peers = peers(&kept.identity, options.network.as_ref())?;
        let member = Member {
            name: options.name.clone(),
            address: network
                .as_ref()
                .map(|network| network.address.to_string())
                .unwrap_or_default(),
        };
        let disk = match store {
            Some(store) => Some(Disk::start(store, kept.clone())?),
            None => None,
        };
        let log = LogStore::new(kept, disk);
        let begun = Self::begin(&options, network, peers, member, log.clone()).await;
        if begun.is_err()
            && let Some(disk) = log.disk()
        {
            disk.close().await;
        }
        begun
    }

    async fn begin(
        options: &StoreOptions,
        network: Option<Door>,
        peers: Peers,
        member: Member,
        log: LogStore,
    ) -> Result<Self, OpenError> {
        let join = options.network.as_ref().map(|network| &network.join[..]);
        let identity = belong(&log, &peers, &member, join.unwrap_or_default()).await?;
        // The state machine ends with the engine, not before the last orders are answered.
        let machine = StateMachine::new(log.clone(), CancellationToken::new());
        let core = Arc::new(Core {
            member,
            raft: watch::Sender::new(None),
            machine,
            log,
            peers,
            lease: watch::Sender::new(None),
            leaving: AtomicBool::new(false),
            withheld: AtomicBool::new(false),
            handing_over: tokio::sync::Mutex::default(),
            tenant: Mutex::default(),
            handed_over: AtomicU64::new(0),
            role: Mutex::new(Role {
                state: openraft::ServerState::Learner,
                since: Instant::now(),
            }),
            reporter: Mutex::default(),
            verdicts: Mutex::default(),
            under_way: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        let mut running = Self {
            core,
            tasks: TaskTracker::new(),
            is_new: false,
        };
        let begun = async {
            running.core.start_engine().await?;
            running.serve(network, options.network.as_ref())?;
            running.spawn_tasks();
            running.settle(identity, &options.initial).await
        };
        match begun.await {
            Ok(is_new) => {
                running.is_new = is_new;
                Ok(running)
            }
            Err(error) => {
                running.core.stop.cancel();
                running.stop().await;
                Err(error)
            }
        }
    }

    /// Serves the other nodes.
    fn serve(
        &self,
        network: Option<Door>,
        options: Option<&NetworkOptions>,
    ) -> Result<(), OpenError> {
        let (Some(network), Some(options)) = (network, options) else {
            return Ok(());
        };
        let refused = |source| OpenError::Listen {
            address: options.listen,
            source,
        };
        network.listener.set_nonblocking(true).map_err(refused)?;
        let listener = tokio::net::TcpListener::from_std(network.listener).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let core = &self.core;
        let service = RaftServer::new(Service(Arc::clone(core)))
            .max_decoding_message_size(LONGEST_MESSAGE)
            .max_encoding_message_size(LONGEST_MESSAGE);
        let guard = Guard::new(core.peers.clone());
        let mut builder = Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(5)))
            .http2_keepalive_timeout(Some(Duration::from_secs(5)));
        if let Some(tls) = core.peers.tls() {
            builder = builder
                .tls_config(tls.server.clone())
                .map_err(OpenError::Tls)?;
        }
        let router = builder.add_service(tonic::service::interceptor::InterceptedService::new(
            service, guard,
        ));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let stop = core.stop.clone();
        let cluster = core.peers.cluster().map(tracing::field::display);
        info!(%address, cluster, tls = core.peers.tls().is_some(), "cluster listening");
        self.tasks.spawn(async move {
            // Connections of other nodes do not end by themselves.
            let served = router.serve_with_incoming(incoming);
            if let Some(Err(error)) = stop.run_until_cancelled(served).await {
                error!(%error, "the other nodes are not served any more");
            }
        });
        Ok(())
    }

    fn spawn_tasks(&self) {
        let core = &self.core;
        self.tasks.spawn(supervise(Arc::clone(core)));
        self.tasks.spawn(lease::watch(Arc::clone(core)));
        if !core.member.address.is_empty() {
            self.tasks.spawn(membership::promote(Arc::clone(core)));
        }
        self.tasks.spawn(membership::announce(Arc::clone(core)));
    }

    /// Waits until there is a state to serve; says whether it is new.
    async fn settle(&self, identity: Identity, initial: &PoolSettings) -> Result<bool, OpenError> {
        let core = &self.core;
        let failed = |error: &dyn std::fmt::Display| OpenError::Engine(error.to_string());
        let raft = core.raft().ok_or_else(|| failed(&"it has ended"))?;
        let is_initialized = raft.is_initialized().await;
        if identity.founder && !is_initialized.map_err(|error| failed(&error))? {
            let alone = [(core.me(), core.member.clone())];
            let founded = raft
                .initialize(std::collections::BTreeMap::from(alone))
                .await;
            founded.map_err(|error| failed(&error))?;
        }
        let alone = core
            .metrics()
            .is_some_and(|metrics| metrics.membership_config.voter_ids().eq([core.me()]));
        if alone {
            // Nobody else can be elected, so there is nothing to wait for.
            let elected = raft.trigger().elect(false).await;
            elected.map_err(|error| failed(&error))?;
            let mut stopped = core.machine.stopped();
            tokio::select! {
                applied = raft.wait_for_recovery(Some(START_PATIENCE)) => {
                    applied.map_err(|error| failed(&error))?;
                }
                // It serves what it has.
                _ = stopped.wait_for(Option::is_some) => {}
            }
        }
        if core.machine.has_begun() {
            return Ok(false);
        }
        if identity.founder {
            let settings = initial.clone();
            let record = Record::of(&Order::Begin { settings });
            let begun = core.submit(record).await;
            begun.map_err(|failed| OpenError::Begin(failed.into()))?;
            return Ok(true);
        }
        self.caught_up().await.map(|()| false)
    }

    /// A node that has joined waits until it knows the pool and has a vote.
    async fn caught_up(&self) -> Result<(), OpenError> {
        let core = &self.core;
        let deadline = Instant::now() + START_PATIENCE;
        while Instant::now() < deadline {
            let votes = core.metrics().is_some_and(|metrics| {
                let mut voters = metrics.committed_membership_config.voter_ids();
                voters.any(|id| id == core.me())
            });
            if votes && core.machine.has_begun() {
                return Ok(());
            }
            time::sleep(Duration::from_millis(5)).await;
        }
        Err(OpenError::NotCaughtUp(START_PATIENCE))
    }

    async fn stop(self) {
        let core = &self.core;
        core.under_way.close();
        if time::timeout(LAST_ORDERS, core.under_way.wait())
            .await
            .is_err()
        {
            warn!("orders that are under way are not waited for");
        }
        core.stop.cancel();
        core.machine.stop();
        let raft = core.raft.send_replace(None);
        if let Some(raft) = raft {
            // An error is an engine that ended by a panic, which has been reported.
            let _ = raft.shutdown().await;
        }
        self.tasks.close();
        if time::timeout(LAST_ORDERS, self.tasks.wait()).await.is_err() {
            warn!("tasks of the cluster are not waited for");
        }
        if let Some(disk) = core.log.disk() {
            disk.close().await;
        }
    }
}

impl Core {
    /// Starts the engine on what is kept.
    async fn start_engine(&self) -> Result<(), OpenError> {
        let failed = |error: &dyn std::fmt::Display| OpenError::Engine(error.to_string());
        let is_alone = self.member.address.is_empty();
        let settings = settings(is_alone).map_err(|error| failed(&error))?;
        let config = Config {
            enable_elect: !self.log.has_committed_unknown(),
            ..settings
        };
        let network = Network(self.peers.clone());
        let (log, machine) = (self.log.clone(), self.machine.clone());
        let raft = Raft::new(self.me(), Arc::new(config), network, log, machine).await;
        self.raft
            .send_replace(Some(raft.map_err(|error| failed(&error))?));
        Ok(())
    }
}

fn listen(options: &NetworkOptions) -> Result<Door, OpenError> {
    let refused = |source| OpenError::Listen {
        address: options.listen,
        source,
    };
    let listener = TcpListener::bind(options.listen).map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    let address = options.advertise.unwrap_or(bound);
    Ok(Door { listener, address })
}

fn peers(identity: &Identity, options: Option<&NetworkOptions>) -> Result<Peers, OpenError> {
    let secret = options.and_then(|options| options.secret_file.as_ref());
    let secret = secret.map(security::read).transpose()?.unwrap_or_default();
    let tls = options.and_then(|options| options.tls.as_ref());
    let tls = tls.map(Tls::load).transpose()?;
    let from = options.map(|options| options.listen.ip());
    let from = from.filter(|from: &IpAddr| !from.is_unspecified());
    let (me, cluster) = (identity.node, identity.cluster);
    Ok(Peers::new(me, cluster, Secret::new(&secret), tls, from))
}

/// Founds a cluster or joins one, unless the node belongs to one already.
async fn belong(
    log: &LogStore,
    peers: &Peers,
    member: &Member,
    join: &[SocketAddr],
) -> Result<Identity, OpenError> {
    let mut identity = log.kept().identity;
    if identity.cluster.is_some() {
        return Ok(identity);
    }
    identity.founder = join.is_empty();
    let cluster = if identity.founder {
        Uuid::new_v4()
    } else {
        membership::join(peers, member, join).await?
    };
    identity.cluster = Some(cluster);
    let kept = log.change_durably(Change::Identity(identity)).await;
    kept.map_err(|error| OpenError::Engine(error.to_string()))?;
    peers.belongs_to(cluster);
    Ok(identity)
}

/// Starts the engine again when its disk has failed and works again; until the node stops.
async fn supervise(core: Arc<Core>) {
    while core
        .stop
        .run_until_cancelled(engine_end(&core))
        .await
        .is_some()
    {
        let ended = core.raft.send_replace(None);
        if let Some(raft) = ended {
            let _ = raft.shutdown().await;
        }
        loop {
            match core.restart().await {
                Ok(()) => break,
                Err(error) => tracing::debug!(%error, "the engine cannot start yet"),
            }
            let pause = time::sleep(DISK_PAUSE);
            if core.stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }
}

/// Returns when the engine has ended by an error.
async fn engine_end(core: &Core) {
    let Some(raft) = core.raft.borrow().clone() else {
        return;
    };
    let mut metrics = raft.metrics();
    loop {
        if let Err(fatal) = &metrics.borrow_watched().running_state {
            tracing::debug!(error = %fatal, "the engine has ended");
            return;
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

impl Core {
    async fn restart(&self) -> Result<(), OpenError> {
        if let Some(disk) = self.log.disk() {
            let kept = disk.recover().await;
            let kept = kept.map_err(|error| OpenError::Engine(error.to_string()))?;
            *self.log.kept() = kept;
        }
        self.start_engine().await?;
        let alone = self
            .metrics()
            .is_some_and(|metrics| self.is_alone(&metrics));
        if let Some(raft) = self.raft().filter(|_| alone) {
            let _ = raft.trigger().elect(false).await;
        }
        Ok(())
    }
}
