//! A Weldr node in this process, on ports of its own, with a client of its management API.

use std::{net::SocketAddr, time::Duration};

use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
pub use weldr::config::Config;
use weldr::{config::Storage, node::Node};
use weldr_proto::v1::{
    AddServerRequest, GetServerRequest, GetStatsRequest, HealthState, Server, Stats,
    UpdatePoolRequest, UpdateServerRequest, management_client::ManagementClient,
};

use crate::{http1::Response, origin::Origin, raw, wait};

/// The management client that tests use.
pub type Client = ManagementClient<Channel>;

/// A running node.
#[derive(Debug)]
pub struct TestNode {
    node: Node,
    client: Client,
    /// Responds to the health checks of [`TestNode::start`].
    _beacon: Option<Origin>,
}

/// A configuration for tests: ports of its own, nothing on disk, two workers, and checks at the quickest
/// pace that there is.
pub fn config() -> Config {
    let mut config = Config {
        listen: vec![any_port()],
        management: any_port(),
        storage: Storage::Ephemeral,
        workers: 2,
        ..Config::default()
    };
    config.pool.check.interval = Duration::from_millis(100);
    config.pool.check.unhealthy_threshold = 2;
    config
}

fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

impl TestNode {
    /// A node whose health checks go to a server of the harness instead of the origins, so that an origin
    /// sees the traffic and nothing else.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// [`Self::start`] with changes to the configuration.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let beacon = Origin::saying("healthy");
        let mut config = config();
        config.pool.check.port = Some(beacon.address().port());
        change(&mut config);
        Self::run(config, Some(beacon)).await
    }

    /// A node that checks the origins themselves.
    pub async fn start_checking() -> Self {
        Self::run(config(), None).await
    }

    /// [`Self::start_checking`] with changes to the configuration.
    pub async fn start_checking_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        Self::run(config, None).await
    }

    /// A node with these servers, all of them healthy.
    pub async fn before(servers: &[SocketAddr]) -> Self {
        let node = Self::start().await;
        for &server in servers {
            node.add(server).await;
        }
        node
    }

    async fn run(config: Config, beacon: Option<Origin>) -> Self {
        // In a box: all that a node is made of is in its future.
        let node = wait::bounded("the node to start", Box::pin(Node::start(config))).await;
        let node = node.unwrap_or_else(|error| panic!("the node does not start: {error:?}"));
        let client = connect(node.management_address());
        Self {
            node,
            client,
            _beacon: beacon,
        }
    }

    /// Where it proxies.
    pub fn proxy(&self) -> SocketAddr {
        self.node.proxy_addresses()[0]
    }

    /// Where it proxies inside TLS, if it is told to.
    ///
    /// # Panics
    /// When it is not.
    pub fn secure_proxy(&self) -> SocketAddr {
        self.node.proxy_addresses()[1]
    }

    /// Where it is managed.
    pub fn management(&self) -> SocketAddr {
        self.node.management_address()
    }

    /// A client of the management API.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Adds a server and waits until it is healthy.
    pub async fn add(&self, server: SocketAddr) -> Server {
        self.add_with(server, |_| {}).await;
        self.reaches(server, HealthState::Healthy).await
    }

    /// Adds a server with changes to the request, and waits for nothing.
    pub async fn add_with(
        &self,
        server: SocketAddr,
        change: impl FnOnce(&mut AddServerRequest),
    ) -> Server {
        let mut request = AddServerRequest {
            address: server.to_string(),
            ..Default::default()
        };
        change(&mut request);
        let added = self.client().add_server(request).await;
        let added = added.unwrap_or_else(|status| panic!("add {server}: {status}"));
        added.into_inner().server.expect("an added server")
    }

    /// Changes a server.
    pub async fn update(&self, server: SocketAddr, change: impl FnOnce(&mut UpdateServerRequest)) {
        let mut request = UpdateServerRequest {
            address: server.to_string(),
            ..Default::default()
        };
        change(&mut request);
        let updated = self.client().update_server(request).await;
        updated.unwrap_or_else(|status| panic!("update {server}: {status}"));
    }

    /// Changes the pool.
    pub async fn update_pool(&self, settings: weldr_proto::v1::PoolSettings) {
        let request = UpdatePoolRequest {
            settings: Some(settings),
            ..Default::default()
        };
        let updated = self.client().update_pool(request).await;
        updated.unwrap_or_else(|status| panic!("update the pool: {status}"));
    }

    /// A server, or `None` when it is not there.
    pub async fn server(&self, server: SocketAddr) -> Option<Server> {
        get_server(&mut self.client(), server).await
    }

    /// Waits until a server is in `state`.
    pub async fn reaches(&self, server: SocketAddr, state: HealthState) -> Server {
        reaches(&mut self.client(), server, state).await
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

    /// Waits until the statistics are what `looks_right` wants, and gives them.
    pub async fn counts(&self, what: &str, looks_right: impl Fn(&Stats) -> bool) -> Stats {
        wait::until(what, async || {
            let stats = self.stats().await;
            if looks_right(&stats) {
                Ok(stats)
            } else {
                Err(format!("{stats:#?}"))
            }
        })
        .await
    }

    /// One request to the management port.
    pub async fn rest(&self, method: &str, target: &str, body: &str) -> Response {
        raw::request(self.management(), method, target, body).await
    }

    /// Stops the node, which must end within the bound of every wait.
    pub async fn shutdown(self) {
        wait::bounded("the node to stop", self.node.shutdown()).await;
    }
}

/// A client of the management API at `address`; connects when it is first used.
pub fn connect(address: SocketAddr) -> Client {
    let endpoint = Endpoint::try_from(format!("http://{address}")).expect("an address is a URL");
    ManagementClient::new(endpoint.timeout(wait::LIMIT).connect_lazy())
}

/// A server, or `None` when it is not there.
pub async fn get_server(client: &mut Client, server: SocketAddr) -> Option<Server> {
    let request = GetServerRequest {
        address: server.to_string(),
        ..Default::default()
    };
    match client.get_server(request).await {
        Ok(found) => found.into_inner().server,
        Err(status) if status.code() == Code::NotFound => None,
        Err(status) => panic!("get {server}: {status}"),
    }
}

/// Waits until a server is in `state`.
pub async fn reaches(client: &mut Client, server: SocketAddr, state: HealthState) -> Server {
    wait::until(format!("{server} to be {state:?}"), async || {
        let found = get_server(client, server).await;
        let found = found.ok_or_else(|| "no such server".to_owned())?;
        let health = found.health.clone().unwrap_or_default();
        if health.state() == state {
            Ok(found)
        } else {
            Err(format!("{health:?}"))
        }
    })
    .await
}
