//! The composition root: builds the parts of a node, wires them, and stops them in order.

mod client_drain;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::{self, JoinHandle},
    time,
};
use tokio_util::sync::CancellationToken;
use weldr_proto::raft::v1::ServerReport;

use crate::{
    clock::dates,
    cluster::{
        self, ChangeError, Handle, Log, NetworkOptions, OpenError, Opened, ProposeError, Reporter,
        StoreOptions, TlsFiles,
    },
    config::{Config, ConfigError, MANAGEMENT_PORT, Storage},
    management::{self, Readiness},
    model::{Command, OwnAddresses, PoolName, PoolSettings, ServerSpec, Timestamp},
    policy::{HttpPolicy, Pseudonym},
    proxy::{self, BindError, HandOver, Listeners, Workers},
    reconcile::Reconciler,
    snapshot::{ServerView, Snapshots},
    stats::{ClientShard, Rates, Sharded, Totals},
    vip::{self, Vip},
};
use client_drain::{ClientDrain, is_here};

/// The interval at which rates are measured.
const RATE_SAMPLE: Duration = Duration::from_secs(1);
/// How long calls of the management API may take to end when the node stops.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// The pause between two attempts of a node without a data path to hand over the leadership.
const STEP_DOWN_PAUSE: Duration = Duration::from_secs(1);

