//! A `weldr` process, with a client of its management API: what [`crate::node`] is in this process.

use std::net::SocketAddr;

use weldr_proto::v1::{AddServerRequest, GetStatsRequest, HealthState, Server, Stats};

use crate::{
    node::{self, Client},
    process::{Finished, Process, Program},
    wait,
};

/// Options that make a change of health visible as soon as there can be one.
pub const QUICK_CHECKS: [&str; 4] = ["--check-interval", "100ms", "--unhealthy-threshold", "2"];

/// A running `weldr` that serves.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    proxy: SocketAddr,
    management: SocketAddr,
    client: Client,
}

impl Daemon {
    /// Starts `weldr` with [`QUICK_CHECKS`] and nothing on disk.
    pub async fn start() -> Self {
        Self::run(Program::weldr().args(QUICK_CHECKS)).await
    }

    /// Starts `program`, which is `weldr` with options, and waits until it serves.
    pub async fn run(program: Program) -> Self {
        let mut process = program.start();
        let proxy = process.proxy_address().await;
        let management = process.management_address().await;
        Self {
            process,
            proxy,
            management,
            client: node::connect(management),
        }
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The process, to close an output of it.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Where it proxies.
    pub fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    /// Where it is managed.
    pub fn management(&self) -> SocketAddr {
        self.management
    }

    /// A client of the management API.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// `weldrctl` that talks to it.
    pub fn weldrctl(&self, args: &[&str]) -> Program {
        let endpoint = format!("http://{}", self.management);
        Program::new("weldrctl")
            .env("WELDR_ENDPOINT", &endpoint)
            .args(args)
    }

    /// Runs `weldrctl` and gives what it printed.
    ///
    /// # Panics
    /// When its exit code is not 0.
    pub async fn ctl(&self, args: &[&str]) -> String {
        self.weldrctl(args).run().await.expect_success()
    }

    /// Adds a server, and waits for nothing.
    pub async fn add_unchecked(&self, server: SocketAddr) {
        let request = AddServerRequest {
            address: server.to_string(),
            ..Default::default()
        };
        let added = self.client().add_server(request).await;
        added.unwrap_or_else(|status| panic!("add {server}: {status}"));
    }

    /// Adds a server, and waits until it is healthy.
    pub async fn add(&self, server: SocketAddr) -> Server {
        self.add_unchecked(server).await;
        self.reaches(server, HealthState::Healthy).await
    }

    /// A server, or `None` when it is not there.
    pub async fn server(&self, server: SocketAddr) -> Option<Server> {
        node::get_server(&mut self.client(), server).await
    }

    /// Waits until a server is in `state`.
    pub async fn reaches(&self, server: SocketAddr, state: HealthState) -> Server {
        node::reaches(&mut self.client(), server, state).await
    }

    /// Waits until a server is gone.
    pub async fn is_rid_of(&self, server: SocketAddr) {
        wait::until(format!("{server} to be gone"), async || {
            match self.server(server).await {
                None => Ok(()),
                Some(there) => Err(format!("{:?}", there.health)),
            }
        })
        .await;
    }

    /// The statistics.
    pub async fn stats(&self) -> Stats {
        let stats = self.client().get_stats(GetStatsRequest::default()).await;
        let stats = stats.unwrap_or_else(|status| panic!("stats: {status}"));
        stats.into_inner().stats.expect("statistics")
    }

    /// Asks it to stop with SIGTERM, and waits until it has ended.
    pub async fn terminate(self) -> Finished {
        self.process.terminate().await
    }

    /// Waits until it has ended.
    pub async fn finished(self) -> Finished {
        self.process.finished().await
    }

    /// Ends it with SIGKILL, and gives the directory that it ran in.
    pub async fn kill(self) -> tempfile::TempDir {
        self.process.kill().await
    }
}

/// A running `test-server`.
#[derive(Debug)]
pub struct TestServer {
    process: Process,
    address: SocketAddr,
}

impl TestServer {
    /// Starts one on a port of its own.
    pub async fn start() -> Self {
        let mut process = Program::new("test-server").arg("0").start();
        let address = process.logged_address("listening on").await;
        Self { process, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it with SIGKILL.
    pub async fn kill(self) {
        self.process.kill().await;
    }
}
