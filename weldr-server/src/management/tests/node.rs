//! A node without a data path: store, reconciler, and the API on port 0.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use weldr_proto::v1::management_client::ManagementClient;

use crate::{
    clock::dates,
    cluster::{self, Handle, Log, Opened, StoreOptions},
    liveness::Tick,
    management::{Listeners, ManagementContext, ServeOptions, Tls, bind, bind_local, serve},
    model::{
        AllowedServers, Command, DesiredState, Health, HealthState, OwnAddresses, PoolName,
        PoolSettings, Reason, Server, ServerId,
    },
    readiness::{Readiness, Status},
    snapshot::{
        ListenerViews, LivePool, LiveServer, PoolView, Pools, Publisher, ServerView, Snapshot,
        Snapshots, WorkerReader,
    },
    stats::{ClientShard, Rates, Sharded},
};

const WORKERS: usize = 1;

/// The options of a node for tests.
pub(super) fn options() -> ServeOptions {
    ServeOptions {
        rest: true,
        max_connections: 1024,
        authentication: false,
        hosts: vec!["lb.example".to_owned()],
    }
}

/// A running API, and control over what it reads.
pub(super) struct TestNode {
    pub(super) address: SocketAddr,
    /// Where only health is served.
    pub(super) health_address: SocketAddr,
    /// The path of the Unix socket.
    pub(super) socket: PathBuf,
    pub(super) cluster: Handle,
    pub(super) clients: Arc<Sharded<ClientShard>>,
    pub(super) readiness: watch::Sender<Readiness>,
    pub(super) shutdown: CancellationToken,
    pub(super) served: JoinHandle<()>,
    pub(super) snapshots: Snapshots,
    observed: Arc<FakeHealth>,
    _log: Log,
    _files: TempDir,
}

/// The results of health checks, which the test sets.
struct FakeHealth {
    healthy: Mutex<HashMap<SocketAddr, SystemTime>>,
    changed: watch::Sender<()>,
}

impl TestNode {
    pub(super) async fn start() -> Self {
        Self::with(options()).await
    }

    /// A node on which callers need a token.
    pub(super) async fn with_authentication() -> Self {
        Self::with(ServeOptions {
            authentication: true,
            ..options()
        })
        .await
    }

    pub(super) async fn with(options: ServeOptions) -> Self {
        Self::with_tls(options, None).await
    }

    pub(super) async fn with_tls(options: ServeOptions, tls: Option<Tls>) -> Self {
        let initial = PoolSettings::default();
        let Opened { handle, log, .. } = cluster::open(StoreOptions {
            data_dir: None,
            initial,
            ..StoreOptions::default()
        })
        .unwrap();
        let observed = Arc::new(FakeHealth {
            healthy: Mutex::default(),
            changed: watch::Sender::default(),
        });
        let mut lives = Lives::default();
        let first = snapshot(0, &handle.current(), &mut lives, &observed);
        let (publisher, snapshots) = Publisher::new(first, WORKERS);
        tokio::spawn(reconcile(
            handle.clone(),
            publisher,
            snapshots.clone(),
            lives,
            Arc::clone(&observed),
        ));
        let clients = Arc::new(Sharded::new(WORKERS));
        let context = ManagementContext {
            cluster: handle.clone(),
            snapshots: snapshots.clone(),
            clients: Arc::clone(&clients),
            rates: Arc::new(Rates::default()),
            started_at: dates::now(),
            own: OwnAddresses::default(),
            allowed: AllowedServers::default(),
            trusted_proxies: Arc::default(),
            tick: Tick::unwatched(),
        };
        let tcp = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = tcp.address();
        let health = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let health_address = health.address();
        let files = tempfile::tempdir().unwrap();
        let socket = files.path().join("management.sock");
        let local = Some(bind_local(&socket).unwrap());
        let shutdown = CancellationToken::new();
        let readiness = watch::Sender::new(Readiness::of(Status::Ready));
        let served = tokio::spawn(serve(
            Listeners {
                tcp: tcp.with_tls(tls),
                local,
                health: Some(health),
            },
            context,
            options,
            shutdown.clone(),
            readiness.subscribe(),
        ));
        Self {
            address,
            health_address,
            socket,
            cluster: handle,
            clients,
            readiness,
            shutdown,
            served,
            snapshots,
            observed,
            _log: log,
            _files: files,
        }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap()
    }

    pub(super) fn channel(&self) -> Channel {
        self.endpoint().connect_lazy()
    }

