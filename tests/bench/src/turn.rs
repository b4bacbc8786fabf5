//! One turn of one proxy: origin, proxy and load are started anew, and stopped when it is over.

use std::{
    convert::Infallible,
    fs, future, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    child::{Launch, Running},
    figures::{Metric, Sample},
    machine::Cores,
    peers::{Peer, Site},
    results::Kind,
    roles::load::spec::{LoadSpec, Outcome, Pace, Shape, Until},
    usage,
    weldr::{self, Changes, Management, Setup, WeldrError},
};

/// How long a proxy has to send its first response.
const STARTING: Duration = Duration::from_secs(20);

/// How long a load may take beyond its time.
const SLACK: Duration = Duration::from_mins(1);

/// Ports that one origin listens on: with a connection on each, it needs twice as many descriptors.
const PORTS_OF_AN_ORIGIN: usize = 4096;

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Who takes turns.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// What it is called.
    pub(crate) label: String,
    /// What it is.
    pub(crate) proxy: Proxy,
}

/// A proxy that can be started.
#[derive(Debug, Clone)]
pub(crate) enum Proxy {
    /// The byte forwarder.
    Floor,
    /// Another proxy, and its binary.
    Peer(&'static Peer, PathBuf),
    /// Weldr, and its binary.
    Weldr(Setup, PathBuf),
}

impl Proxy {
    /// What it is.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Floor => Kind::Floor,
            Self::Peer(..) => Kind::Peer,
            Self::Weldr(..) => Kind::Weldr,
        }
    }

    fn setup(&self) -> Setup {
        match self {
            Self::Weldr(setup, _) => *setup,
            Self::Floor | Self::Peer(..) => Setup::DEFAULT,
        }
    }

    fn launch(&self, site: Site<'_>, management: SocketAddr) -> io::Result<Launch> {
        match self {
            Self::Peer(peer, binary) => peer.launch(binary, site),
            Self::Weldr(setup, binary) => Ok(weldr::launch(binary, *setup, site, management)),
            Self::Floor => Launch::role([
                "floor",
                "--listen",
                &site.listen.to_string(),
                "--origin",
                &site.origin.to_string(),
            ]),
        }
    }
}

/// What is asked of everyone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// Connections of clients.
    pub(crate) connections: usize,
    /// What each of them does.
    pub(crate) shape: Shape,
    /// How fast.
    pub(crate) pace: Pace,
    /// How long nothing is counted.
    pub(crate) warm_up: Duration,
    /// When it ends.
    pub(crate) until: Until,
}

/// What a turn came to.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The figures.
    pub(crate) sample: Sample,
    /// Requests that failed.
    pub(crate) failures: u64,
    /// The first failure.
    pub(crate) failure: Option<String>,
}

/// Why a turn came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    /// The origin, the load, or a file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The origin did not say where it listens.
    #[error("the origin did not start")]
    NoOrigin,
    /// The proxy does not serve.
    #[error("it does not serve: {0}")]
    NotServing(String),
    /// The load did not end well.
    #[error("the load failed: {0}")]
    Load(String),
    /// Weldr could not be set up.
    #[error(transparent)]
    Weldr(#[from] WeldrError),
}

/// Origin and proxy, ready for a load. What is last is stopped last.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The proxy.
    pub(crate) proxy: Running,
    /// Where it serves.
    pub(crate) listen: SocketAddr,
    management: SocketAddr,
    servers: Vec<SocketAddr>,
    _origins: Vec<Running>,
    directory: TempDir,
}

