//! The data path without a control plane: a test publishes snapshots, and workers act on them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use weldr::{
    liveness::Tasks,
    model::{
        Action, Conditions, FixedResponse, Health, HealthCheck, HealthState, Listener,
        ListenerName, ListenerSpec, NamedValues, PoolName, PoolSettings, Priority, Reason,
        Redirect, Revision, Route, Rule, RuleId, RuleSpec, Server, ServerId, ServerSpec, Timestamp,
        WeightedPool,
    },
    policy::{AccessLogFormat, AccessLogOptions, HttpPolicy, Limits, Timeouts},
    proxy::{HandOver, Listeners, WorkerParts, Workers},
    snapshot::{
        BindState, Binding, ListenerView, ListenerViews, LiveListener, LivePool, LiveServer,
        PoolSecurity, PoolView, Pools, Publisher, ServerView, Snapshot, Snapshots,
    },
    stats::Sharded,
};

use crate::wait;

/// How many workers there are.
/// Listeners besides the default one.
const MOST_LISTENERS: usize = 255;
const WORKERS: usize = 2;

/// Workers, and the snapshots that they act on. What is changed counts when it is published.
pub struct DataPlane {
    publisher: Publisher,
    snapshots: Snapshots,
    version: u64,
    pools: Pools,
    listeners: ListenerViews,
    address: SocketAddr,
    workers: Option<Workers>,
    binder: JoinHandle<()>,
    stop: CancellationToken,
}

/// Where a listener is told to listen on this node, if that is not its own address.
pub type Addresses = BTreeMap<ListenerName, SocketAddr>;

impl DataPlane {
    /// Workers with a default listener, whose requests go to a default pool without servers.
    pub fn start() -> Self {
        Self::start_with(|_, _| {})
    }

    /// [`Self::start`] with changes to what the workers are made of.
    ///
    /// # Panics
    /// When there is no port or thread.
    pub fn start_with(change: impl FnOnce(&mut WorkerParts, &mut Addresses)) -> Self {
        let pools = Pools::new(pool("default", PoolSettings::default(), &[]));
        let listeners = ListenerViews::default_listener(WORKERS);
        let first = Snapshot {
            session_keys: Arc::default(),
            version: 0,
            revision: Revision(0),
            removals: 0,
            pools: pools.clone(),
            listeners: listeners.clone(),
        };
        let (publisher, snapshots) = Publisher::new(first, WORKERS);
        let stop = CancellationToken::new();
        let mut parts = worker_parts(&snapshots, &stop);
        let mut addresses = Addresses::new();
        change(&mut parts, &mut addresses);
        let sockets =
            Listeners::bind(&[([127, 0, 0, 1], 0).into()], &[], WORKERS).expect("a free port");
        let address = sockets.addresses()[0];
        let workers = Workers::start(sockets, &parts).expect("threads");
        let binder = workers.binder(snapshots.clone(), addresses, MOST_LISTENERS);
        let tick = Tasks::default().register("listeners");
        Self {
            publisher,
            binder: tokio::spawn(binder.run(stop.clone(), tick)),
            snapshots,
            version: 0,
            pools,
            listeners,
            address,
            workers: Some(workers),
            stop,
        }
    }

    /// Where the default listener is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets a pool, with healthy servers at `servers`.
    pub fn pool(&mut self, name: &str, servers: &[SocketAddr]) {
        self.pool_with(name, PoolSettings::default(), servers);
    }

    /// [`Self::pool`] with other settings.
    pub fn pool_with(&mut self, name: &str, settings: PoolSettings, servers: &[SocketAddr]) {
        self.pools.put(pool(name, settings, servers));
    }

    /// Changes the settings of a pool.
    ///
    /// # Panics
    /// When there is no such pool.
    pub fn change_pool(&mut self, name: &str, settings: PoolSettings) {
        let mut view = self.pool_view(name);
        view.set_settings(settings, Revision(self.version + 1));
        self.pools.put(view);
    }

    /// Changes how a pool speaks to its servers.
    ///
    /// # Panics
    /// When there is no such pool.
    pub fn secure_pool(&mut self, name: &str, security: PoolSecurity) {
        let mut view = self.pool_view(name);
        view.set_security(security);
        self.pools.put(view);
    }

    fn pool_view(&self, name: &str) -> PoolView {
        let view = self.pools.get(&name.parse().expect("a name"));
        PoolView::clone(view.expect("a pool"))
    }

