//! Three machines whose `weldr` form a cluster behind an address, and a client that reaches the address.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    address_clients::{
        Asked, Observation, Used, ask, ask_again_and_again, more_use, responds, use_again_and_again,
    },
    machine_faults::MachineFaults,
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
    /// The faults of the machines, by node; empty if they have none.
    pub faults: Vec<MachineFaults>,
}

/// Where the other nodes reach a node.
fn cluster_address(node: usize) -> String {
    format!("10.0.0.{}:8688", node + 2)
}

impl AddressCluster {
    /// Three voters, one of which holds the address and serves through it; `None` without namespaces.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// [`start`](Self::start) with these options for each node.
    pub async fn start_with(options: &[&str]) -> Option<Self> {
        Self::start_on(options, false).await
    }

    /// [`start_with`](Self::start_with) on machines whose disks and clocks can fail; `None` also without a C compiler.
    pub async fn start_on_faulty_machines(options: &[&str]) -> Option<Self> {
        Self::start_on(options, true).await
    }

    async fn start_on(options: &[&str], may_fail: bool) -> Option<Self> {
        let lan = Lan::new()?;
        let client = lan.host(1);
        let machines = vec![lan.host(2), lan.host(3), lan.host(4)];
        let mut origin = Program::on(&client, "test-server")
            .arg("10.0.0.1:0")
            .start();
        let origin_address = origin.logged_address("listening").await.to_string();
        let files = TempDir::new().unwrap();
        std::fs::write(files.path().join("secret"), "open sesame, open sesame").unwrap();
        let faults = |name: &&str| MachineFaults::new(&files.path().join("faults").join(name));
        let names = NAMES.iter().filter(|_| may_fail);
        let faults = names.map(faults).collect::<Option<_>>()?;
        let mut cluster = Self {
            files,
            faults,
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

    /// Starts a node as the first start of the cluster did.
    pub async fn run(&mut self, node: usize) {
        self.run_with(node, &[]).await;
    }

    /// [`run`](Self::run) with options of its own.
    pub async fn run_with(&mut self, node: usize, options: &[&str]) {
        let membership = match node {
            0 => vec!["--found-cluster".to_owned()],
            _ => self.join(0),
        };
        let program = self.program(node).args(membership).args(options);
        let process = program.start();
        process.logs("management listening").await;
        self.nodes[node] = Some(process);
    }

    /// The arguments to join the cluster at the machine of `other`.
    pub fn join(&self, other: usize) -> Vec<String> {
        vec!["--join".to_owned(), cluster_address(other)]
    }

    /// `weldr` with the options of a node that say nothing of which cluster it belongs to.
    pub fn program(&self, node: usize) -> Program {
        let files = self.files.path();
        let program = Program::on(&self.machines[node], "weldr")
            .args(["--listen", "0.0.0.0:8080", "--management", "127.0.0.1:8687"])
            .args(["--workers", "1", "--server", &self.origin_address])
            .args(["--node-name", NAMES[node]])
            .args(["--cluster", &cluster_address(node)])
            .args(["--vip", ADDRESS, "--vip-interface", Host::INTERFACE])
            .args([Path::new("--cluster-secret-file"), &files.join("secret")])
            .args([Path::new("--data-dir"), &self.data_dir(node)])
            .args(&self.options);
        match self.faults.get(node) {
            Some(faults) => faults.on(program),
            None => program,
        }
    }

    /// The data directory of a node.
    pub fn data_dir(&self, node: usize) -> PathBuf {
        self.files.path().join(NAMES[node])
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

    /// Begins to record, with some responses from before anything happens. The client does not wait for long, so that it tells how
    /// long the address was away.
    pub async fn observe(&self) -> Observation {
        self.observe_by(self.client.record(ask_again_and_again))
            .await
    }

    /// [`observe`](Self::observe) with a client that waits, so that what fails is lost.
    pub async fn observe_patiently(&self) -> Observation {
        let patience = Duration::from_secs(10);
        let client = move |asked: &Mutex<Asked>, is_over: &dyn Fn() -> bool| {
            ask(patience, asked, is_over);
        };
        self.observe_by(self.client.record(client)).await
    }

    async fn observe_by(&self, asked: Watcher<Asked>) -> Observation {
        let machines: Vec<_> = self.machines.iter().collect();
        let observation = Observation {
            sightings: self.lan.watch(&machines, ip()),
            claims: self.lan.sniff(ip()),
            asked,
        };
        observation.more_responses().await;
        observation
    }

    /// The process of a running node.
    pub fn process(&self, node: usize) -> &Process {
        self.nodes[node].as_ref().unwrap()
    }
}
