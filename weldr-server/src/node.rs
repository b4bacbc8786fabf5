//! The composition root: builds the parts of a node, wires them, and stops them in order.

mod backup_schedule;
mod client_drain;
mod give_way;
mod role_hook;
mod witness;

use std::{
    future, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinHandle, time};
use tokio_util::sync::CancellationToken;
use weldr_proto::raft::v1::ServerReport;

use crate::{
    budget::{Budget, Demand},
    clock::dates,
    cluster::{
        self, Handle, Log, NetworkOptions, OpenError, Opened, ProposeError, Reporter, StoreOptions,
        TlsFiles,
    },
    config::{Config, ConfigError, MANAGEMENT_PORT, Storage},
    health,
    liveness::{Tasks, Tick},
    management,
    model::{AllowedServers, Command, OwnAddresses, PoolName, PoolSettings, ServerSpec, Timestamp},
    policy::{HttpPolicy, Limits, Pseudonym},
    proxy::{self, BindError, HandOver, Listeners, Workers},
    readiness::{Monitor, Sources},
    reconcile::Reconciler,
    shutdown,
    snapshot::{ServerView, Snapshots},
    stats::{ClientShard, Rates, Sharded, Totals},
    threads::{self, ThreadError},
    vip::{self, Vip},
};
use client_drain::{ClientDrain, is_here};

