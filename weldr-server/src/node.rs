//! The composition root: builds the parts of a node, wires them, and stops them in order.

mod acme_orders;
mod addresses;
mod backup_schedule;
mod client_drain;
mod configured_pool;
mod descriptors;
mod give_way;
mod https;
mod listeners;
mod management_port;
mod preference;
mod rates;
mod role_hook;
mod secret_rotation;
mod server_reports;
mod store;
mod witness;

use std::{future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle, time};
use tokio_util::sync::CancellationToken;

use crate::{
    budget::Budget,
    clock::dates,
    cluster::{Handle, Log, OpenError, ProposeError},
    config::{Config, ConfigError, MANAGEMENT_PORT},
    liveness::Tasks,
    management,
    model::{AllowedServers, OwnAddresses},
    policy::{HttpPolicy, Limits, Pseudonym},
    proxy::{self, BindError, HandOver, Listeners, Workers},
    readiness::{Monitor, Readiness, Sources},
    reconcile::{Reconciler, TlsInputs},
    snapshot::Snapshots,
    stats::{ClientShard, Rates, Sharded},
    threads::{self, ThreadError},
    tls::TicketSecrets,
    vip::{self, Vip},
};
use addresses::{hold_addresses, holds_an_address, link, virtual_addresses};
use configured_pool::{add_servers, own_addresses, warn_of_other_settings};
use descriptors::divide_descriptors;
use https::{Https, HttpsError};
use listeners::open_listeners;
use management_port::ManagementPort;
use rates::measure_rates;
use server_reports::reporter;
use store::open_store;