impl Stage {
    /// Starts an origin, and then what `launch` says before it, and waits until that serves.
    ///
    /// `cores` are those of the proxy and those of the origin.
    pub(crate) async fn set<F>(
        listeners: usize,
        cores: (&[usize], &[usize]),
        patience: Duration,
        launch: F,
    ) -> Result<Self, TurnError>
    where
        F: FnOnce(Site<'_>, SocketAddr) -> io::Result<Launch>,
    {
        let directory = TempDir::with_prefix("weldr-bench-")?;
        let (origins, servers) = start_origins(listeners, cores.1, directory.path()).await?;
        let [listen, management] = free_ports()?;
        let site = Site {
            directory: directory.path(),
            listen,
            origin: *servers.first().ok_or(TurnError::NoOrigin)?,
        };
        let launch = launch(site, management)?.pinned(cores.0)?;
        let mut proxy = Running::start(&launch, directory.path(), "proxy.log")?;
        await_service(&mut proxy, listen, patience, directory.path()).await?;
        Ok(Self {
            proxy,
            listen,
            management,
            servers,
            _origins: origins,
            directory,
        })
    }

    /// Where its management listens, if it has one.
    pub(crate) fn management(&self) -> SocketAddr {
        self.management
    }

    /// Where the origin listens.
    pub(crate) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Puts a load on the proxy.
    pub(crate) async fn load(&self, work: Work, cores: &[usize]) -> Result<Outcome, TurnError> {
        // Connections to all servers are opened before anything is counted.
        let warm_up_requests = match self.servers.len() as u64 {
            1 => 0,
            servers => 2 * servers,
        };
        let spec = LoadSpec {
            target: self.listen,
            process: self.proxy.id(),
            connections: work.connections,
            shape: work.shape,
            pace: work.pace,
            warm_up: work.warm_up,
            warm_up_requests,
            until: work.until,
        };
        let spec_text = serde_json::to_string(&spec).map_err(io::Error::from)?;
        let role = Launch::role(["load".to_owned(), spec_text])?.pinned(cores)?;
        let mut load = Running::start(&role, self.directory(), "load.out")?;
        let counted = match work.until {
            Until::Elapsed(time) => time,
            Until::Requests(_) => SLACK,
        };
        let ended = timeout(work.warm_up + counted + SLACK, load.ended_at_last()).await;
        let said = fs::read_to_string(self.directory().join("load.out"))?;
        match ended {
            Ok(Ok(status)) if status.success() => {
                serde_json::from_str(&said).map_err(|_| TurnError::Load(said))
            }
            Ok(_) => Err(TurnError::Load(said.trim().to_owned())),
            Err(_) => Err(TurnError::Load("it did not end in time".to_owned())),
        }
    }
}

/// Starts as many origins as it takes, and says where they listen.
async fn start_origins(
    mut listeners: usize,
    cores: &[usize],
    directory: &Path,
) -> Result<(Vec<Running>, Vec<SocketAddr>), TurnError> {
    let (mut origins, mut servers) = (Vec::new(), Vec::new());
    while listeners > 0 {
        let count = listeners.min(PORTS_OF_AN_ORIGIN);
        let role = Launch::role(["origin", "--listeners", &count.to_string()])?;
        let mut origin = Running::start_talking(&role.pinned(cores)?, directory)?;
        let lines = timeout(STARTING, origin.lines(count)).await;
        let lines = lines.map_err(io::Error::from)??;
        servers.extend(
            lines
                .iter()
                .filter_map(|line| line.parse::<SocketAddr>().ok()),
        );
        origins.push(origin);
        listeners -= count;
    }
    Ok((origins, servers))
}

/// Takes a turn.
pub(crate) async fn take(proxy: &Proxy, work: Work, cores: &Cores) -> Result<Taken, TurnError> {
    let setup = proxy.setup();
    let proxy_cores = if setup.workers == 1 {
        &cores.proxy
    } else {
        &cores.two_workers
    };
    let stage = Stage::set(
        setup.listeners(),
        (proxy_cores, &cores.load),
        STARTING,
        |site, management| proxy.launch(site, management),
    )
    .await?;
    let management = match proxy {
        Proxy::Weldr(..) => Some(Management::connect(stage.management).await?),
        Proxy::Floor | Proxy::Peer(..) => None,
    };
    if let Some(management) = &management {
        management.fill(&stage.servers[1..setup.at_first()]).await?;
    }
    let (mut memory, mut made) = (0, 0);
    let changes = async {
        match &management {
            Some(management) if setup.changes != Changes::None => {
                management.change(setup, &stage.servers, &mut made).await
            }
            _ => future::pending().await,
        }
    };
    let begun = Instant::now();
    let outcome = tokio::select! {
        outcome = stage.load(work, &cores.load) => outcome?,
        error = changes => return Err(error.into()),
        never = watch_memory(stage.proxy.id(), work.warm_up, &mut memory) => match never {},
    };
    memory = memory.max(usage::memory(stage.proxy.id()));
    let mut taken = taken(outcome, memory);
    taken.failure = taken
        .failure
        .or_else(|| weldr::too_few_changes(setup, made, begun.elapsed()));
    Ok(taken)
}

fn taken(outcome: Outcome, memory: u64) -> Taken {
    let requests = outcome.requests as f64;
    let cpu = outcome.cpu.total().as_secs_f64() * 1e6 / requests;
    let system = cpu * outcome.cpu.system_share();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let mut sample = Sample::from([
        (Metric::MemoryBytes, memory as f64),
        (Metric::CpuMicros, cpu),
        (Metric::SystemMicros, system),
        (Metric::UserMicros, cpu - system),
    ]);
    if let Some(bytes) = outcome.idle_bytes {
        sample.insert(Metric::IdleConnectionBytes, bytes);
    } else {
        sample.extend([
            (
                Metric::RequestsPerSecond,
                requests / outcome.elapsed.as_secs_f64(),
            ),
            (Metric::P50Micros, micros(outcome.p50)),
            (Metric::P99Micros, micros(outcome.p99)),
            (Metric::P999Micros, micros(outcome.p999)),
        ]);
    }
    Taken {
        sample,
        failures: outcome.failures,
        failure: outcome.failure,
    }
}

/// Notes the most memory that a process had, for as long as it is polled.
async fn watch_memory(process: u32, warm_up: Duration, most: &mut u64) -> Infallible {
    sleep(warm_up).await;
    loop {
        *most = (*most).max(usage::memory(process));
        sleep(LOOK_EVERY).await;
    }
}

/// Two ports that nobody listens on now.
fn free_ports() -> io::Result<[SocketAddr; 2]> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let held = [TcpListener::bind(any)?, TcpListener::bind(any)?];
    Ok([held[0].local_addr()?, held[1].local_addr()?])
}

/// Waits until a request through the proxy is sent to the origin and its response arrives.
async fn await_service(
    proxy: &mut Running,
    address: SocketAddr,
    patience: Duration,
    directory: &Path,
) -> Result<(), TurnError> {
    let begun = Instant::now();
    loop {
        if matches!(timeout(patience, is_served(address)).await, Ok(Ok(true))) {
            return Ok(());
        }
        let why = if let Some(status) = proxy.ended()? {
            format!("it ended with {status}")
        } else if begun.elapsed() > patience {
            format!("no response after {patience:?}")
        } else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let log = fs::read_to_string(directory.join("proxy.log")).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        return Err(TurnError::NotServing(format!("{why}\n{}", last.join("\n"))));
    }
}

async fn is_served(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /bytes/1 HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await?;
    Ok(response.starts_with(b"HTTP/1.1 200"))
}
