//! Three machines whose `weldr` form a cluster behind an address, and a client that reaches the address.

use std::{net::IpAddr, path::Path};

use tempfile::TempDir;

use crate::{
    address_clients::{
        Observation, Used, ask_again_and_again, more_use, responds, use_again_and_again,
    },
    netns::{Host, Lan, Watcher},
    process::{Finished, Process, Program},
    wait,
};

/// The virtual address, with the length of its prefix.
pub const ADDRESS: &str = "10.0.0.100/24";

/// The virtual address.
pub fn ip() -> IpAddr {
    [10, 0, 0, 100].into()
}

/// The names of the nodes, which are the machines 10.0.0.2 to 10.0.0.4.
pub const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three machines whose `weldr` form a cluster behind an address, and a client.
#[derive(Debug)]
pub struct AddressCluster {
    /// The data directories, and other files of the nodes.
    pub files: TempDir,
    _origin: Process,
    origin_address: String,
    /// The nodes; `None` for each that does not run.
    pub nodes: Vec<Option<Process>>,
    /// Their machines.
    pub machines: Vec<Host>,
    /// The machine of the clients and of the origin.
    pub client: Host,
    /// The switch.
    pub lan: Lan,
    options: Vec<String>,
}

impl AddressCluster {
    /// Three voters, one of which holds the address and serves through it; `None` without namespaces.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// [`start`](Self::start) with these options for each node.
    pub async fn start_with(options: &[&str]) -> Option<Self> {
        let lan = Lan::new()?;
        let client = lan.host(1);
        let machines = vec![lan.host(2), lan.host(3), lan.host(4)];
        let mut origin = Program::on(&client, "test-server")
            .arg("10.0.0.1:0")
            .start();
        let origin_address = origin.logged_address("listening").await.to_string();
        let files = TempDir::new().unwrap();
        std::fs::write(files.path().join("secret"), "open sesame, open sesame").unwrap();
        let mut cluster = Self {
            files,
            _origin: origin,
            origin_address,
            nodes: vec![None, None, None],
            machines,
            client,
            lan,
            options: options.iter().map(|&option| option.to_owned()).collect(),
        };
        for node in 0..NAMES.len() {
            cluster.run(node).await;
        }
        cluster.is_whole().await;
        responds(&cluster.client).await;
        Some(cluster)
    }

    /// Starts a node.
    pub async fn run(&mut self, node: usize) {
        let machine = &self.machines[node];
        let address = |node: usize| format!("10.0.0.{}:8688", node + 2);
        let files = self.files.path();
        let mut program = Program::on(machine, "weldr")
            .args(["--listen", "0.0.0.0:8080", "--management", "127.0.0.1:8687"])
            .args(["--workers", "1", "--server", &self.origin_address])
            .args([
                "--node-name",
                NAMES[node],
                "--cluster",
                &address(node),
                "--cluster-insecure",
            ])
            .args(["--vip", ADDRESS, "--vip-interface", Host::INTERFACE])
            .args([Path::new("--cluster-secret-file"), &files.join("secret")])
            .args([Path::new("--data-dir"), &files.join(NAMES[node])])
            .args(&self.options);
        program = match node {
            0 => program.arg("--found-cluster"),
            _ => program.args(["--join", &address(0)]),
        };
        let process = program.start();
        process.logs("management listening").await;
        self.nodes[node] = Some(process);
    }

    /// What `weldrctl cluster` says at a node.
    pub async fn ctl(&self, node: usize, args: &[&str]) -> Finished {
        let program = Program::on(&self.machines[node], "weldrctl");
        program.arg("cluster").args(args).run().await
    }

    /// Waits until a leader and two followers are there.
    pub async fn is_whole(&self) {
        let running = self.nodes.iter().position(Option::is_some).unwrap();
        wait::until("three nodes that vote", async || {
            let status = self.ctl(running, &["status"]).await;
            let count = |role: &str| status.stdout.matches(role).count();
            // The leader is in its row and in the verdict.
            if status.stdout.contains("quorum, led by") && count(" follower ") == 2 {
                Ok(())
            } else {
                Err(format!("{status:#?}"))
            }
        })
        .await;
        // A node that was started again gives no vote for the length of a lease, unless it has heard from a leader.
        for process in self.nodes.iter().flatten() {
            wait::until("a node to know the leader", async || {
                let log = process.stderr();
                let knows = log.contains("another node leads") || log.contains("this node leads");
                if knows { Ok(()) } else { Err(log) }
            })
            .await;
        }
    }

    /// The node that has the address, once one has.
    pub async fn holder(&self) -> usize {
        wait::until("a holder of the address", async || {
            let mut holders = 0..self.machines.len();
            holders
                .find(|node| self.machines[*node].has(ip()))
                .ok_or("nobody has it")
        })
        .await
    }

    /// Waits until a node other than `old` has the address.
    pub async fn moves_from(&self, old: usize) -> usize {
        wait::until(format!("the address to leave {}", NAMES[old]), async || {
            let mut others = (0..self.machines.len()).filter(|node| *node != old);
            others
                .find(|node| self.machines[*node].has(ip()))
                .ok_or("it is there")
        })
        .await
    }

    /// Clients that use the address, from now on; each has had responses.
    pub async fn users(&self) -> Vec<Watcher<Used>> {
        let users: Vec<_> = (0..4)
            .map(|_| self.client.record(use_again_and_again))
            .collect();
        more_use(&users).await;
        users
    }

    /// The nodes that have the address, as the status says.
    pub async fn shown_holders(&self, asked: usize) -> Vec<String> {
        let status = self.ctl(asked, &["status"]).await;
        let lines = status.stdout.lines().filter(|line| line.contains(ADDRESS));
        lines
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect()
    }

    /// Begins to record, with some responses from before anything happens.
    pub async fn observe(&self) -> Observation {
        let machines: Vec<_> = self.machines.iter().collect();
        let observation = Observation {
            sightings: self.lan.watch(&machines, ip()),
            claims: self.lan.sniff(ip()),
            asked: self.client.record(ask_again_and_again),
        };
        observation.more_responses().await;
        observation
    }

    /// The process of a running node.
    pub fn process(&self, node: usize) -> &Process {
        self.nodes[node].as_ref().unwrap()
    }
}