/// How long calls of the management API may take to end when the node stops.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// A running node.
#[derive(Debug)]
pub struct Node {
    proxy_addresses: Vec<SocketAddr>,
    /// How many of them are for HTTP.
    plain_addresses: usize,
    management_address: SocketAddr,
    management_tls: Option<management::Tls>,
    https: Https,
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
    /// The certificate for HTTPS cannot be used.
    #[error("the certificate for HTTPS cannot be used")]
    Https(#[from] HttpsError),
    /// The management address cannot be bound.
    #[error(transparent)]
    Management(#[from] management::ManagementBindError),
    /// The certificates of the management API cannot be used.
    #[error(transparent)]
    ManagementTls(#[from] management::TlsError),
    /// The Unix socket of the management API cannot be bound.
    #[error(transparent)]
    ManagementSocket(#[from] management::LocalBindError),
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
        let listeners = Listeners::bind(&config.listen, &config.listen_https, workers)?;
        let https = Https::load(&config).await?;
        let proxy_addresses = listeners.addresses().to_vec();
        let management = ManagementPort::bind(&config).await?;
        let management_address = management.address();
        let management_tls = management.tls();
        let tasks = Tasks::default();
        let opened = open_store(&config, &tasks, budget.cluster).await?;
        let (handle, log) = (opened.handle, opened.log);
        // After the data directory is locked: a socket that is still in it is of a process that has ended.
        let management = management.with_socket(&config)?;
        if !opened.is_new {
            warn_of_other_settings(&config.pool, &handle);
        }
        let own = own_addresses(&config, &proxy_addresses, management_address)?;
        let tickets = own_tickets();
        let reconciler =
            start_reconciler(&config, &handle, own.clone(), (&https, &tickets), &tasks);
        let (reconciler, snapshots) = reconciler;
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
            tickets,
        };
        let proxy = proxy_parts(&config, management_address, &shared, told, &stop_proxy);
        let workers = Workers::start(listeners, &proxy)?;
        open_listeners(&config, &workers, &shared, &proxy_addresses, &stop_control);
        serving.send_replace(true);
        let link = link(&config, vip.as_ref());
        let monitor = start_monitor(&shared, &workers, link, serving.clone()).await?;
        handle.report_servers_with(reporter(snapshots.clone()));
        let readiness = monitor.readiness();
        start_optional_tasks(&config, &shared, readiness.clone(), &stop_control);
        https.watch(&stop_control);
        let management = (management, rates, readiness);
        let management = shared.serve_management(&config, management, &stop_control);
        Ok(Self {
            proxy_addresses,
            plain_addresses: config.listen.len(),
            management_address,
            management_tls,
            https,
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

    /// The addresses that it proxies on: first those for HTTP, then those for HTTPS.
    pub fn proxy_addresses(&self) -> &[SocketAddr] {
        &self.proxy_addresses
    }

    /// Those for HTTPS.
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.proxy_addresses[self.plain_addresses..]
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

    /// Reads the certificates of HTTPS and of the management port again, if they are in files. What cannot be used changes
    /// nothing.
    pub fn reload_certificates(&self) {
        let https = self.https.clone();
        tokio::spawn(async move { https.reload().await });
        if let Some(tls) = self.management_tls.clone() {
            tokio::spawn(management_port::reload(tls));
        }
    }

    /// Reads the secret of the cluster and the certificate for other nodes again, if they are in files. Logs what comes of it.
    pub fn reload_cluster_files(&self) {
        let cluster = self.cluster.clone();
        tokio::spawn(async move { cluster.reload_files().await });
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
    tickets: TicketSecrets,
}

impl Shared {
    /// Serves the management API until `stop`.
    fn serve_management(
        &self,
        config: &Config,
        (listeners, rates, readiness): (
            management::Listeners,
            Arc<Rates>,
            watch::Receiver<Readiness>,
        ),
        stop: &CancellationToken,
    ) -> JoinHandle<()> {
        let parts = self.management(config, rates);
        let options = management_port::options(config, self.budget.management);
        management_port::log(config, &listeners, &self.cluster);
        tokio::spawn(management::serve(
            listeners,
            parts,
            options,
            stop.clone(),
            readiness,
        ))
    }

    fn management(&self, config: &Config, rates: Arc<Rates>) -> management::ManagementContext {
        management::ManagementContext {
            cluster: self.cluster.clone(),
            snapshots: self.snapshots.clone(),
            clients: Arc::clone(&self.clients),
            rates,
            started_at: dates::now(),
            own: self.own.clone(),
            allowed: AllowedServers::new(config.allow_servers.clone()),
            trusted_proxies: config.http.trusted_proxies.clone().into(),
            tick: self.tasks.register("management"),
        }
    }
}

/// Secrets for session tickets. Until the cluster has some, the node has its own.
fn own_tickets() -> TicketSecrets {
    let tickets = TicketSecrets::default();
    tickets.set_local();
    tickets
}

fn start_reconciler(
    config: &Config,
    cluster: &Handle,
    own: OwnAddresses,
    (https, tickets): (&Https, &TicketSecrets),
    tasks: &Tasks,
) -> (Reconciler, Snapshots) {
    let tls = TlsInputs {
        secrets: cluster.secrets(),
        tickets: tickets.clone(),
        own: https.certificate(),
    };
    let (workers, limits) = (config.running_workers(), (&config.limits).into());
    Reconciler::start(cluster, workers, own, limits, tls, tasks)
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

/// Starts what only some nodes do, until the node stops: running a program for changes of the role, handing over
/// as a witness that leads, preferring a holder of virtual addresses, making backups,
/// rotating the secrets of session tickets, and obtaining certificates.
fn start_optional_tasks(
    config: &Config,
    shared: &Shared,
    readiness: watch::Receiver<Readiness>,
    stop: &CancellationToken,
) {
    let Shared { cluster, tasks, .. } = shared;
    backup_schedule::start(config, cluster, tasks, stop);
    secret_rotation::start(config, cluster, shared.tickets.clone(), tasks, stop);
    acme_orders::start(cluster, tasks, stop);
    if config.vip.is_some() {
        let tick = tasks.register("preference for a holder of the virtual addresses");
        let cluster = cluster.clone();
        let follow = preference::follow(config.preference, readiness, cluster, tick.clone());
        let follow = tick.watch(follow);
        tokio::spawn(stop.clone().run_until_cancelled_owned(follow));
    }
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

#[cfg(test)]
mod tests;