/// A running node.
#[derive(Debug)]
pub struct Node {
    proxy_addresses: Vec<SocketAddr>,
    management_address: SocketAddr,
    snapshots: Snapshots,
    readiness: watch::Sender<Readiness>,
    stop_proxy: CancellationToken,
    stop_control: CancellationToken,
    workers: Workers,
    vip: Option<Vip>,
    serving: watch::Sender<bool>,
    management: JoinHandle<()>,
    reconciler: JoinHandle<()>,
    cluster: Handle,
    log: Log,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The pool cannot be read from disk.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A proxy address cannot be bound.
    #[error(transparent)]
    Listen(#[from] BindError),
    /// The management address cannot be bound.
    #[error(transparent)]
    Management(#[from] management::BindError),
    /// The data path cannot be started.
    #[error(transparent)]
    Workers(#[from] proxy::StartError),
    /// The virtual addresses cannot be managed.
    #[error(transparent)]
    Vip(#[from] vip::VipStartError),
    /// A configured server cannot be added.
    #[error("server {address} cannot be added")]
    Server {
        /// The server.
        address: SocketAddr,
        /// The reason.
        source: ProposeError,
    },
}

impl Node {
    /// Starts a node. It serves when this returns. Must be called inside a multi-threaded tokio runtime, which becomes
    /// the control plane's runtime.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.validate()?;
        let listeners = Listeners::bind(&config.listen, config.workers)?;
        let proxy_addresses = listeners.addresses().to_vec();
        let management = management::bind(config.management).await?;
        let management_address = management.address();
        let Opened {
            handle,
            log,
            is_new,
        } = open_store(&config).await?;
        if !is_new {
            warn_of_other_settings(&config.pool, &handle);
        }
        let own = own_addresses(&config, &proxy_addresses, management_address)?;
        let limits = (&config.limits).into();
        let (reconciler, snapshots) =
            Reconciler::start(&handle, config.workers, own.clone(), limits);
        let (stop_proxy, stop_control) = (CancellationToken::new(), CancellationToken::new());
        let reconciler = tokio::spawn(reconciler.run(stop_control.clone()));
        add_servers(&handle, &config.servers).await?;

        let clients: Arc<Sharded<ClientShard>> = Arc::new(Sharded::new(config.workers));
        let rates = measure_rates(&clients, &snapshots, &stop_control);
        let (hand_over, told) = watch::channel(HandOver::None);
        let (vip, serving) = hold_addresses(&config, &handle, hand_over, &clients).await?;

        let workers = start_proxy(
            &config,
            listeners,
            management_address,
            &snapshots,
            &clients,
            told,
            &stop_proxy,
        )?;
        log_listeners(&proxy_addresses, config.workers);
        serving.send_replace(true);
        let (readiness, told_readiness) = watch::channel(Readiness::Ready);
        let lost = leave_without_data_path(workers.ended(), serving.clone(), handle.clone());
        tokio::spawn(stop_proxy.clone().run_until_cancelled_owned(lost));
        let outdated = tell_outdated(handle.clone(), readiness.clone());
        tokio::spawn(stop_control.clone().run_until_cancelled_owned(outdated));
        handle.report_servers_with(reporter(snapshots.clone()));
        let parts = management::ManagementContext {
            cluster: handle.clone(),
            snapshots: snapshots.clone(),
            clients,
            rates,
            started_at: dates::now(),
            own,
        };
        let options = management::ServeOptions { rest: config.rest };
        let stop = stop_control.clone();
        let serve = management::serve(management, parts, options, stop, told_readiness);
        let management = tokio::spawn(serve);
        tracing::info!(address = %management_address, rest = config.rest, "management listening");
        Ok(Self {
            proxy_addresses,
            management_address,
            snapshots,
            readiness,
            stop_proxy,
            stop_control,
            workers,
            vip,
            serving,
            management,
            reconciler,
            cluster: handle,
            log,
        })
    }

    /// The addresses that it proxies on.
    pub fn proxy_addresses(&self) -> &[SocketAddr] {
        &self.proxy_addresses
    }

    /// The address of the management API.
    pub fn management_address(&self) -> SocketAddr {
        self.management_address
    }

    /// The snapshots that the data path uses.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Opens the file of the access log again, if there is one.
    pub fn reopen_logs(&self) {
        self.workers.reopen_access_log();
    }

    /// Stops the node, in this order:
    ///
    /// 1. The node is marked as not eligible to lead. If it leads and another node can, it drains the clients of its
    ///    virtual addresses, removes the addresses, and hands the leadership over.
    /// 2. The data path finishes running requests within the shutdown timeout. Addresses that no other node could take
    ///    stay until then.
    /// 3. The management API stops, and last the cluster, which closes the database.
    pub async fn shutdown(self) {
        self.readiness.send_replace(Readiness::Stopping);
        // First, so that another node leads before anything stops here, and none hands its leadership to this node.
        self.cluster.leave();
        if let Err(error) = self.cluster.step_down().await {
            tracing::warn!(%error, "the leadership is not handed over");
        }
        if !self.vip.as_ref().is_some_and(holds_an_address) {
            // No address is added any more. An address that could not be handed over stays for the running requests.
            self.serving.send_replace(false);
        }
        self.stop_proxy.cancel();
        let workers = self.workers;
        if task::spawn_blocking(|| workers.join()).await.is_err() {
            tracing::error!("waiting for the workers failed");
        }
        self.serving.send_replace(false);
        if let Some(vip) = self.vip {
            vip.stop().await;
        }
        self.stop_control.cancel();
        let control = async { tokio::join!(self.management, self.reconciler) };
        if time::timeout(LAST_CALLS, control).await.is_err() {
            tracing::warn!("running calls of the management API are aborted");
        }
        self.log.stop().await;
    }
}

fn start_proxy(
    config: &Config,
    listeners: Listeners,
    management: SocketAddr,
    snapshots: &Snapshots,
    clients: &Arc<Sharded<ClientShard>>,
    hand_over: watch::Receiver<HandOver>,
    stop: &CancellationToken,
) -> Result<Workers, proxy::StartError> {
    let parts = proxy::WorkerParts {
        timeouts: config.timeouts.clone(),
        limits: config.limits.clone(),
        http: HttpPolicy {
            pseudonym: Pseudonym::new(fastrand::u32(..)),
            ..config.http.clone()
        },
        access_log: config.access_log.clone(),
        snapshots: snapshots.clone(),
        clients: Arc::clone(clients),
        how_to_add: management::how_to_add(management, MANAGEMENT_PORT, config.rest),
        hand_over,
        stop: stop.clone(),
        stop_timeout: config.shutdown_timeout,
    };
    Workers::start(listeners, &parts)
}

fn holds_an_address(vip: &Vip) -> bool {
    vip.status().borrow().iter().any(is_here)
}

/// Releases the virtual addresses and the leadership when all workers have ended without a stop.
async fn leave_without_data_path(
    ended: impl Future<Output = ()>,
    serving: watch::Sender<bool>,
    cluster: Handle,
) {
    ended.await;
    tracing::error!("all workers have ended: this node serves nothing and gives up its leadership");
    serving.send_replace(false);
    cluster.leave();
    give_up_leading(|| cluster.step_down()).await;
}

/// Steps down whenever this node is the leader. The next leader may not answer at once, so it retries. Does not end.
async fn give_up_leading<S>(mut step_down: impl FnMut() -> S)
where
    S: Future<Output = Result<(), ChangeError>>,
{
    let mut stands_as = None;
    loop {
        let stands = step_down().await.err().map(|error| error.to_string());
        if stands != stands_as
            && let Some(why) = &stands
        {
            tracing::warn!(why, "the leadership is not handed over; trying again");
        }
        stands_as = stands;
        time::sleep(STEP_DOWN_PAUSE).await;
    }
}

/// Makes the node unready when it stops applying the log.
async fn tell_outdated(cluster: Handle, readiness: watch::Sender<Readiness>) {
    let mut stopped = cluster.stopped();
    if stopped.wait_for(Option::is_some).await.is_ok() {
        readiness.send_if_modified(|readiness| {
            let was_ready = *readiness == Readiness::Ready;
            if was_ready {
                *readiness = Readiness::Outdated;
            }
            was_ready
        });
    }
}

/// Gives this node's view of the servers to other nodes.
fn reporter(snapshots: Snapshots) -> Reporter {
    Reporter(Arc::new(move || {
        let snapshot = snapshots.current();
        let servers = snapshot.pool.servers.iter();
        let report = |view: &Arc<ServerView>| ServerReport {
            pool: snapshot.pool.name.to_string(),
            address: view.desired.address.to_string(),
            id: view.desired.id.0,
            state: view.health.state.as_str().to_owned(),
            reason: view.health.reason.as_str().to_owned(),
            description: view.health.description.clone(),
            since: Timestamp::from(view.since()).0,
            in_flight: view.live.in_flight(),
        };
        servers.map(report).collect()
    }))
}

/// Holds the virtual addresses while this node is the leader and the returned sender says that the data path serves.
async fn hold_addresses(
    config: &Config,
    cluster: &Handle,
    hand_over: watch::Sender<HandOver>,
    clients: &Arc<Sharded<ClientShard>>,
) -> Result<(Option<Vip>, watch::Sender<bool>), vip::VipStartError> {
    let serving = watch::Sender::new(false);
    let Some(addresses) = config.vip.clone() else {
        return Ok((None, serving));
    };
    let inputs = vip::Inputs {
        lease: cluster.leadership(),
        serving: serving.subscribe(),
    };
    let vip = Vip::start(addresses, inputs).await?;
    cluster.set_step_down_hook(Arc::new(ClientDrain {
        hand_over,
        clients: Arc::clone(clients),
        addresses: vip.status(),
        release: vip.longest_release(),
    }));
    Ok((Some(vip), serving))
}

async fn open_store(config: &Config) -> Result<Opened, OpenError> {
    let data_dir = match &config.storage {
        Storage::Directory(directory) => Some(directory.clone()),
        Storage::Ephemeral => None,
    };
    let network = config.cluster.as_ref().map(|cluster| NetworkOptions {
        listen: cluster.listen,
        advertise: cluster.advertise,
        join: cluster.join.clone(),
        secret_file: cluster.secret_file.clone(),
        tls: cluster.tls.as_ref().map(|tls| TlsFiles {
            cert: tls.cert.clone(),
            key: tls.key.clone(),
            ca: tls.ca.clone(),
        }),
    });
    let options = StoreOptions {
        data_dir,
        initial: config.pool.clone(),
        name: config.node_name.clone(),
        network,
    };
    match task::spawn_blocking(|| cluster::open(options)).await {
        Ok(opened) => opened,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Warns if the configured settings of the pool differ from the stored ones. The configuration is used only for a new
/// pool; after that, operators change the settings at run time.
fn warn_of_other_settings(said: &PoolSettings, cluster: &Handle) {
    let state = cluster.current();
    let differs = state
        .pool(&PoolName::default())
        .is_ok_and(|pool| pool.settings != *said);
    if differs && *said != PoolSettings::default() {
        tracing::warn!(
            "the pool keeps the settings that it has: those of flags, variables and file are for a new pool. \
             To change them: weldrctl pool set"
        );
    }
}

/// Where the node listens, now that its sockets are bound.
///
/// # Errors
/// When one of the servers that it is told is there.
fn own_addresses(
    config: &Config,
    proxy: &[SocketAddr],
    management: SocketAddr,
) -> Result<OwnAddresses, ConfigError> {
    let own = config.own_addresses_with(proxy, management);
    for &server in &config.servers {
        own.check(server)
            .map_err(|invalid| invalid.named("server"))?;
    }
    Ok(own)
}

fn log_listeners(addresses: &[SocketAddr], workers: usize) {
    for address in addresses {
        tracing::info!(%address, workers, "proxy listening");
    }
}

/// Adds configured servers that are missing. A server that exists keeps its settings.
async fn add_servers(cluster: &Handle, addresses: &[SocketAddr]) -> Result<(), StartError> {
    for &address in addresses {
        // A server that exists needs no quorum, so that a node can start without one.
        if cluster
            .current()
            .server(&PoolName::default(), address)
            .is_ok()
        {
            continue;
        }
        let add = Command::AddServer {
            pool: PoolName::default(),
            address,
            spec: ServerSpec::default(),
            expected: None,
            at: Timestamp::now(),
        };
        match cluster.propose(add).await {
            Ok(_) | Err(ProposeError::Rejected(crate::model::Rejection::Exists { .. })) => {}
            Err(
                error @ (ProposeError::NoQuorum { .. }
                | ProposeError::Outdated(_)
                | ProposeError::Unknown { .. }),
            ) => {
                tracing::warn!(server = %address, %error, "a server is not added: add it with weldrctl");
            }
            Err(source) => return Err(StartError::Server { address, source }),
        }
    }
    Ok(())
}

fn measure_rates(
    clients: &Arc<Sharded<ClientShard>>,
    snapshots: &Snapshots,
    stop: &CancellationToken,
) -> Arc<Rates> {
    let rates = Arc::new(Rates::default());
    let sample = sample_rates(Arc::clone(&rates), Arc::clone(clients), snapshots.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(sample));
    rates
}

async fn sample_rates(rates: Arc<Rates>, clients: Arc<Sharded<ClientShard>>, snapshots: Snapshots) {
    let mut ticks = time::interval(RATE_SAMPLE);
    loop {
        ticks.tick().await;
        let client = Totals::sum(&clients).client;
        let snapshot = snapshots.current();
        let servers = snapshot.pool.servers.iter().map(|server| {
            let outcomes = server.live.outcomes();
            (server.desired.id, outcomes.success + outcomes.failed)
        });
        rates.sample(Instant::now(), client.success + client.failed, servers);
    }
}

#[cfg(test)]
mod tests;
