//! Weldr itself: how it is built, started and changed.

use std::{
    env, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, interval, sleep};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use weldr_proto::v1::{
    AddServerRequest, GetPoolRequest, RemoveServerRequest, UpdateServerRequest,
    management_client::ManagementClient,
};

use crate::{child::Launch, peers::Site};

/// How Weldr is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Threads that proxy.
    pub(crate) workers: usize,
    /// Servers in its pool, all of them the origin.
    pub(crate) servers: usize,
    /// What is changed 100 times a second.
    pub(crate) changes: Changes,
    /// Whether each request is logged.
    pub(crate) access_log: bool,
    /// Further arguments.
    pub(crate) arguments: &'static [&'static str],
}

impl Setup {
    /// As it comes: one worker, one server.
    pub(crate) const DEFAULT: Self = Self {
        workers: 1,
        servers: 1,
        changes: Changes::None,
        access_log: false,
        arguments: &[],
    };

    /// How many ports the origin has to listen on.
    pub(crate) fn listeners(&self) -> usize {
        let away = match self.changes {
            Changes::Servers => AWAY,
            Changes::None | Changes::Weights => 0,
        };
        self.at_first() + away
    }

    /// How many servers are in the pool when the load begins.
    pub(crate) const fn at_first(&self) -> usize {
        match self.changes {
            Changes::Servers => self.servers + COMING_AND_GOING,
            Changes::None | Changes::Weights => self.servers,
        }
    }
}

/// What is changed while the load runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changes {
    /// Nothing.
    None,
    /// The weight of a server.
    Weights,
    /// Servers are added, and removed again.
    Servers,
}

/// Changes a second.
const CHANGES_A_SECOND: u32 = 100;

/// Servers that come and go: with one added and one removed every 20 ms, each stays for a second.
const COMING_AND_GOING: usize = CHANGES_A_SECOND as usize / 2;

/// Servers that were removed and will be added again.
const AWAY: usize = 8;

/// Calls that run at a time while the pool is filled.
const CALLS_AT_A_TIME: usize = 32;

/// How long a pool has to become healthy.
const HEALTHY_IN: Duration = Duration::from_secs(90);