    /// Sets a listener that listens at `address`, and forwards to the default pool what `rules` match not: see
    /// [`rules`].
    ///
    /// # Panics
    /// When a rule is not valid.
    pub fn listener(&mut self, name: &str, address: Option<SocketAddr>, rules: &[(&str, &str)]) {
        let spec = ListenerSpec {
            address,
            ..ListenerSpec::default()
        };
        self.listener_with(name, spec, rules);
    }

    /// [`Self::listener`] as `spec` says.
    ///
    /// # Panics
    /// When the listener or a rule is not valid.
    pub fn listener_with(&mut self, name: &str, spec: ListenerSpec, rules: &[(&str, &str)]) {
        let name: ListenerName = name.parse().expect("a name");
        let mut desired = Listener::new(spec, Revision(self.version + 1));
        for rule in self::rules(rules, self.version + 1) {
            desired.rules.insert_mut(rule.priority, rule);
        }
        let desired = Arc::new(desired);
        let view = match self.listeners.get(&name) {
            Some(view) => view.changed_to(desired),
            None => ListenerView::new(LiveListener::new(name, WORKERS), desired),
        };
        self.listeners.put(view);
    }

    /// Takes a listener out.
    ///
    /// # Panics
    /// When the name is not valid.
    pub fn remove_listener(&mut self, name: &str) {
        self.listeners.take(&name.parse().expect("a name"));
    }

    /// Publishes what was changed.
    pub fn publish(&mut self) {
        self.version += 1;
        self.publisher.publish(Snapshot {
            session_keys: Arc::default(),
            version: self.version,
            revision: Revision(self.version),
            removals: 0,
            pools: self.pools.clone(),
            listeners: self.listeners.clone(),
        });
    }

    /// What a listener accumulates.
    ///
    /// # Panics
    /// When there is no such listener.
    pub fn live(&self, name: &str) -> Arc<LiveListener> {
        let view = self.listeners.get(&name.parse().expect("a name"));
        Arc::clone(&view.expect("a listener").live)
    }

    /// The newest view of a listener.
    ///
    /// # Panics
    /// When there is no such listener.
    pub fn view(&self, name: &str) -> Arc<ListenerView> {
        let view = self.listeners.get(&name.parse().expect("a name"));
        Arc::clone(view.expect("a listener"))
    }

    /// What a pool accumulates.
    ///
    /// # Panics
    /// When there is no such pool.
    pub fn live_pool(&self, name: &str) -> Arc<LivePool> {
        let view = self.pools.get(&name.parse().expect("a name"));
        Arc::clone(&view.expect("a pool").live)
    }

    /// Waits until the listener is in `state`.
    pub async fn binding(&self, name: &str, state: BindState) -> Binding {
        let live = self.live(name);
        wait::until(
            format!("listener {name} to be {}", state.as_str()),
            async || {
                let binding = live.binding();
                if binding.state == state {
                    Ok(binding)
                } else {
                    Err(format!("{binding:?}"))
                }
            },
        )
        .await
    }

    /// Waits until the listener listens, and says where.
    ///
    /// # Panics
    /// When it listens nowhere.
    pub async fn bound(&self, name: &str) -> SocketAddr {
        let binding = self.binding(name, BindState::Bound).await;
        binding.address.expect("an address")
    }

    /// The snapshots.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Stops the workers, within their shutdown timeout.
    ///
    /// # Panics
    /// When a worker panicked.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        let workers = self.workers.take().expect("running workers");
        tokio::task::spawn_blocking(move || workers.join())
            .await
            .expect("workers that end");
        self.binder.await.expect("a binder that ends");
    }
}

impl std::fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataPlane").finish_non_exhaustive()
    }
}

fn worker_parts(snapshots: &Snapshots, stop: &CancellationToken) -> WorkerParts {
    WorkerParts {
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        http: HttpPolicy::default(),
        access_log: AccessLogOptions::default(),
        snapshots: snapshots.clone(),
        all_server_connections: 1000,
        clients: Arc::new(Sharded::new(WORKERS)),
        how_to_add: String::new(),
        // The sender lives as long as the test.
        hand_over: Box::leak(Box::new(watch::Sender::new(HandOver::None))).subscribe(),
        virtual_addresses: Arc::default(),
        stop: stop.clone(),
        stop_timeout: Duration::from_secs(5),
        tasks: Tasks::default(),
    }
}