/// The interval at which rates are measured.
const RATE_SAMPLE: Duration = Duration::from_secs(1);
/// How long a node that founds a cluster listens before that for calls of a cluster that it may have belonged to. Members
/// call once in 1 to 1.7 s.
const FOUNDING_WAIT: Duration = Duration::from_millis(2500);
/// How long calls of the management API may take to end when the node stops.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// A running node.
#[derive(Debug)]
pub struct Node {
    proxy_addresses: Vec<SocketAddr>,
    management_address: SocketAddr,
    snapshots: Snapshots,
    tasks: Tasks,
    monitor: Monitor,
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
    Management(#[from] management::ManagementBindError),
    /// There is no thread for what watches the node.
    #[error("cannot start a thread: raise the limit of processes (ulimit -u, TasksMax)")]
    Monitor(#[source] io::Error),
    /// There is no thread for what blocks at the start.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// The data path cannot be started.
    #[error(transparent)]
    Workers(#[from] proxy::WorkersError),
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
        let budget = divide_descriptors(&config);
        let workers = config.running_workers();
        let listeners = Listeners::bind(&config.listen, workers)?;
        let proxy_addresses = listeners.addresses().to_vec();
        let management = management::bind(config.management).await?;
        let management_address = management.address();
        let tasks = Tasks::default();
        let Opened {
            handle,
            log,
            is_new,
        } = open_store(&config, &tasks, budget.cluster).await?;
        if !is_new {
            warn_of_other_settings(&config.pool, &handle);
        }
        let own = own_addresses(&config, &proxy_addresses, management_address)?;
        let limits = (&config.limits).into();
        let (reconciler, snapshots) =
            Reconciler::start(&handle, workers, own.clone(), limits, &tasks);
        let (stop_proxy, stop_control) = (CancellationToken::new(), CancellationToken::new());
        let reconciler = tokio::spawn(reconciler.run(stop_control.clone()));
        add_servers(&handle, &config.servers).await?;

        let clients: Arc<Sharded<ClientShard>> = Arc::new(Sharded::new(workers));
        let rates = measure_rates(&clients, &snapshots, &stop_control, &tasks);
        let (hand_over, told) = watch::channel(HandOver::None);
        let (vip, serving) = hold_addresses(&config, &handle, hand_over, &clients, &tasks).await?;

        let shared = Shared {
            tasks: tasks.clone(),
            snapshots: snapshots.clone(),
            cluster: handle.clone(),
            clients,
            own,
            budget,
        };
        let proxy = proxy_parts(&config, management_address, &shared, told, &stop_proxy);
        let workers = Workers::start(listeners, &proxy)?;
        log_listeners(&config, &proxy_addresses, &shared.budget);
        serving.send_replace(true);
        let link = link(&config, vip.as_ref());
        let monitor = start_monitor(&shared, &workers, link, serving.clone()).await?;
        handle.report_servers_with(reporter(snapshots.clone()));
        start_optional_tasks(&config, &handle, &tasks, &stop_control);
        let parts = shared.management(&config, rates);
        let options = management::ServeOptions {
            rest: config.rest,
            max_connections: budget.management,
        };
        let stop = stop_control.clone();
        let serve = management::serve(management, parts, options, stop, monitor.readiness());
        let management = tokio::spawn(serve);
        tracing::info!(address = %management_address, rest = config.rest, "management listening");
        Ok(Self {
            proxy_addresses,
            management_address,
            snapshots,
            tasks,
            monitor,
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

    /// The threads and tasks that have to run until the node stops.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Stops the node, in this order:
    ///
    /// 1. The node is marked as not eligible to lead. If it leads and another node can, it drains the clients of its
    ///    virtual addresses, removes the addresses, and hands the leadership over.
    /// 2. The data path finishes running requests within the shutdown timeout. Addresses that no other node could take
    ///    stay until then.
    /// 3. The management API stops, and last the cluster, which closes the database.
    pub async fn shutdown(self) {
        self.monitor.stops().await;
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
        let ended = workers.ended();
        if let Err(error) = threads::run("weldr-stop", || workers.join()).await {
            tracing::error!(%error, "the last lines of the access log are not waited for");
            ended.await;
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

/// What several parts of a node work with.
struct Shared {
    tasks: Tasks,
    snapshots: Snapshots,
    cluster: Handle,
    clients: Arc<Sharded<ClientShard>>,
    own: OwnAddresses,
    budget: Budget,
}

impl Shared {
    fn management(&self, config: &Config, rates: Arc<Rates>) -> management::ManagementContext {
        management::ManagementContext {
            cluster: self.cluster.clone(),
            snapshots: self.snapshots.clone(),
            clients: Arc::clone(&self.clients),
            rates,
            started_at: dates::now(),
            own: self.own.clone(),
            allowed: AllowedServers::new(config.allow_servers.clone()),
            tick: self.tasks.register("management"),
        }
    }
}

/// Divides the file descriptors that the process may have.
fn divide_descriptors(config: &Config) -> Budget {
    let budget = Budget::divide(shutdown::descriptor_limit(), demand(config));
    health::limit_checks(budget.checks);
    budget
}

fn demand(config: &Config) -> Demand {
    Demand {
        max_connections: config.limits.connections,
        workers: config.running_workers(),
        listen_addresses: config.listen.len(),
        has_cluster: config.cluster.is_some(),
    }
}

/// Warns if fewer client connections than `max_connections` can be accepted.
fn warn_of_descriptors(config: &Config, budget: &Budget) {
    let demand = demand(config);
    if budget.limits_clients(demand) {
        tracing::warn!(
            max_connections = demand.max_connections,
            open_files = shutdown::descriptor_limit(),
            client_connections = budget.clients,
            server_connections = budget.servers,
            "the limit of open files is too low for max_connections: fewer client connections are accepted; raise the \
             limit (ulimit -n, LimitNOFILE) or lower --max-connections"
        );
    }
}

fn proxy_parts(
    config: &Config,
    management: SocketAddr,
    shared: &Shared,
    hand_over: watch::Receiver<HandOver>,
    stop: &CancellationToken,
) -> proxy::WorkerParts {
    proxy::WorkerParts {
        timeouts: config.timeouts.clone(),
        limits: Limits {
            connections: shared.budget.clients,
            ..config.limits.clone()
        },
        all_server_connections: shared.budget.servers,
        http: HttpPolicy {
            pseudonym: Pseudonym::new(fastrand::u32(..)),
            ..config.http.clone()
        },
        access_log: config.access_log.clone(),
        snapshots: shared.snapshots.clone(),
        clients: Arc::clone(&shared.clients),
        how_to_add: management::how_to_add(management, MANAGEMENT_PORT, config.rest),
        hand_over,
        virtual_addresses: virtual_addresses(config),
        stop: stop.clone(),
        stop_timeout: config.shutdown_timeout,
        tasks: shared.tasks.clone(),
    }
}

fn virtual_addresses(config: &Config) -> Arc<[IpAddr]> {
    let addresses = config.vip.iter().flat_map(|vip| &vip.addresses);
    addresses.map(|address| address.ip()).collect()
}

/// The interface of the virtual addresses, and whether it has a link.
fn link(config: &Config, vip: Option<&Vip>) -> Option<(String, watch::Receiver<bool>)> {
    let interface = config.vip.as_ref()?.interface.clone();
    Some((interface, vip?.linked()))
}

/// Starts what only some nodes do, until the node stops: running a program for changes of the role, handing over
/// as a witness that leads, and making backups.
fn start_optional_tasks(
    config: &Config,
    cluster: &Handle,
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    backup_schedule::start(config, cluster, tasks, stop);
    if let Some(program) = config.on_role_change.clone() {
        let follow = role_hook::follow(program, cluster.leadership(), stop.clone());
        tokio::spawn(follow);
    }
    if config.is_witness() {
        tracing::info!("this node is a witness: it votes and serves nothing");
        tokio::spawn(witness::never_lead(cluster.clone(), stop.clone()));
    }
}

/// Derives the readiness of the node from now on, and acts on it.
async fn start_monitor(
    shared: &Shared,
    workers: &Workers,
    link: Option<(String, watch::Receiver<bool>)>,
    serving: watch::Sender<bool>,
) -> Result<Monitor, StartError> {
    let (snapshots, cluster) = (shared.snapshots.clone(), shared.cluster.clone());
    // What was applied so far is published before anybody asks whether it can be served.
    snapshots.wait_for(cluster.current().revision).await;
    let sources = Sources {
        tasks: shared.tasks.clone(),
        snapshots,
        cluster: cluster.clone(),
        clients: Arc::clone(&shared.clients),
        link,
        witness: cluster.is_witness(),
        workers_ended: if cluster.is_witness() {
            Box::pin(future::pending())
        } else {
            Box::pin(workers.ended())
        },
    };
    let react = |readiness| give_way::follow(readiness, serving, cluster);
    Monitor::start(sources, react).map_err(StartError::Monitor)
}

fn holds_an_address(vip: &Vip) -> bool {
    vip.status().borrow().iter().any(is_here)
}

/// Gives this node's view of the servers to other nodes.
fn reporter(snapshots: Snapshots) -> Reporter {
    Reporter(Arc::new(move || {
        let snapshot = snapshots.current();
        let servers = snapshot.pools.iter().flat_map(|pool| pool.servers.iter());
        let report = |view: &Arc<ServerView>| ServerReport {
            pool: view.live.pool.name.to_string(),
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
    tasks: &Tasks,
) -> Result<(Option<Vip>, watch::Sender<bool>), vip::VipStartError> {
    let serving = watch::Sender::new(false);
    let Some(addresses) = config.vip.clone() else {
        return Ok((None, serving));
    };
    let inputs = vip::Inputs {
        lease: cluster.leadership(),
        serving: serving.subscribe(),
        led_last: cluster.led_last(),
        last_words: cluster.last_words(),
    };
    let vip = Vip::start(addresses, inputs, tasks).await?;
    cluster.set_step_down_hook(Arc::new(ClientDrain {
        hand_over,
        clients: Arc::clone(clients),
        addresses: vip.status(),
        guard: vip.guard(),
        linked: vip.observed_link(),
        release: vip.longest_release(),
    }));
    Ok((Some(vip), serving))
}

async fn open_store(
    config: &Config,
    tasks: &Tasks,
    max_connections: usize,
) -> Result<Opened, StartError> {
    let data_dir = match &config.storage {
        Storage::Directory(directory) => Some(directory.clone()),
        Storage::Ephemeral => None,
    };
    let network = config.cluster.as_ref().map(|cluster| NetworkOptions {
        listen: cluster.listen,
        advertise: cluster.advertise,
        join: cluster.join.clone(),
        found: cluster.found.then_some(FOUNDING_WAIT),
        max_connections,
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
        recover: config
            .cluster
            .as_ref()
            .is_some_and(|cluster| cluster.recover),
        witness: config.is_witness(),
        failover: config.failover,
        tasks: tasks.clone(),
    };
    Ok(threads::run("weldr-open", || cluster::open(options)).await??)
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

fn log_listeners(config: &Config, addresses: &[SocketAddr], budget: &Budget) {
    for address in addresses {
        tracing::info!(%address, workers = config.workers, "proxy listening");
    }
    warn_of_descriptors(config, budget);
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
    tasks: &Tasks,
) -> Arc<Rates> {
    let rates = Arc::new(Rates::default());
    let tick = tasks.register("request rates");
    let sample = sample_rates(
        Arc::clone(&rates),
        Arc::clone(clients),
        snapshots.clone(),
        tick.clone(),
    );
    let sample = tick.watch(sample);
    tokio::spawn(stop.clone().run_until_cancelled_owned(sample));
    rates
}

async fn sample_rates(
    rates: Arc<Rates>,
    clients: Arc<Sharded<ClientShard>>,
    snapshots: Snapshots,
    tick: Tick,
) {
    let mut samples = time::interval(RATE_SAMPLE);
    loop {
        samples.tick().await;
        tick.tick();
        let client = Totals::sum(&clients).client;
        let snapshot = snapshots.current();
        let servers = snapshot.pools.iter().flat_map(|pool| pool.servers.iter());
        let servers = servers.map(|server| {
            let outcomes = server.live.outcomes();
            (server.desired.id, outcomes.success + outcomes.failed)
        });
        rates.sample(Instant::now(), client.success + client.failed, servers);
    }
}

#[cfg(test)]
mod tests;