/// Why Weldr could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WeldrError {
    /// It is not built.
    #[error(
        "`cargo build --release --package weldr-server` did not succeed; build it, or name it with --weldr"
    )]
    Build,
    /// Something around it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Its management cannot be reached.
    #[error("cannot connect to its management")]
    Connect(#[from] tonic::transport::Error),
    /// A call failed.
    #[error("its management refuses a change: {0}")]
    Call(#[from] Box<Status>),
    /// Its servers did not become healthy.
    #[error("{healthy} of {servers} servers are healthy after {HEALTHY_IN:?}")]
    Unhealthy {
        /// So many are.
        healthy: u32,
        /// Of so many.
        servers: usize,
    },
}

/// The release binary: the one that was named, or built now.
pub(crate) fn binary(named: Option<&Path>) -> Result<PathBuf, WeldrError> {
    if let Some(named) = named {
        return Ok(named.canonicalize()?);
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args([
            "build",
            "--release",
            "--package",
            "weldr-server",
            "--bin",
            "weldr",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .stdin(Stdio::null())
        .status()?;
    // This binary lies in target/PROFILE/.
    let target = env::current_exe()?;
    let binary = target
        .ancestors()
        .nth(2)
        .map(|target| target.join("release/weldr"))
        .filter(|binary| built.success() && binary.is_file());
    binary.ok_or(WeldrError::Build)
}

/// Whether this binary can log requests.
pub(crate) fn has_access_log(binary: &Path) -> io::Result<bool> {
    let help = Command::new(binary).arg("--help").output()?;
    Ok(memchr::memmem::find(&help.stdout, b"--access-log-file").is_some())
}

/// How to start it, in the way that users do.
pub(crate) fn launch(
    binary: &Path,
    setup: Setup,
    site: Site<'_>,
    management: SocketAddr,
) -> Launch {
    let mut arguments = vec![
        "--ephemeral".to_owned(),
        "--listen".to_owned(),
        site.listen.to_string(),
        "--management".to_owned(),
        management.to_string(),
        "--server".to_owned(),
        site.origin.to_string(),
        "--workers".to_owned(),
        setup.workers.to_string(),
    ];
    arguments.extend(setup.arguments.iter().map(|&argument| argument.to_owned()));
    if setup.access_log {
        let log = site.directory.join("access.log");
        arguments.extend(["--access-log", "json", "--access-log-file"].map(str::to_owned));
        arguments.push(log.to_string_lossy().into_owned());
    }
    Launch::new(binary, arguments)
}

/// A word on it when the pool was not changed as often as it should have been.
pub(crate) fn too_few_changes(setup: Setup, changed: u32, time: Duration) -> Option<String> {
    let wanted = time.as_secs_f64() * f64::from(CHANGES_A_SECOND);
    let is_short = setup.changes != Changes::None && f64::from(changed) < 0.9 * wanted;
    is_short.then(|| format!("{changed} of {wanted:.0} changes were made"))
}

/// The management of a Weldr that runs.
#[derive(Debug, Clone)]
pub(crate) struct Management(ManagementClient<Channel>);

impl Management {
    /// Connects to it.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, WeldrError> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        Ok(Self(ManagementClient::new(endpoint.connect().await?)))
    }

    /// Adds servers, and waits until all in the pool are healthy.
    pub(crate) async fn fill(&self, servers: &[SocketAddr]) -> Result<(), WeldrError> {
        let before = self.healthy().await?.1;
        stream::iter(servers)
            .map(|&server| self.add(server))
            .buffer_unordered(CALLS_AT_A_TIME)
            .try_collect::<()>()
            .await?;
        let begun = Instant::now();
        loop {
            let (healthy, all) = self.healthy().await?;
            if healthy == all && all as usize >= before as usize + servers.len() {
                return Ok(());
            }
            if begun.elapsed() > HEALTHY_IN {
                return Err(WeldrError::Unhealthy {
                    healthy,
                    servers: all as usize,
                });
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many servers are healthy, and how many there are.
    async fn healthy(&self) -> Result<(u32, u32), WeldrError> {
        let mut client = self.0.clone();
        let response = client.get_pool(GetPoolRequest::default()).await;
        let pool = response.map_err(Box::new)?.into_inner().pool;
        let counts = pool.and_then(|pool| pool.counts).unwrap_or_default();
        let others = counts.initial + counts.unhealthy + counts.draining + counts.unused;
        Ok((counts.healthy, counts.healthy + others))
    }

    async fn add(&self, server: SocketAddr) -> Result<(), WeldrError> {
        let request = AddServerRequest {
            address: server.to_string(),
            ..AddServerRequest::default()
        };
        let response = self.0.clone().add_server(request).await;
        response.map(drop).map_err(|status| Box::new(status).into())
    }

    async fn remove(&self, server: SocketAddr) -> Result<(), WeldrError> {
        let request = RemoveServerRequest {
            address: server.to_string(),
            ..RemoveServerRequest::default()
        };
        let response = self.0.clone().remove_server(request).await;
        response.map(drop).map_err(|status| Box::new(status).into())
    }

    async fn weigh(&self, server: SocketAddr, weight: u32) -> Result<(), WeldrError> {
        let request = UpdateServerRequest {
            address: server.to_string(),
            weight: Some(weight),
            ..UpdateServerRequest::default()
        };
        let response = self.0.clone().update_server(request).await;
        response.map(drop).map_err(|status| Box::new(status).into())
    }

    /// Changes the pool 100 times a second and counts in `changed`, until it is dropped or a call fails.
    ///
    /// `servers` are those of the origin; the first of them are in the pool.
    pub(crate) async fn change(
        &self,
        setup: Setup,
        servers: &[SocketAddr],
        changed: &mut u32,
    ) -> WeldrError {
        let mut ticks = interval(Duration::from_secs(1) / CHANGES_A_SECOND);
        loop {
            let step = *changed;
            ticks.tick().await;
            let done = match setup.changes {
                Changes::None => Ok(()),
                Changes::Weights => self.weigh(servers[0], 1 + step % 2).await,
                Changes::Servers => {
                    let turn = (step / 2) as usize;
                    let server =
                        |turn: usize| servers[setup.servers + turn % (COMING_AND_GOING + AWAY)];
                    if step.is_multiple_of(2) {
                        self.add(server(turn + COMING_AND_GOING)).await
                    } else {
                        self.remove(server(turn)).await
                    }
                }
            };
            if let Err(error) = done {
                return error;
            }
            *changed = step.wrapping_add(1);
        }
    }
}