    pub(super) fn client(&self) -> ManagementClient<Channel> {
        ManagementClient::new(self.channel())
    }

    /// Makes the checks of `address` pass from now on.
    pub(super) fn make_healthy(&self, address: &str) {
        let address = address.parse().unwrap();
        let mut healthy = self.observed.healthy.lock().unwrap();
        healthy.insert(address, dates::now());
        drop(healthy);
        self.observed.changed.send_replace(());
    }

    /// The live state of the server at `address`.
    pub(super) fn live(&self, address: &str) -> Arc<LiveServer> {
        let snapshot = self.snapshots.current();
        let view = snapshot
            .pools
            .default_pool()
            .server(address.parse().unwrap())
            .unwrap();
        Arc::clone(&view.live)
    }

    /// A worker that uses the present snapshot until it reads a newer one.
    pub(super) fn worker(&self) -> WorkerReader {
        self.snapshots.reader(0)
    }
}

type Lives = HashMap<ServerId, (Arc<Server>, Arc<ServerView>)>;

/// Publishes each state, and ends removals when no request runs. Polls running requests, of which
/// the real reconciler is notified.
async fn reconcile(
    handle: Handle,
    publisher: Publisher,
    snapshots: Snapshots,
    mut lives: Lives,
    observed: Arc<FakeHealth>,
) {
    let mut states = handle.watch();
    let mut checks = observed.changed.subscribe();
    let mut look = tokio::time::interval(Duration::from_millis(5));
    loop {
        let publish = tokio::select! {
            changed = states.changed() => if changed.is_err() { return } else { true },
            _ = checks.changed() => true,
            _ = look.tick() => false,
        };
        if publish {
            let state = Arc::clone(&states.borrow_and_update());
            let version = snapshots.current().version + 1;
            publisher.publish(snapshot(version, &state, &mut lives, &observed));
        }
        let seen = futures_util::FutureExt::now_or_never(
            snapshots.seen_by_all_workers(snapshots.current().version),
        );
        for (id, (server, view)) in &lives {
            if server.removal.is_some() && view.live.in_flight() == 0 && seen.is_some() {
                let command = Command::EndRemoval {
                    pool: PoolName::default(),
                    address: server.address,
                    id: *id,
                };
                handle.propose(command).await.unwrap();
            }
        }
    }
}

fn snapshot(
    version: u64,
    state: &DesiredState,
    lives: &mut Lives,
    observed: &FakeHealth,
) -> Snapshot {
    let name = PoolName::default();
    let pool = state.pool(&name).unwrap();
    let live = LivePool::new(name, WORKERS);
    let servers: Vec<Arc<ServerView>> = pool
        .servers
        .values()
        .map(|desired| view(&live, desired, &pool.settings, lives, observed))
        .collect();
    let pool = PoolView::new(live, pool.settings.clone(), pool.settings_revision, servers);
    lives.retain(|id, _| pool.servers.iter().any(|view| view.desired.id == *id));
    Snapshot {
        version,
        revision: state.revision,
        removals: 0,
        pools: Pools::new(pool),
        listeners: ListenerViews::default_listener(1),
        session_keys: Arc::default(),
    }
}

fn view(
    pool: &Arc<LivePool>,
    desired: &Arc<Server>,
    settings: &PoolSettings,
    lives: &mut Lives,
    observed: &FakeHealth,
) -> Arc<ServerView> {
    let known = lives.get(&desired.id).map(|(_, view)| Arc::clone(view));
    let live = known.as_ref().map_or_else(
        || LiveServer::new(Arc::clone(pool), desired.id, desired.address).0,
        |view| Arc::clone(&view.live),
    );
    let healthy = observed.healthy.lock().unwrap();
    let seen = match healthy.get(&desired.address) {
        Some(since) => Health {
            state: HealthState::Healthy,
            reason: Reason::ChecksPassed,
            description: "checks pass".to_owned(),
            since: *since,
        },
        None => Health::initial(desired.added_at.into()),
    };
    let view = ServerView {
        keeps_sessions: false,
        health: Health::of(desired, &seen),
        check: desired.spec.check.resolve(&settings.check),
        desired: Arc::clone(desired),
        live,
    };
    let view = known
        .filter(|known| {
            Arc::ptr_eq(&known.desired, desired)
                && known.health == view.health
                && known.check == view.check
        })
        .unwrap_or_else(|| Arc::new(view));
    lives.insert(desired.id, (Arc::clone(desired), Arc::clone(&view)));
    view
}
