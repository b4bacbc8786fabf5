//! What many objects cost: a request past many rules, memory for each rule, pool and server, a server that is added beside many
//! pools, and a listener that comes and goes under load.
//!
//! All Weldrs of one comparison run at the same time, and have the load in turn: what changes the speed of the machine changes that of
//! all. A ratio is the median of those of the rounds.

use std::{net::SocketAddr, path::Path, time::Duration};

use tokio::time::{Instant, sleep};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use weldr_proto::v1::{
    AddServerRequest, ApplyRequest, Conditions, Configuration, CreateListenerRequest,
    DeleteListenerRequest, GetPoolRequest, ListenerConfiguration, PoolConfiguration, Route,
    RuleConfiguration, ServerConfiguration, WeightedPool, management_client::ManagementClient,
    routing_client::RoutingClient,
};

use crate::{
    args::Binaries,
    machine::{self, Cores},
    print::say,
    roles::load::spec::{Pace, Shape, Until},
    turn::{Stage, TurnError, Work},
    usage,
    weldr::{self, Setup, WeldrError},
};

/// Rules of the Weldrs that are compared.
const RULES: [u32; 3] = [1, 1_000, 10_000];
/// Pools of the Weldrs that are compared.
const POOLS: [u32; 2] = [1, 1_000];
/// Servers of each pool.
const SERVERS: usize = 10;
/// Servers that are added to a pool in each round.
const ADDED: usize = 50;
/// How often a listener comes and goes.
const LISTENERS: u32 = 100;
/// How long Weldr has to start.
const STARTING: Duration = Duration::from_secs(20);
/// How long the first checks of all servers may take.
const CHECKED_IN: Duration = Duration::from_secs(90);
/// How long a turn lasts.
const TURN: Duration = Duration::from_secs(1);

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectsError {
    /// Weldr is not there.
    #[error(transparent)]
    Weldr(#[from] WeldrError),
    /// Weldr does not serve.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// The machine cannot be asked.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Its management cannot be reached.
    #[error("cannot connect to its management")]
    Connect(#[from] tonic::transport::Error),
    /// A call failed.
    #[error("its management refuses a change: {0}")]
    Call(#[from] Box<Status>),
    /// The first checks do not end.
    #[error("{0} servers of the last pool were not checked after {CHECKED_IN:?}")]
    Unchecked(u32),
    /// Requests failed.
    #[error("{0} requests failed: {1}")]
    Failures(u64, String),
}

impl From<Status> for ObjectsError {
    fn from(status: Status) -> Self {
        Box::new(status).into()
    }
}

/// A Weldr, and the means to change it.
struct Subject {
    stage: Stage,
    management: ManagementClient<Channel>,
    routing: RoutingClient<Channel>,
}

/// Measures, and says what came of it.
pub(crate) async fn run(binaries: &Binaries, rounds: u32) -> Result<(), ObjectsError> {
    let weldr = weldr::binary(binaries.weldr.as_deref())?;
    let cores = Cores::of_this_machine()?;
    machine::raise_descriptor_limit(4096);
    rules(&weldr, &cores, rounds).await?;
    pools(&weldr, &cores, rounds).await?;
    listeners(&weldr, &cores).await
}

/// The CPU of a request that the last of many rules matches, and the memory of a rule.
async fn rules(weldr: &Path, cores: &Cores, rounds: u32) -> Result<(), ObjectsError> {
    let mut subjects = Vec::new();
    let mut memory = Vec::new();
    for count in RULES {
        let mut subject = Subject::start(weldr, cores, 1).await?;
        let before = subject.memory();
        subject
            .apply(with_rules(subject.stage.listen, count))
            .await?;
        memory.push(subject.memory().saturating_sub(before));
        subjects.push(subject);
    }
    let mut ratios = vec![Vec::new(); RULES.len()];
    for _ in 0..rounds {
        let mut costs = Vec::new();
        for subject in &subjects {
            costs.push(subject.cost(cores).await?);
        }
        for (ratios, cost) in ratios.iter_mut().zip(&costs) {
            ratios.push(cost / costs[0]);
        }
    }
    for (count, ratios) in RULES.iter().zip(ratios).skip(1) {
        say!(
            "CPU of a request, {count} rules on as many hosts to 1: {:.3}",
            median(ratios)
        );
    }
    let most = RULES.len() - 1;
    say!(
        "memory of a rule: {:.0} bytes",
        memory[most].saturating_sub(memory[0]) as f64 / f64::from(RULES[most] - RULES[0])
    );
    Ok(())
}

/// The cost of adding a server beside many pools, and the memory of a pool and of a server.
async fn pools(weldr: &Path, cores: &Cores, rounds: u32) -> Result<(), ObjectsError> {
    let mut subjects = Vec::new();
    for count in POOLS {
        let mut subject = Subject::start(weldr, cores, SERVERS).await?;
        let begun = subject.memory();
        subject.apply(with_pools(count, &[])).await?;
        let empty = subject.memory();
        let servers = subject.stage.servers().to_vec();
        subject.apply(with_pools(count, &servers)).await?;
        subject.await_checks(count - 1).await?;
        let filled = subject.memory();
        if count == POOLS[POOLS.len() - 1] {
            let each = |from: u64, to: u64| to.saturating_sub(from) as f64 / f64::from(count);
            say!("memory of a pool: {:.0} bytes", each(begun, empty));
            let server = each(empty, filled) / SERVERS as f64;
            say!("memory of a server in a pool of {SERVERS}: {server:.0} bytes");
        }
        subjects.push(subject);
    }
    let (mut cpu, mut time) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let mut costs = Vec::new();
        for subject in &mut subjects {
            costs.push(subject.add_servers(round as usize).await?);
        }
        cpu.push(costs[1].0 / costs[0].0);
        time.push(costs[1].1 / costs[0].1);
    }
    let [few, many] = POOLS;
    say!(
        "adding a server, {many} pools of {SERVERS} servers to {few}: CPU {:.2}, time {:.2}",
        median(cpu),
        median(time)
    );
    Ok(())
}

/// A listener that comes and goes, while another one has the load.
async fn listeners(weldr: &Path, cores: &Cores) -> Result<(), ObjectsError> {
    let subject = Subject::start(weldr, cores, 1).await?;
    let mut routing = subject.routing.clone();
    let address = format!("127.0.0.2:{}", subject.stage.listen.port());
    let changes = async {
        for _ in 0..LISTENERS {
            let create = CreateListenerRequest {
                name: "guest".to_owned(),
                address: address.clone(),
                ..CreateListenerRequest::default()
            };
            routing.create_listener(create).await?;
            let delete = DeleteListenerRequest {
                name: "guest".to_owned(),
                ..DeleteListenerRequest::default()
            };
            routing.delete_listener(delete).await?;
        }
        Ok::<_, Status>(())
    };
    let mut changes = std::pin::pin!(changes);
    let (mut requests, mut failures) = (0, (0, String::new()));
    let mut end = None;
    while end.is_none() {
        let load = subject.load(cores, 64);
        let mut load = std::pin::pin!(load);
        let outcome = tokio::select! {
            outcome = &mut load => outcome,
            all = &mut changes => {
                end = Some(all);
                load.await
            }
        }?;
        requests += outcome.requests;
        failures.0 += outcome.failures;
        failures.1 = outcome.failure.unwrap_or(failures.1);
    }
    end.transpose()?;
    if failures.0 > 0 {
        return Err(ObjectsError::Failures(failures.0, failures.1));
    }
    say!("a listener added and removed {LISTENERS} times: 0 of {requests} other requests failed");
    Ok(())
}

impl Subject {
    async fn start(weldr: &Path, cores: &Cores, listeners: usize) -> Result<Self, ObjectsError> {
        // Checks would come by the clock.
        let setup = Setup {
            arguments: &["--check-interval", "1h"],
            ..Setup::DEFAULT
        };
        let cores = (&cores.proxy[..], &cores.load[..]);
        let stage = Stage::set(listeners, cores, STARTING, |site, management| {
            Ok(weldr::launch(weldr, setup, site, management))
        });
        let stage = stage.await?;
        let endpoint = Endpoint::from_shared(format!("http://{}", stage.management()))?;
        let channel = endpoint.connect().await?;
        Ok(Self {
            stage,
            management: ManagementClient::new(channel.clone()),
            routing: RoutingClient::new(channel),
        })
    }

    async fn apply(&mut self, configuration: Configuration) -> Result<(), ObjectsError> {
        let request = ApplyRequest {
            configuration: Some(configuration),
            ..ApplyRequest::default()
        };
        self.routing.apply(request).await?;
        Ok(())
    }

    /// Waits until each server of a pool was checked: the pools are checked in their order.
    async fn await_checks(&mut self, pool: u32) -> Result<(), ObjectsError> {
        let begun = Instant::now();
        loop {
            let request = GetPoolRequest {
                pool: name(pool),
                ..GetPoolRequest::default()
            };
            let pool = self.management.get_pool(request).await?.into_inner().pool;
            let counts = pool.and_then(|pool| pool.counts).unwrap_or_default();
            if counts.initial == 0 {
                return Ok(());
            }
            if begun.elapsed() > CHECKED_IN {
                return Err(ObjectsError::Unchecked(counts.initial));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn memory(&self) -> u64 {
        usage::memory(self.stage.proxy.id())
    }

    async fn load(
        &self,
        cores: &Cores,
        connections: usize,
    ) -> Result<crate::roles::load::spec::Outcome, TurnError> {
        let work = Work {
            connections,
            shape: Shape::Download(128),
            pace: Pace::Closed,
            warm_up: Duration::from_millis(100),
            until: Until::Elapsed(TURN),
        };
        self.stage.load(work, &cores.load).await
    }

    /// The CPU time of a request, in seconds.
    async fn cost(&self, cores: &Cores) -> Result<f64, ObjectsError> {
        let outcome = self.load(cores, 64).await?;
        if outcome.failures > 0 {
            let why = outcome.failure.unwrap_or_default();
            return Err(ObjectsError::Failures(outcome.failures, why));
        }
        Ok(outcome.cpu.total().as_secs_f64() / outcome.requests as f64)
    }

    /// Adds servers to a pool. Returns what each took: CPU time and time, in seconds.
    async fn add_servers(&mut self, round: usize) -> Result<(f64, f64), ObjectsError> {
        let process = self.stage.proxy.id();
        let (cpu, begun) = (usage::cpu(process), Instant::now());
        for number in 0..ADDED {
            // Nobody listens there.
            let number = 1 + round * ADDED + number;
            let address = format!("127.1.{}.{}:1", number / 250, 1 + number % 250);
            let request = AddServerRequest {
                pool: name(0),
                address,
                ..AddServerRequest::default()
            };
            self.management.add_server(request).await?;
        }
        let cpu = usage::cpu(process).since(&cpu).total();
        let each = |time: Duration| time.as_secs_f64() / ADDED as f64;
        Ok((each(cpu), each(begun.elapsed())))
    }
}

/// Rules on `count` hosts, the last of which is that of the load.
fn with_rules(listen: SocketAddr, count: u32) -> Configuration {
    let rules = (1..=count).map(|number| {
        let host = if number == count {
            listen.ip().to_string()
        } else {
            format!("host-{number}.example")
        };
        RuleConfiguration {
            priority: Some(number),
            conditions: Some(Conditions {
                hosts: vec![host],
                ..Conditions::default()
            }),
            route: Some(Route {
                forward: vec![WeightedPool {
                    pool: "default".to_owned(),
                    weight: None,
                }],
                ..Route::default()
            }),
        }
    });
    Configuration {
        listeners: vec![ListenerConfiguration {
            name: "default".to_owned(),
            rules: rules.collect(),
            ..ListenerConfiguration::default()
        }],
        ..Configuration::default()
    }
}

fn with_pools(count: u32, servers: &[SocketAddr]) -> Configuration {
    let server = |address: &SocketAddr| ServerConfiguration {
        address: address.to_string(),
        ..ServerConfiguration::default()
    };
    let pool = |number| PoolConfiguration {
        name: name(number),
        servers: servers.iter().map(server).collect(),
        ..PoolConfiguration::default()
    };
    Configuration {
        pools: (0..count).map(pool).collect(),
        ..Configuration::default()
    }
}

fn name(pool: u32) -> String {
    format!("pool-{pool}")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
