//! Clusters of real `weldr` processes on loopback, with a network between them that can be cut or slow.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use weldr_proto::v1::{
    AddServerRequest, GetClusterRequest, GetClusterResponse, ListServersRequest, Node, NodeRole,
    cluster_client::ClusterClient,
};

use crate::{
    node::{Client, connect},
    process::{Process, Program, Signal},
    relay::Relay,
    wait,
};

/// A client of the cluster's API at the node that is managed at `management`, which waits so long for each response.
pub fn members_of(management: SocketAddr, patience: Duration) -> ClusterClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{management}"));
    let endpoint = endpoint.expect("an address is a URL").timeout(patience);
    ClusterClient::new(endpoint.connect_lazy())
}

/// Some nodes, by the names `a`, `b`, `c` and so on.
#[derive(Debug)]
pub struct TestCluster {
    /// The nodes; each is there also while its process is not.
    pub nodes: Vec<ClusterNode>,
    files: TempDir,
    extra: Vec<String>,
    /// Whether a node that comes back is managed where it was.
    pinned: bool,
    /// Whether nodes reach each other without a relay.
    direct: bool,
    /// The program of another version, and the nodes that run it.
    previous: Option<(PathBuf, Vec<usize>)>,
}

/// A node of a [`TestCluster`].
#[derive(Debug)]
pub struct ClusterNode {
    /// What operators call it.
    pub name: String,
    ip: IpAddr,
    data_dir: PathBuf,
    relay: Relay,
    /// Where it is managed, or was last.
    managed: Option<SocketAddr>,
    /// Where it listens for others, or did last.
    clustered: Option<SocketAddr>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    process: Process,
    management: SocketAddr,
    proxy: SocketAddr,
}

impl TestCluster {
    /// `size` nodes, all of them voters.
    pub async fn start(size: u8) -> Self {
        Self::start_with(size, &[]).await
    }

    /// [`Self::start`] with arguments for every node; `FILES` in them is the directory of [`Self::file`].
    pub async fn start_with(size: u8, extra: &[&str]) -> Self {
        let files = TempDir::with_prefix("weldr-cluster-").expect("a temporary directory");
        std::fs::write(files.path().join("secret"), "open sesame, open sesame").expect("a file");
        Self::begin(size, files, extra, false).await
    }

    /// [`Self::start`] with nodes that reach each other without a relay: one that is dead refuses connections.
    pub async fn start_direct(size: u8) -> Self {
        let files = TempDir::with_prefix("weldr-cluster-").expect("a temporary directory");
        std::fs::write(files.path().join("secret"), "open sesame, open sesame").expect("a file");
        Self::begin(size, files, &[], true).await
    }

    /// [`Self::start`], and nodes that come back are managed where they were.
    pub async fn start_pinned(size: u8) -> Self {
        Self::start(size).await.pinned()
    }

    /// From now on, nodes that come back are managed where they were.
    #[must_use]
    pub fn pinned(mut self) -> Self {
        self.pinned = true;
        self
    }

    /// [`Self::start_with`] files that are there already; the one named `secret` has to be.
    pub async fn begin(size: u8, files: TempDir, extra: &[&str], direct: bool) -> Self {
        let path = files.path().to_str().expect("a path in UTF-8").to_owned();
        let extra = extra
            .iter()
            .map(|arg| arg.replace("FILES", &path))
            .collect();
        let mut cluster = Self {
            nodes: Vec::new(),
            files,
            extra,
            pinned: false,
            direct,
            previous: None,
        };
        for index in 0..size {
            cluster.add_node(index).await;
        }
        cluster.run_all().await;
        cluster
    }

    /// Three nodes of another version, whose program is `previous`.
    pub async fn start_previous(previous: PathBuf) -> Self {
        let files = TempDir::with_prefix("weldr-cluster-").expect("a temporary directory");
        std::fs::write(files.path().join("secret"), "open sesame, open sesame").expect("a file");
        let mut cluster = Self::begin(0, files, &[], false).await;
        cluster.previous = Some((previous, vec![0, 1, 2]));
        for index in 0..3 {
            cluster.add_node(index).await;
        }
        cluster.run_all().await;
        cluster
    }

    async fn run_all(&mut self) {
        for index in 0..self.nodes.len() {
            self.run(index).await;
        }
        if !self.nodes.is_empty() {
            self.has_voters(self.nodes.len()).await;
        }
    }

    /// From now on, a node has this version and these arguments beside its others.
    pub fn upgrade(&mut self, index: usize, extra: &[&str]) {
        if let Some((_, nodes)) = &mut self.previous {
            nodes.retain(|node| *node != index);
        }
        self.extra = extra.iter().map(ToString::to_string).collect();
    }