/// Writes the access log as JSON to `file`.
pub fn json_log(file: PathBuf) -> AccessLogOptions {
    AccessLogOptions {
        format: AccessLogFormat::Json,
        file: Some(file),
        ..AccessLogOptions::default()
    }
}

fn pool(name: &str, settings: PoolSettings, servers: &[SocketAddr]) -> PoolView {
    let name: PoolName = name.parse().expect("a name");
    let live = LivePool::new(name, WORKERS);
    let servers = servers.iter().map(|&address| server(&live, address));
    let servers = servers.collect();
    PoolView::new(Arc::clone(&live), settings, Revision(1), servers)
}

fn server(pool: &Arc<LivePool>, address: SocketAddr) -> Arc<ServerView> {
    let id = ServerId(fastrand::u64(..));
    let desired = Arc::new(Server {
        id,
        address,
        spec: ServerSpec::default(),
        removal: None,
        added_at: Timestamp(0),
        intent_since: Timestamp(0),
        revision: Revision(1),
    });
    let observed = Health {
        state: HealthState::Healthy,
        reason: Reason::CheckPending,
        description: String::new(),
        since: SystemTime::UNIX_EPOCH,
    };
    Arc::new(ServerView {
        keeps_sessions: true,
        health: Health::of(&desired, &observed),
        check: HealthCheck::default(),
        live: LiveServer::new(Arc::clone(pool), id, address).0,
        desired,
    })
}

/// Rules of which each is written as its conditions and its action, such as
/// `("host=a|*.b path=/x/* method=GET header:x=1 query:y=2 source=10.0.0.0/8", "forward api=9,web=1")`,
/// `("", "redirect 301 https://{host}/new/{rest}")` or `("", "respond 200 pong")`. Their priorities are 10, 20, 30...
///
/// # Panics
/// When one is not valid.
pub fn rules(rules: &[(&str, &str)], revision: u64) -> Vec<Arc<Rule>> {
    let rule = |(at, (conditions, action)): (usize, &(&str, &str))| {
        let at = u32::try_from(at).expect("few rules") + 1;
        let spec = RuleSpec {
            conditions: self::conditions(conditions),
            route: route(action),
        };
        spec.validate().expect("a valid rule");
        Arc::new(Rule {
            id: RuleId(revision * 1000 + u64::from(at)),
            priority: Priority(at * 10),
            spec,
            revision: Revision(revision),
        })
    };
    rules.iter().enumerate().map(rule).collect()
}

fn conditions(text: &str) -> Conditions {
    let mut conditions = Conditions::default();
    for word in text.split_whitespace() {
        let (kind, values) = word.split_once('=').expect("kind=values");
        let values: Vec<String> = values.split('|').map(str::to_owned).collect();
        match kind.split_once(':') {
            Some((kind, name)) => {
                let name = name.to_owned();
                let named = NamedValues { name, values };
                if kind == "header" {
                    conditions.headers.push(named);
                } else {
                    conditions.query.push(named);
                }
            }
            None => match kind {
                "host" => conditions.hosts = values,
                "path" => conditions.paths = values,
                "method" => conditions.methods = values,
                "source" => {
                    let networks = values.iter().map(|value| value.parse().expect("a network"));
                    conditions.sources = networks.collect();
                }
                other => panic!("no such condition: {other}"),
            },
        }
    }
    conditions
}

/// The route that an action in the words of [`rules`] makes.
///
/// # Panics
/// When there is no such action.
pub fn route(action: &str) -> Route {
    let (verb, rest) = action.split_once(' ').expect("an action");
    let action = match verb {
        "forward" => Action::Forward(rest.split(',').map(weighted).collect()),
        "redirect" => {
            let (status, location) = rest.split_once(' ').expect("a status and a location");
            Action::Redirect(Redirect {
                location: location.to_owned(),
                status: status.parse().expect("a status"),
            })
        }
        "respond" => {
            let (status, body) = rest.split_once(' ').unwrap_or((rest, ""));
            Action::Respond(FixedResponse {
                status: status.parse().expect("a status"),
                content_type: "text/plain".to_owned(),
                body: body.to_owned(),
            })
        }
        other => panic!("no such action: {other}"),
    };
    Route {
        action,
        ..Route::default()
    }
}

fn weighted(text: &str) -> WeightedPool {
    let (pool, weight) = text.split_once('=').unwrap_or((text, "1"));
    WeightedPool {
        pool: pool.parse().expect("a name"),
        weight: weight.parse().expect("a weight"),
    }
}