    async fn add_node(&mut self, index: u8) {
        let name = char::from(b'a' + index).to_string();
        self.nodes.push(ClusterNode {
            data_dir: self.files.path().join(&name),
            name,
            // Each has an address of its own, so that the relays can tell who comes.
            ip: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11 + index)),
            relay: Relay::start().await,
            managed: None,
            clustered: None,
            running: None,
        });
    }

    /// The arguments that make a node of the cluster, joining it by the first other one.
    pub fn program(&self, index: usize) -> Program {
        let node = &self.nodes[index];
        let management = node.managed.filter(|_| self.pinned);
        let management = management.unwrap_or_else(|| (node.ip, 0).into());
        let cluster = node.clustered.filter(|_| self.direct);
        let cluster = cluster.unwrap_or_else(|| (node.ip, 0).into());
        let is_previous = self
            .previous
            .as_ref()
            .filter(|(_, nodes)| nodes.contains(&index));
        let program = match is_previous {
            Some((path, _)) => Program::at("weldr", path),
            None => Program::new("weldr"),
        };
        let mut program = program
            .args([
                "--listen",
                "127.0.0.1:0",
                "--management",
                &management.to_string(),
            ])
            .args(["--node-name", &node.name, "--workers", "1"])
            .args(["--cluster", &cluster.to_string()])
            .arg("--data-dir")
            .arg(&node.data_dir)
            .arg("--cluster-secret-file")
            .arg(self.files.path().join("secret"))
            .args(&self.extra);
        if !self.direct {
            let advertise = node.relay.address().to_string();
            program = program.args(["--cluster-advertise", &advertise]);
        }
        if index == 0 {
            program = program.arg("--found-cluster");
        } else {
            let others = self.nodes.iter().enumerate();
            for (_, other) in others.filter(|(other, _)| *other != index) {
                if other.running.is_some() {
                    program = program.args(["--join", &self.reached_at(other).to_string()]);
                }
            }
        }
        program
    }

    /// Starts the process of a node.
    pub async fn run(&mut self, index: usize) {
        let mut process = self.program(index).start();
        let cluster = process.logged_address("cluster listening").await;
        self.nodes[index].relay.lead_to(cluster);
        self.nodes[index].clustered = Some(cluster);
        let proxy = process.proxy_address().await;
        let management = process.management_address().await;
        self.nodes[index].managed = Some(management);
        self.nodes[index].running = Some(Running {
            process,
            management,
            proxy,
        });
    }

    /// Who comes to a node's address is sent to `target`.
    pub fn lead_to(&self, index: usize, target: SocketAddr) {
        self.nodes[index].relay.lead_to(target);
    }

    /// Where the others reach a node.
    pub fn address(&self, index: usize) -> SocketAddr {
        self.reached_at(&self.nodes[index])
    }

    fn reached_at(&self, node: &ClusterNode) -> SocketAddr {
        let direct = node.clustered.filter(|_| self.direct);
        direct.unwrap_or_else(|| node.relay.address())
    }

    /// The address on which a node itself listens for the others, without a relay.
    pub fn clustered(&self, index: usize) -> SocketAddr {
        self.nodes[index].clustered.expect("a node that ran")
    }

    /// A node with the secret and no certificate, which asks to join at another.
    pub fn plain_joiner(&self, at: usize) -> Program {
        Program::weldr()
            .args(["--node-name", "plain", "--cluster", "127.0.0.1:0"])
            .args(["--join", &self.address(at).to_string()])
            .arg("--cluster-secret-file")
            .arg(self.file("secret"))
    }

    /// A node without the secret, which asks to join at those that run.
    pub fn guest(&self, name: &str, options: &[&str]) -> Program {
        let mut program = Program::weldr()
            .args(["--node-name", name, "--cluster", "127.0.0.1:0"])
            .args(options);
        for index in self.running_nodes() {
            program = program.args(["--join", &self.address(index).to_string()]);
        }
        program
    }

    /// The id of a node, as the others know it.
    pub async fn id(&self, index: usize) -> u64 {
        let status = self
            .status(self.running_nodes()[0])
            .await
            .expect("a status");
        let node = status
            .nodes
            .iter()
            .find(|node| node.name == self.nodes[index].name);
        u64::from_str_radix(&node.expect("a member").id, 16).expect("an id")
    }

    /// The data directory of a node.
    pub fn data_dir(&self, index: usize) -> &std::path::Path {
        &self.nodes[index].data_dir
    }

    /// The leader, if a running node knows one now.
    pub async fn leader_now(&self) -> Option<usize> {
        for index in self.running_nodes() {
            let Ok(status) = self.status(index).await else {
                continue;
            };
            let leader = self
                .nodes
                .iter()
                .position(|node| node.name == status.leader);
            if leader.is_some() {
                return leader;
            }
        }
        None
    }

    /// A file that the nodes may read.
    pub fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Ends a node with SIGKILL.
    pub async fn kill(&mut self, index: usize) {
        if let Some(running) = self.nodes[index].running.take() {
            running.process.kill().await;
        }
    }

    /// Asks a node to stop, and waits until it has; gives what it wrote for people.
    pub async fn terminate(&mut self, index: usize) -> String {
        let running = self.nodes[index].running.take().expect("a running node");
        let finished = running.process.terminate().await;
        assert!(finished.status.success(), "{finished:?}");
        finished.stderr
    }

    /// Sends a signal to a node.
    pub fn signal(&self, index: usize, signal: Signal) {
        self.process(index).signal(signal);
    }

    /// The process of a running node.
    pub fn process(&self, index: usize) -> &Process {
        &self.running(index).process
    }

    fn running(&self, index: usize) -> &Running {
        let running = self.nodes[index].running.as_ref();
        running.expect("a running node")
    }

    /// Where a running node is managed.
    pub fn management(&self, index: usize) -> SocketAddr {
        self.running(index).management
    }

    /// Where a running node proxies.
    pub fn proxy(&self, index: usize) -> SocketAddr {
        self.running(index).proxy
    }

    /// A client of the management API of a running node.
    pub fn client(&self, index: usize) -> Client {
        connect(self.management(index))
    }

    /// What `weldrctl` says at a running node.
    pub fn weldrctl(&self, index: usize) -> Program {
        let endpoint = self.management(index).to_string();
        Program::new("weldrctl").args(["--endpoint", &endpoint])
    }

    /// `from` can no longer reach `to`.
    pub fn cut_one_way(&self, from: usize, to: usize) {
        self.nodes[to].relay.cut(self.nodes[from].ip);
    }

    /// The node reaches no other, and none reaches it.
    pub fn isolate(&self, index: usize) {
        for (from, to) in self.links(index) {
            self.cut_one_way(from, to);
        }
    }

    /// What passes between the node and the others takes longer by this, each way.
    pub fn slow(&self, index: usize, by: Duration) {
        for (from, to) in self.links(index) {
            self.nodes[to].relay.delay(self.nodes[from].ip, by);
        }
    }

    /// From the node to each other one, and back.
    fn links(&self, index: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let others = (0..self.nodes.len()).filter(move |other| *other != index);
        others.flat_map(move |other| [(index, other), (other, index)])
    }

    /// Everybody reaches everybody.
    pub fn heal(&self) {
        for node in &self.nodes {
            node.relay.heal();
        }
    }

    /// The running nodes.
    pub fn running_nodes(&self) -> Vec<usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(|(_, node)| node.running.is_some())
            .map(|(index, _)| index)
            .collect()
    }

    /// The cluster as a node sees it.
    pub async fn status(&self, index: usize) -> Result<GetClusterResponse, tonic::Status> {
        let mut client = members_of(self.management(index), wait::LIMIT);
        let status = client.get_cluster(GetClusterRequest {}).await?;
        Ok(status.into_inner())
    }

    /// Waits until a running node, asked by `by`, leads with a quorum; gives it.
    pub async fn leader_by(&self, by: usize) -> usize {
        wait::until("a leader", async || {
            let status = self.status(by).await.map_err(|error| error.to_string())?;
            let leader = self
                .nodes
                .iter()
                .position(|node| node.name == status.leader);
            leader
                .filter(|_| status.quorum)
                .ok_or_else(|| format!("{status:?}"))
        })
        .await
    }

    /// Waits until the first running node knows a leader; gives it.
    pub async fn leader(&self) -> usize {
        self.leader_by(self.running_nodes()[0]).await
    }

    /// Waits until so many nodes vote.
    pub async fn has_voters(&self, wanted: usize) {
        let by = self.running_nodes()[0];
        wait::until(format!("{wanted} voters"), async || {
            let status = self.status(by).await.map_err(|error| error.to_string())?;
            let votes = |node: &&Node| matches!(node.role(), NodeRole::Leader | NodeRole::Follower);
            let found = status.nodes.iter().filter(votes).count();
            if found == wanted && status.quorum {
                Ok(())
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await;
    }

    /// Adds a server at a node.
    pub async fn add(&self, index: usize, port: u16) -> Result<u64, tonic::Status> {
        let request = AddServerRequest {
            address: format!("127.0.0.1:{port}"),
            ..AddServerRequest::default()
        };
        let added = self.client(index).add_server(request).await?;
        Ok(added.into_inner().revision)
    }

    /// The ports of the servers, as a node lists them.
    pub async fn ports(&self, index: usize, stale: bool) -> Result<Vec<u16>, tonic::Status> {
        let request = ListServersRequest {
            stale,
            ..ListServersRequest::default()
        };
        let servers = self
            .client(index)
            .list_servers(request)
            .await?
            .into_inner()
            .servers;
        let port = |address: &str| address.parse::<SocketAddr>().expect("an address").port();
        Ok(servers.iter().map(|server| port(&server.address)).collect())
    }
}
